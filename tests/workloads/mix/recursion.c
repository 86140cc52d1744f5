// A function that calls itself 400 times before the work is done, and one that does not.
#include <stdlib.h>
#include <string.h>

#include "mix.h"

volatile uint64_t sink;

enum { DEPTH = 400 };

LEAF(work_deep, 6364136223846793005u)
LEAF(work_shallow, 3202034522624059733u)

OWN void descend(int left) {
    if (left > 1) descend(left - 1);
    else work_deep();
    AFTER_CALL;
}

OWN void serve_deep(void) {
    descend(DEPTH);
    AFTER_CALL;
}

CALLER(shallow, work_shallow)
CALLER(serve_shallow, shallow)

int main(void) {
    static char deep[64 + DEPTH * sizeof "descend;"];
    strcpy(deep, START "serve_deep;");
    for (int depth = 0; depth < DEPTH; depth++) strcat(deep, "descend;");
    strcat(deep, "work_deep");
    const struct chain chains[] = {
        {deep, 15, serve_deep},
        {START "serve_shallow;shallow;work_shallow", 5, serve_shallow},
    };
    PLAY_FOR_EVER(chains);
}
