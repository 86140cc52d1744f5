// A service of three endpoints with a dozen functions of known cost, one of which can be made more expensive.
//
//   burn [--seconds NUMBER] [--load REQUESTS_PER_SECOND] [--burn FUNCTION=PERCENT]
//
// Requests come at random times, to an endpoint at random, whatever the last one took: a function that costs more makes
// the process busier, and the number of requests stays. Each request ends with one `write`.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))

// Steps of one unit: about 15 µs on a machine of 2020, so a mean request takes about 0.9 ms.
enum { STEPS_PER_UNIT = 15000, NS_PER_SECOND = 1000 * 1000 * 1000 };

// Name, units each time it is called, and a number of its own so that no two bodies are alike.
#define FUNCTIONS(X)                        \
    X(parse_headers, 4, 6364136223846793005ULL)  \
    X(check_session, 5, 4768777513237032717ULL)  \
    X(route_request, 2, 3935559000370003845ULL)  \
    X(load_user, 6, 1181783497276652981ULL)      \
    X(load_catalog, 9, 2685821657736338717ULL)   \
    X(rank_results, 12, 7664345821815920749ULL)  \
    X(render_page, 22, 2862933555777941757ULL)   \
    X(escape_text, 5, 5495735789038245405ULL)    \
    X(price_order, 8, 3202034522624059733ULL)    \
    X(charge_card, 11, 7046029254386353131ULL)   \
    X(compress_body, 10, 8362825453286105221ULL) \
    X(count_metrics, 1, 6906969069ULL)

#define NUMBER(name, units, multiplier) at_##name,
enum { FUNCTIONS(NUMBER) FUNCTION_COUNT };

#define NAME(name, units, multiplier) #name,
static const char *const names[] = {FUNCTIONS(NAME)};

#define STEPS(name, units, multiplier) (units) * STEPS_PER_UNIT,
static uint64_t steps[] = {FUNCTIONS(STEPS)};

static volatile uint64_t sink;

// Each function has its own loop, so that its cost is its own and not that of a shared callee. A compiler leaves the
// frame pointer out of a function that does not touch its stack, whatever it was told; the volatile local does.
#define DEFINITION(name, units, multiplier)                          \
    NOINLINE static void name(void) {                                \
        volatile uint64_t start = sink;                              \
        uint64_t state = start;                                      \
        for (uint64_t step = 0; step < steps[at_##name]; step++)     \
            state = state * (multiplier) + step;                     \
        sink = state;                                                \
    }
FUNCTIONS(DEFINITION)

NOINLINE static void show_page(void) {
    load_user();
    load_catalog();
    render_page();
    escape_text();
    compress_body();
}

NOINLINE static void search(void) {
    load_catalog();
    rank_results();
    render_page();
    compress_body();
}

NOINLINE static void place_order(void) {
    load_user();
    price_order();
    charge_card();
    escape_text();
}

NOINLINE static void handle_request(int out) {
    parse_headers();
    check_session();
    route_request();
    switch (rand() % 4) {
    case 0: place_order(); break;
    case 1: search(); break;
    default: show_page();
    }
    count_metrics();
    if (write(out, "200\n", 4) != 4) exit(1);
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

static void sleep_until(uint64_t ns) {
    struct timespec until = {(time_t)(ns / NS_PER_SECOND), (long)(ns % NS_PER_SECOND)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static void usage(void) {
    fprintf(stderr, "usage: burn [--seconds NUMBER] [--load REQUESTS_PER_SECOND] [--burn FUNCTION=PERCENT]\n");
    exit(2);
}

static void make_expensive(const char *what) {
    const char *equals = strchr(what, '=');
    if (!equals) usage();
    for (int at = 0; at < FUNCTION_COUNT; at++) {
        size_t length = strlen(names[at]);
        if (length == (size_t)(equals - what) && strncmp(what, names[at], length) == 0) {
            steps[at] += (uint64_t)((double)steps[at] * atof(equals + 1) / 100);
            return;
        }
    }
    usage();
}

int main(int argc, char **argv) {
    double seconds = 0, load = 100;
    for (int at = 1; at < argc; at += 2) {
        if (at + 1 == argc) usage();
        if (!strcmp(argv[at], "--seconds")) seconds = atof(argv[at + 1]);
        else if (!strcmp(argv[at], "--load")) load = atof(argv[at + 1]);
        else if (!strcmp(argv[at], "--burn")) make_expensive(argv[at + 1]);
        else usage();
    }
    int out = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (out < 0 || seconds < 0 || load < 1) usage();
    srand((unsigned)getpid());
    uint64_t start = now_ns(), next = start;
    while (seconds == 0 || next < start + (uint64_t)(seconds * NS_PER_SECOND)) {
        // From 0 to twice the mean.
        next += (uint64_t)((double)rand() / RAND_MAX * 2 * NS_PER_SECOND / load);
        sleep_until(next);
        handle_request(out);
        // What a busy machine could not do in a second is given up, or the process would run without pause for long.
        uint64_t now = now_ns();
        if (now > next + NS_PER_SECOND) next = now;
    }
    return 0;
}
