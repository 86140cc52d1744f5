// What the C and C++ workloads with a known mix of calls have in common.
//
// A workload first prints its truth, a line for each chain of calls: the functions from the root to the one that works,
// and how many of the cards are its own. `*` stands for frames that are not the workload's own functions, or none.
// A chain with 0 cards may be seen and has no known share. Then it draws cards for ever, from a deck that is shuffled
// anew each time it is used up. Each card is one unit: the same number of steps of the same loop, in the function at
// the end of the chain. The random order keeps the rhythm of the work apart from that of the sampling.
#ifndef MIX_H
#define MIX_H
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>

// A function of its own: not inlined, cloned, merged with an equal one, or specialised for its caller.
#define OWN __attribute__((noipa))

// Something is left to do after a call, so it stays a call.
#define AFTER_CALL __asm__ volatile("" ::: "memory")

// Steps of one unit: 3 to 5 ms, several samples at 999 Hz. Each step waits for the result of the one before, so the
// time of a step depends neither on where the loop lies nor on what runs on the other half of the core.
enum { STEPS_PER_UNIT = 3000000, CARDS_MAX = 64 };

extern volatile uint64_t sink;

#define STEPS(count, multiplier)                                          \
    do {                                                                  \
        uint64_t state = sink;                                            \
        for (uint64_t step = 0; step < (uint64_t)(count); step++)         \
            state = state * (multiplier) + step;                          \
        sink = state;                                                     \
    } while (0)

// One unit; equal functions differ in the multiplier, so that no linker can make them one.
#define UNIT(multiplier) STEPS(STEPS_PER_UNIT, multiplier)

#define LEAF(name, multiplier) \
    OWN void name(void) { UNIT(multiplier); }

#define CALLER(name, callee) \
    OWN void name(void) {    \
        callee();            \
        AFTER_CALL;          \
    }

struct chain {
    const char *frames;
    int cards;
    void (*play)(void);
};

static inline uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

// The next card; threads may share the deck.
static inline void (*draw(const struct chain *chains, int count))(void) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static void (*deck[CARDS_MAX])(void);
    static int cards, drawn;
    static uint64_t random_state = 0x9e3779b97f4a7c15u;
    pthread_mutex_lock(&lock);
    if (drawn == cards) {
        cards = drawn = 0;
        for (int chain = 0; chain < count; chain++)
            for (int card = 0; card < chains[chain].cards && cards < CARDS_MAX; card++) deck[cards++] = chains[chain].play;
        for (int last = cards - 1; last > 0; last--) {
            int other = (int)(next_random(&random_state) % (uint64_t)(last + 1));
            void (*moved)(void) = deck[last];
            deck[last] = deck[other];
            deck[other] = moved;
        }
    }
    void (*card)(void) = deck[drawn++];
    pthread_mutex_unlock(&lock);
    return card;
}

static inline void print_truth(const struct chain *chains, int count) {
    for (int chain = 0; chain < count; chain++) printf("truth %s %d\n", chains[chain].frames, chains[chain].cards);
    fflush(stdout);
}

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

#define PLAY_FOR_EVER(chains)                          \
    do {                                               \
        print_truth(chains, COUNT(chains));            \
        for (;;) {                                     \
            draw(chains, COUNT(chains))();             \
            AFTER_CALL;                                \
        }                                              \
    } while (0)

#define START "_start;*;main;"
#endif
