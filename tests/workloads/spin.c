// Burns CPU in named functions for a while, then exits.
//
//   spin SECONDS [EXIT_CODE]
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#define NOINLINE __attribute__((noinline, noclone))

static volatile uint64_t sink;

NOINLINE static void spin_leaf(void) {
    // Without a local on its stack a compiler leaves the frame pointer out, whatever it was told.
    volatile uint64_t start = sink;
    uint64_t state = start;
    for (uint64_t step = 0; step < 1000000; step++) state = state * 6364136223846793005ULL + step;
    sink = state;
}

NOINLINE static void spin_middle(void) {
    spin_leaf();
    sink++;
}

static double now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    double end = now_s() + (argc > 1 ? atof(argv[1]) : 1.0);
    while (now_s() < end) spin_middle();
    return argc > 2 ? atoi(argv[2]) : 0;
}
