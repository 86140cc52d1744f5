//! What runtimes that compile while they run add to names: JavaScript, Java, .NET.

use super::text::{digits, is_hash, is_word, without_digits_after};

/// What V8 writes before the name of a script's function, the oldest spellings first; the last is the one that is kept.
const SCRIPT_PREFIXES: [&str; 4] = ["LazyCompile:", "Function:", "Script:", "JS:"];

/// What stands behind a single colon or in square brackets at the end, and says how far a function was compiled.
const TIERS: [&str; 17] = [
    "interpreted",
    "interpreter",
    "baseline",
    "optimized",
    "sparkplug",
    "maglev",
    "turbofan",
    "ion",
    "tier0",
    "tier1",
    "tier2",
    "tier3",
    "tier4",
    "optimizedtier1",
    "prejit",
    "quickjitted",
    "readytorun",
];

/// Names that Java's runtime numbers.
const NUMBERED: [&str; 7] = [
    "$$Lambda$",
    "GeneratedMethodAccessor",
    "GeneratedConstructorAccessor",
    "GeneratedSerializationConstructorAccessor",
    "$Proxy",
    "LambdaForm$MH.",
    "LambdaForm$DMH.",
];

/// Leaves out how V8 compiled a function, and where it stands: `LazyCompile:*run /app/a.js:10:5` is `JS:run /app/a.js`,
/// `~run` is `run`.
pub(super) fn without_script_tier(name: &str) -> Option<String> {
    let prefix = SCRIPT_PREFIXES.iter().find(|prefix| name.starts_with(**prefix));
    let rest = &name[prefix.map_or(0, |prefix| prefix.len())..];
    let bare = rest.strip_prefix(['~', '*', '^', '+']).filter(|bare| {
        prefix.is_some() || bare.bytes().next().is_some_and(|byte| is_word(byte) || byte == b'$')
    });
    let place = prefix.and_then(|_| without_place(bare.unwrap_or(rest)));
    let is_old = prefix.is_some_and(|prefix| *prefix != "JS:");
    if bare.is_none() && place.is_none() && !is_old {
        return None;
    }
    let body = place.or(bare).unwrap_or(rest);
    (!body.is_empty())
        .then(|| if prefix.is_some() { format!("JS:{body}") } else { body.to_owned() })
}

/// The text without `:line` or `:line:column` at its end.
fn without_place(text: &str) -> Option<&str> {
    let cut = |text: &'_ str| -> Option<usize> {
        let at = text.rfind(':')?;
        (at + 1 < text.len() && digits(&text[at + 1..]) == text.len() - at - 1).then_some(at)
    };
    let first = cut(text)?;
    Some(&text[..cut(&text[..first]).unwrap_or(first)])
}

/// Leaves out the tier at the end: `run:tier1`, `App::Run()[OptimizedTier1]`.
pub(super) fn without_tier(name: &str) -> Option<String> {
    let is_tier = |text: &str| TIERS.iter().any(|tier| text.eq_ignore_ascii_case(tier));
    let colon = name.rsplit_once(':').filter(|(front, _)| !front.ends_with(':'));
    let bracket = || name.strip_suffix(']')?.rsplit_once('[');
    let found = colon
        .filter(|(_, tier)| is_tier(tier))
        .or_else(|| bracket().filter(|(_, tier)| is_tier(tier)));
    found.map(|(front, _)| front.to_owned())
}

/// Leaves out the numbers and addresses of classes that Java makes at run time: `App$$Lambda$14/0x0000000800c9.run`,
/// `lambda$main$0`, `GeneratedMethodAccessor12`, `$$EnhancerBySpringCGLIB$$1a2b3c4d`.
pub(super) fn without_java_numbers(name: &str) -> Option<String> {
    let ends = |_: &str, rest: &str| !rest.bytes().next().is_some_and(is_word);
    without_address(name)
        .or_else(|| NUMBERED.iter().find_map(|mark| without_digits_after(name, mark, ends)))
        .or_else(|| without_lambda_number(name))
        .or_else(|| without_proxy_hash(name))
}

/// Cuts the address behind `/0x`.
fn without_address(name: &str) -> Option<String> {
    let (front, rest) = name.split_once("/0x")?;
    let length = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
    let is_class = front.contains("Lambda") || front.contains('$');
    (length > 0 && is_class).then(|| format!("{front}{}", &rest[length..]))
}

/// Cuts the number of `lambda$name$0`.
fn without_lambda_number(name: &str) -> Option<String> {
    let (front, rest) = name.split_once("lambda$")?;
    let (method, rest) = rest.split_once('$')?;
    let length = digits(rest);
    let ends = !rest[length..].bytes().next().is_some_and(is_word);
    (length > 0 && ends).then(|| format!("{front}lambda${method}{}", &rest[length..]))
}

/// Cuts the hash behind `CGLIB$$`.
fn without_proxy_hash(name: &str) -> Option<String> {
    let (front, rest) = name.split_once("CGLIB$$")?;
    let length = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
    is_hash(&rest[..length], 4).then(|| format!("{front}CGLIB{}", &rest[length..]))
}
