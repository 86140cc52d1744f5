// The library that `ctypes_calls.py` calls.
#include "mix.h"

volatile uint64_t sink;

LEAF(sum_rows, 6364136223846793005u)
LEAF(scan_rows, 3202034522624059733u)
LEAF(hash_rows, 3935559000370003845u)

CALLER(sum_table, sum_rows)
CALLER(serve_sum, sum_table)
CALLER(scan_table, scan_rows)
CALLER(scan, scan_table)
CALLER(serve_scan, scan)
CALLER(serve_hash, hash_rows)

static const struct chain chains[] = {
    {"_start;*;serve_sum;sum_table;sum_rows", 10, serve_sum},
    {"_start;*;serve_scan;scan;scan_table;scan_rows", 6, serve_scan},
    {"_start;*;serve_hash;hash_rows", 4, serve_hash},
};

void print_chains(void) { print_truth(chains, COUNT(chains)); }

// The index of the next card's chain.
int draw_card(void) {
    void (*card)(void) = draw(chains, COUNT(chains));
    int chain = 0;
    while (chains[chain].play != card) chain++;
    return chain;
}
