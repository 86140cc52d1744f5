// Starts one child after another, each alive for a few milliseconds: most are gone before anyone looks at them.
//
//   shortlived SECONDS
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile uint64_t sink;

__attribute__((noinline, noclone)) static void live_shortly(void) {
    volatile uint64_t start = sink;
    uint64_t state = start;
    for (uint64_t step = 0; step < 5000000; step++) state = state * 6364136223846793005ULL + step;
    sink = state;
}

int main(int argc, char **argv) {
    time_t end = time(NULL) + (argc > 1 ? atol(argv[1]) : 1);
    while (time(NULL) < end) {
        pid_t child = fork();
        if (child < 0) return 1;
        if (child == 0) {
            live_shortly();
            _exit(0);
        }
        waitpid(child, NULL, 0);
    }
    return 0;
}
