// Work for the Java virtual machine: compiled code, the compiler's own threads, and the garbage collector.
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import java.util.zip.CRC32;
import java.util.zip.Deflater;

public final class Load {
    private static final Pattern PATTERN = Pattern.compile("word(\\d+)-(?:1|2|3)(\\d+)");

    public static void main(String[] arguments) throws Exception {
        List<String> words = new ArrayList<>();
        for (int number = 0; number < 4000; number++) {
            words.add("word" + number % 977 + "-" + number);
        }
        long sum = 0;
        while (sum != Long.MIN_VALUE) {
            sum += documents(words) + digests(words) + matches(words) + packed(words);
        }
    }

    private static long documents(List<String> words) {
        Map<String, StringBuilder> texts = new HashMap<>();
        for (String word : words) {
            texts.computeIfAbsent(word.substring(0, 6), key -> new StringBuilder()).append(word);
        }
        List<String> sorted = new ArrayList<>();
        texts.values().forEach(text -> sorted.add(text.reverse().toString()));
        sorted.sort(null);
        return sorted.size();
    }

    private static long digests(List<String> words) throws Exception {
        MessageDigest digest = MessageDigest.getInstance("SHA-256");
        for (String word : words) {
            digest.update(word.repeat(20).getBytes(StandardCharsets.UTF_8));
        }
        return digest.digest()[0];
    }

    private static long matches(List<String> words) {
        return words.stream().filter(word -> PATTERN.matcher(word).find()).count();
    }

    private static long packed(List<String> words) {
        byte[] bytes = String.join("", words).getBytes(StandardCharsets.UTF_8);
        Deflater deflater = new Deflater();
        deflater.setInput(bytes);
        deflater.finish();
        byte[] out = new byte[bytes.length + 64];
        int length = deflater.deflate(out);
        deflater.end();
        CRC32 checksum = new CRC32();
        checksum.update(out, 0, length);
        return checksum.getValue();
    }
}
