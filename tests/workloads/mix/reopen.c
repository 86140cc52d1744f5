// Opens a library after it has started, works in it, opens another one and closes the first, for ever.
//
//   reopen FIRST SECOND MILLISECONDS
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

#include "mix.h"

volatile uint64_t sink;

LEAF(work_at_home, 4768777513237032717u)
CALLER(home, work_at_home)
CALLER(serve_home, home)

static void (*play)(void);

OWN void call_plugin(void) {
    play();
    AFTER_CALL;
}

CALLER(serve_plugin, call_plugin)

static const struct chain chains[] = {
    {START "serve_home;home;work_at_home", 0, serve_home},
    {START "serve_plugin;call_plugin;play;first_outer;first_inner;first_work", 0, NULL},
    {START "serve_plugin;call_plugin;play;second_outer;second_inner;second_work", 0, NULL},
};

static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    print_truth(chains, COUNT(chains));
    void *before = NULL;
    for (int turn = 0;; turn = !turn) {
        void *library = dlopen(argv[1 + turn], RTLD_NOW);
        if (!library) return 1;
        if (before) dlclose(before);
        before = library;
        *(void **)&play = dlsym(library, "play");
        if (!play) return 1;
        for (double end = now_ms() + atof(argv[3]); now_ms() < end;) {
            serve_plugin();
            serve_home();
        }
    }
}
