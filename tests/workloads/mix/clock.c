// Reads the clock through the vDSO for about as long as it works; only the share of the work among itself is known.
#include <time.h>

#include "mix.h"

volatile uint64_t sink;

enum { READS = 60000 };

LEAF(work_often, 6364136223846793005u)
LEAF(work_seldom, 3202034522624059733u)
CALLER(often, work_often)
CALLER(serve_often, often)
CALLER(seldom, work_seldom)
CALLER(serve_seldom, seldom)

OWN void read_clock(void) {
    for (int read = 0; read < READS; read++) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        sink += (uint64_t)now.tv_nsec;
    }
}

CALLER(ask_time, read_clock)

OWN void serve_clock(void) {
    ask_time();
    AFTER_CALL;
}

// Cards without a known share are drawn with others.
OWN void serve_often_and_clock(void) {
    serve_often();
    serve_clock();
    AFTER_CALL;
}

static const struct chain chains[] = {
    {START "serve_often_and_clock;serve_often;often;work_often", 15, serve_often_and_clock},
    {START "serve_seldom;seldom;work_seldom", 5, serve_seldom},
    {START "serve_often_and_clock;serve_clock;ask_time;read_clock;*", 0, NULL},
};

int main(void) { PLAY_FOR_EVER(chains); }
