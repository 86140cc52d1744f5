// A chain of ten functions that calls its end again and again; nothing keeps a frame pointer.
//
//   chain SECONDS
//
// Truth: nearly every sample lies in chain_10 below chain_9 … chain_1, main and _start. Each of the nine keeps another
// number of bytes on its stack, so only unwind tables find the way.
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#define NOINLINE __attribute__((noinline, noclone))

static volatile uint64_t sink;

// The stack is written and read, so that each frame has its size; the call is no tail call, since it is followed by work.
#define LINK(name, next, words)                                                     \
    NOINLINE static uint64_t name(uint64_t seed) {                                  \
        volatile uint64_t kept[words];                                              \
        for (int word = 0; word < words; word++) kept[word] = seed + (uint64_t)word; \
        uint64_t below = next(seed * 31 + kept[words / 2]);                         \
        return below ^ kept[seed % words] ^ seed;                                   \
    }

NOINLINE static uint64_t chain_10(uint64_t seed) {
    uint64_t state = seed;
    for (uint64_t step = 0; step < 2000000; step++) state = state * 6364136223846793005ULL + step;
    sink = state;
    return state;
}

LINK(chain_9, chain_10, 1)
LINK(chain_8, chain_9, 9)
LINK(chain_7, chain_8, 2)
LINK(chain_6, chain_7, 33)
LINK(chain_5, chain_6, 4)
LINK(chain_4, chain_5, 300)
LINK(chain_3, chain_4, 7)
LINK(chain_2, chain_3, 64)
LINK(chain_1, chain_2, 3)

static double now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    double end = now_s() + (argc > 1 ? atof(argv[1]) : 1.0);
    uint64_t seed = 1;
    while (now_s() < end) seed = chain_1(seed);
    return 0;
}
