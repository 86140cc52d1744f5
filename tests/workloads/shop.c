// A service with functions of known cost: a loop of requests, each worth the same number of units of work.
//
//   shop v1|v2 LOG_FILE [SECONDS]
//
// Units a request    v1   v2
//   parse_headers     8    8
//   parse_query       6    6
//   route_request     4    4
//   check_session     7    7
//   load_user         6    6
//   load_catalog      9    9
//   rank_results      8    8
//   render_page      30   40    a third more
//   escape_text       5    5
//   compress_body    10   10
//   sign_response     5    5
//   count_metrics     2    2
//
// In v2 the write of each log line is synchronous: write, then fdatasync. LOG_FILE must lie on a real disk.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))

// Steps of one unit: about 15 µs on a machine of 2020, so a v1 request takes about 1.5 ms.
enum { STEPS_PER_UNIT = 15000, LOG_BYTES_MAX = 4 << 20, PAUSE_NS_MAX = 4 * 1000 * 1000 };

static volatile uint64_t sink;

// Each function has its own loop, so that its cost is its own and not that of a shared callee. A compiler leaves the
// frame pointer out of a function that does not touch its stack, whatever it was told; the volatile local does.
#define WORK(units, multiplier)                                     \
    volatile uint64_t start = sink;                                 \
    uint64_t state = start;                                         \
    for (uint64_t step = 0; step < (uint64_t)(units) * STEPS_PER_UNIT; step++) \
        state = state * (multiplier) + step;                        \
    sink = state

NOINLINE static void parse_headers(void) { WORK(8, 6364136223846793005ULL); }
NOINLINE static void parse_query(void) { WORK(6, 3202034522624059733ULL); }
NOINLINE static void route_request(void) { WORK(4, 3935559000370003845ULL); }
NOINLINE static void check_session(void) { WORK(7, 4768777513237032717ULL); }
NOINLINE static void load_user(void) { WORK(6, 1181783497276652981ULL); }
NOINLINE static void load_catalog(void) { WORK(9, 2685821657736338717ULL); }
NOINLINE static void rank_results(void) { WORK(8, 7664345821815920749ULL); }
NOINLINE static void render_page(int units) { WORK(units, 2862933555777941757ULL); }
NOINLINE static void escape_text(void) { WORK(5, 5495735789038245405ULL); }
NOINLINE static void compress_body(void) { WORK(10, 8362825453286105221ULL); }
NOINLINE static void sign_response(void) { WORK(5, 7046029254386353131ULL); }
NOINLINE static void count_metrics(void) { WORK(2, 6906969069ULL); }

NOINLINE static void write_log(int log, int synchronous, off_t *written) {
    static const char line[] = "GET /catalog 200\n";
    if (*written > LOG_BYTES_MAX) {
        if (ftruncate(log, 0) != 0 || lseek(log, 0, SEEK_SET) != 0) exit(1);
        *written = 0;
    }
    if (write(log, line, sizeof line - 1) != (ssize_t)(sizeof line - 1)) exit(1);
    *written += sizeof line - 1;
    if (synchronous && fdatasync(log) != 0) exit(1);
}

NOINLINE static void handle_request(int log, int v2, off_t *written) {
    parse_headers();
    parse_query();
    route_request();
    check_session();
    load_user();
    load_catalog();
    rank_results();
    render_page(v2 ? 40 : 30);
    escape_text();
    compress_body();
    sign_response();
    count_metrics();
    write_log(log, v2, written);
}

int main(int argc, char **argv) {
    if (argc < 3 || (strcmp(argv[1], "v1") && strcmp(argv[1], "v2"))) {
        fprintf(stderr, "usage: shop v1|v2 LOG_FILE [SECONDS]\n");
        return 2;
    }
    int v2 = strcmp(argv[1], "v2") == 0;
    time_t end = argc > 3 ? time(NULL) + atol(argv[3]) : 0;
    int log = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (log < 0) {
        perror(argv[2]);
        return 1;
    }
    off_t written = 0;
    // Requests come at random times: a steady rhythm would beat with that of the sampling.
    srand((unsigned)getpid());
    while (!end || time(NULL) < end) {
        handle_request(log, v2, &written);
        struct timespec pause = {0, rand() % PAUSE_NS_MAX};
        clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
    }
    return 0;
}
