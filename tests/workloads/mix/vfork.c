// Children that share the parent's memory: some work before they end, others run another program. How much each works
// is not known, as the children live long enough to be looked at.
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mix.h"

volatile uint64_t sink;

enum { UNITS_IN_PARENT = 20, UNITS_IN_CHILD = 100 };

LEAF(work_in_parent, 6364136223846793005u)
LEAF(work_in_child, 3202034522624059733u)
CALLER(parent, work_in_parent)
CALLER(child, work_in_child)

static void wait_for(pid_t child_id) {
    if (child_id < 0 || waitpid(child_id, NULL, 0) != child_id) exit(1);
}

OWN void serve_child(void) {
    pid_t child_id = vfork();
    if (child_id == 0) {
        for (int unit = 0; unit < UNITS_IN_CHILD; unit++) child();
        _exit(0);
    }
    wait_for(child_id);
}

// The other program gets no environment, so that it is a service of its own.
OWN void serve_program(void) {
    pid_t child_id = vfork();
    if (child_id == 0) {
        char *arguments[] = {"true", NULL}, *environment[] = {NULL};
        execve("/bin/true", arguments, environment);
        _exit(1);
    }
    wait_for(child_id);
}

CALLER(serve_parent, parent)

static const struct chain chains[] = {
    {START "serve_parent;parent;work_in_parent", 0, NULL},
    {START "serve_child;child;work_in_child", 0, NULL},
    {START "serve_program;*", 0, NULL},
};

int main(void) {
    print_truth(chains, COUNT(chains));
    for (;;) {
        for (int unit = 0; unit < UNITS_IN_PARENT; unit++) {
            serve_program();
            serve_parent();
        }
        serve_child();
    }
}
