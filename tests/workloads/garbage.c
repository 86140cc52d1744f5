// Runs code that lies in a file of random bytes behind the magic number of an ELF: whoever opens the file to name the
// code finds sizes, offsets and counts that make no sense.
//
//   garbage FILE SEED SECONDS
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { FILE_BYTES = 64 << 10, CODE_OFFSET = 16 << 10 };

#if defined(__x86_64__)
// mov ecx, 0x1000000; loop: dec ecx; jnz loop; ret
static const unsigned char code[] = {0xb9, 0, 0, 0, 1, 0xff, 0xc9, 0x75, 0xfc, 0xc3};
#elif defined(__aarch64__)
// mov x9, #0x1000000; loop: subs x9, x9, #1; b.ne loop; ret
static const unsigned char code[] = {0x09, 0x20, 0xa0, 0xd2, 0x29, 0x05, 0x00, 0xf1,
                                     0xe1, 0xff, 0xff, 0x54, 0xc0, 0x03, 0x5f, 0xd6};
#endif

static unsigned char bytes[FILE_BYTES];

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    srandom((unsigned)atol(argv[2]));
    for (int i = 0; i < FILE_BYTES; i++) bytes[i] = (unsigned char)random();
    // 64 bits, little endian, version 1, an executable for this machine: so much is right that parsers go on.
    static const unsigned char magic[] = {0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0};
    memcpy(bytes, magic, sizeof magic);
    memcpy(bytes + CODE_OFFSET, code, sizeof code);
    int file = open(argv[1], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
    if (file < 0 || write(file, bytes, FILE_BYTES) != FILE_BYTES) return 1;
    unsigned char *mapped = mmap(NULL, FILE_BYTES, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0);
    if (mapped == MAP_FAILED) return 1;
    void (*run)(void) = (void (*)(void))(uintptr_t)(mapped + CODE_OFFSET);
    for (time_t end = time(NULL) + atol(argv[3]); time(NULL) < end;) run();
    return 0;
}
