// Makes syscalls of known number and measures the latency of each itself.
//
//   latency
//
// Prints one line of JSON: for each syscall its calls, its errors, and the latencies at and around the median and the
// 99th percentile. Then waits for the end of its standard input, so that its last window can be read.
// Only syscalls that neither the loader nor the C library makes by itself are used: the counts are exact.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { TIMED_CALLS = 400, PARENT_CALLS = 100000, BAD_DESCRIPTOR_CALLS = 321, NO_ENTRY_CALLS = 123 };
enum { SHORT_NS = 2000000, LONG_NS = 40000000, LONG_EVERY = 10, SPIN_BYTES = 128 << 10 };

static uint64_t latencies[TIMED_CALLS];
static char buffer[16 * SPIN_BYTES];

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int by_value(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

// Nearest rank, with the ranks beside it: where the distribution is steep, another rule of rounding is no error.
static void print_quantile(const char *name, int permille, const char *end) {
    int rank = (TIMED_CALLS * permille + 999) / 1000 - 1;
    int before = rank > 0 ? rank - 1 : 0;
    int after = rank + 1 < TIMED_CALLS ? rank + 1 : TIMED_CALLS - 1;
    printf("\"%s\": [%llu, %llu]%s", name, (unsigned long long)latencies[before],
           (unsigned long long)latencies[after], end);
}

static void print_timed(const char *name) {
    qsort(latencies, TIMED_CALLS, sizeof latencies[0], by_value);
    printf("\"%s\": {\"calls\": %d, ", name, TIMED_CALLS);
    print_quantile("p50_ns", 500, ", ");
    print_quantile("p99_ns", 990, "}, ");
}

static uint64_t planned_ns(int call) { return call % LONG_EVERY == 0 ? LONG_NS : SHORT_NS; }

static void time_sleeps(void) {
    for (int call = 0; call < TIMED_CALLS; call++) {
        struct timespec length = {0, (long)planned_ns(call)};
        uint64_t start = now_ns();
        clock_nanosleep(CLOCK_MONOTONIC, 0, &length, NULL);
        latencies[call] = now_ns() - start;
    }
    print_timed("clock_nanosleep");
}

// A child answers each byte after a known time, so the read of the answer lasts that long. The child belongs to the
// same service, so it waits in poll, which nothing else here calls.
static void time_pipe_reads(void) {
    int ask[2], answer[2];
    if (pipe(ask) || pipe(answer)) exit(1);
    pid_t child = fork();
    if (child < 0) exit(1);
    char byte = 0;
    struct iovec part = {&byte, 1};
    if (child == 0) {
        close(ask[1]);
        for (int call = 0; read(ask[0], &byte, 1) == 1; call++) {
            poll(NULL, 0, (int)(planned_ns(call) / 1000000));
            if (write(answer[1], &byte, 1) != 1) _exit(1);
        }
        _exit(0);
    }
    close(ask[0]);
    for (int call = 0; call < TIMED_CALLS; call++) {
        if (write(ask[1], &byte, 1) != 1) exit(1);
        uint64_t start = now_ns();
        if (readv(answer[0], &part, 1) != 1) exit(1);
        latencies[call] = now_ns() - start;
    }
    close(ask[1]);
    print_timed("readv");
}

// Random bytes are made by the CPU: the call works in the kernel as long as its buffer is large.
static void time_spins(void) {
    int source = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    if (source < 0) exit(1);
    for (int call = 0; call < TIMED_CALLS; call++) {
        struct iovec part = {buffer, (size_t)SPIN_BYTES * (call % LONG_EVERY == 0 ? 16 : 1)};
        uint64_t start = now_ns();
        if (preadv(source, &part, 1, 0) != (ssize_t)part.iov_len) exit(1);
        latencies[call] = now_ns() - start;
    }
    print_timed("preadv");
}

int main(void) {
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    printf("{");
    time_sleeps();
    time_spins();
    for (int call = 0; call < PARENT_CALLS; call++) getppid();
    printf("\"getppid\": {\"calls\": %d}, ", PARENT_CALLS);
    for (int call = 0; call < BAD_DESCRIPTOR_CALLS; call++)
        if (fchdir(-1) != -1 || errno != EBADF) exit(1);
    printf("\"fchdir\": {\"calls\": %d, \"errors\": {\"%d\": %d}}, ", BAD_DESCRIPTOR_CALLS, EBADF, BAD_DESCRIPTOR_CALLS);
    for (int call = 0; call < NO_ENTRY_CALLS; call++)
        if (rmdir("/nonexistent/flamewatch") != -1 || errno != ENOENT) exit(1);
    printf("\"rmdir\": {\"calls\": %d, \"errors\": {\"%d\": %d}}, ", NO_ENTRY_CALLS, ENOENT, NO_ENTRY_CALLS);
    fflush(stdout);
    time_pipe_reads();
    printf("\"end\": {}}\n");
    fflush(stdout);
    while (read(0, buffer, sizeof buffer) > 0) {
    }
    return 0;
}
