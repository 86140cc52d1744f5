// Work in a function that the C library calls back: qsort's comparison, at whatever depth of its recursion.
#include <stdlib.h>

#include "mix.h"

volatile uint64_t sink;

// A unit is cut into slices, one for each of the first comparisons; sorting so many items takes far more of them.
enum { ITEMS = 64, SLICES = 32 };

static int slices;

LEAF(work_plain, 6364136223846793005u)
CALLER(plain, work_plain)
CALLER(serve_plain, plain)

OWN void compare_text(void) { STEPS(STEPS_PER_UNIT / SLICES, 3202034522624059733u); }
CALLER(compare_key, compare_text)

OWN int compare(const void *left, const void *right) {
    if (slices > 0) {
        slices--;
        compare_key();
    }
    return *(const int *)left - *(const int *)right;
}

OWN void sort_items(void) {
    static uint64_t random_state = 1;
    int items[ITEMS];
    for (int item = 0; item < ITEMS; item++) items[item] = (int)(next_random(&random_state) % 1000);
    slices = SLICES;
    qsort(items, ITEMS, sizeof items[0], compare);
    if (slices) exit(1);
}

CALLER(serve_sorted, sort_items)

static const struct chain chains[] = {
    {START "serve_plain;plain;work_plain", 8, serve_plain},
    {START "serve_sorted;sort_items;*;compare;compare_key;compare_text", 12, serve_sorted},
};

int main(void) { PLAY_FOR_EVER(chains); }
