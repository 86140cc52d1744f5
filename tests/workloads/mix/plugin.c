// A library that is opened at run time; built twice, with other names and other frames.
#include "mix.h"

extern volatile uint64_t sink;

#define JOIN_(left, right) left##right
#define JOIN(left, right) JOIN_(left, right)
#define NAME(name) JOIN(PLUGIN, name)

OWN void NAME(_work)(void) { UNIT(MULTIPLIER); }

OWN void NAME(_inner)(void) {
    volatile char bytes[FRAME_BYTES];
    bytes[0] = bytes[FRAME_BYTES - 1] = 1;
    NAME(_work)();
    bytes[1] = bytes[0];
}

CALLER(NAME(_outer), NAME(_inner))
CALLER(play, NAME(_outer))
