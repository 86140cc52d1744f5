// Burns a little CPU time and is gone: most of these are over before anyone looks at them.
//
//   brief MILLISECONDS
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

static volatile uint64_t sink;

__attribute__((noinline, noclone)) static void burn_briefly(long milliseconds) {
    struct timespec used;
    do {
        uint64_t state = sink;
        for (uint64_t step = 0; step < 20000; step++) state = state * 6364136223846793005ULL + step;
        sink = state;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    } while (used.tv_sec * 1000 + used.tv_nsec / 1000000 < milliseconds);
}

int main(int argc, char **argv) {
    burn_briefly(argc > 1 ? atol(argv[1]) : 50);
    return 0;
}
