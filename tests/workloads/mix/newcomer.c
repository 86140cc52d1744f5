// A process that works from its first moment on, and ends when it has used so much of a CPU.
//
//   newcomer MILLISECONDS
#include <stdlib.h>
#include <time.h>

#include "mix.h"

volatile uint64_t sink;

enum { STEPS_BETWEEN_QUESTIONS = STEPS_PER_UNIT / 4, NS_PER_MS = 1000000, EARLY_MS = 10 };

static double used_ms(void) {
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (double)used.tv_sec * 1e3 + (double)used.tv_nsec / NS_PER_MS;
}

OWN void early_work(double end) {
    while (used_ms() < end) STEPS(STEPS_BETWEEN_QUESTIONS, 6364136223846793005u);
}

OWN void late_work(double end) {
    while (used_ms() < end) STEPS(STEPS_BETWEEN_QUESTIONS, 3202034522624059733u);
}

OWN void begin(void) {
    early_work(EARLY_MS);
    AFTER_CALL;
}

OWN void go_on(double end) {
    late_work(end);
    AFTER_CALL;
}

static const struct chain chains[] = {
    {START "begin;early_work;*", 0, NULL},
    {START "go_on;late_work;*", 0, NULL},
};

int main(int argc, char **argv) {
    print_truth(chains, COUNT(chains));
    begin();
    go_on(argc > 1 ? atof(argv[1]) : 1000);
}
