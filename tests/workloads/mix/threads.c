// Four threads that draw from one deck: the root of their stacks is the entry of a thread.
#include <stdlib.h>

#include "mix.h"

volatile uint64_t sink;

enum { THREADS = 4 };

LEAF(encode, 6364136223846793005u)
LEAF(compress, 3202034522624059733u)
LEAF(encrypt, 3935559000370003845u)

CALLER(write_encoded, encode)
CALLER(serve_encoded, write_encoded)
CALLER(write_compressed, compress)
CALLER(serve_compressed, write_compressed)
CALLER(seal, encrypt)
CALLER(write_sealed, seal)
CALLER(serve_sealed, write_sealed)

#define THREAD "clone3;*;thread_main;"
static const struct chain chains[] = {
    {THREAD "serve_encoded;write_encoded;encode", 12, serve_encoded},
    {THREAD "serve_compressed;write_compressed;compress", 6, serve_compressed},
    {THREAD "serve_sealed;write_sealed;seal;encrypt", 2, serve_sealed},
};

OWN void *thread_main(void *argument) {
    for (;;) {
        draw(chains, COUNT(chains))();
        AFTER_CALL;
    }
    return argument;
}

int main(void) {
    print_truth(chains, COUNT(chains));
    pthread_t threads[THREADS];
    for (int thread = 0; thread < THREADS; thread++)
        if (pthread_create(&threads[thread], NULL, thread_main, NULL)) return 1;
    for (int thread = 0; thread < THREADS; thread++) pthread_join(threads[thread], NULL);
}
