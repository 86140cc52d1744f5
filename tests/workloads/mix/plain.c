// Five functions of a known share, at the end of chains of calls of different depth.
#include "mix.h"

volatile uint64_t sink;

LEAF(parse_header, 6364136223846793005u)
LEAF(load_user, 3202034522624059733u)
LEAF(rank_results, 3935559000370003845u)
LEAF(render_row, 4768777513237032717u)
LEAF(sign_answer, 1181783497276652981u)

CALLER(parse, parse_header)
CALLER(read_request, parse)
CALLER(fetch, load_user)
CALLER(rank_all, rank_results)
CALLER(search, rank_all)
CALLER(render_table, render_row)
CALLER(render_page, render_table)
CALLER(render, render_page)
CALLER(finish, sign_answer)

// One caller with several callees, and a leaf that is reached in two ways.
OWN void handle(int step) {
    switch (step) {
        case 0: read_request(); break;
        case 1: fetch(); break;
        case 2: search(); break;
        case 3: render(); break;
        default: finish(); break;
    }
    AFTER_CALL;
}

#define STEP(name, step) \
    OWN void name(void) { handle(step); AFTER_CALL; }
STEP(serve_request, 0)
STEP(serve_user, 1)
STEP(serve_search, 2)
STEP(serve_page, 3)
STEP(serve_end, 4)

static const struct chain chains[] = {
    {START "serve_request;handle;read_request;parse;parse_header", 16, serve_request},
    {START "serve_user;handle;fetch;load_user", 10, serve_user},
    {START "serve_search;handle;search;rank_all;rank_results", 8, serve_search},
    {START "serve_page;handle;render;render_page;render_table;render_row", 4, serve_page},
    {START "serve_end;handle;finish;sign_answer", 2, serve_end},
};

int main(void) { PLAY_FOR_EVER(chains); }
