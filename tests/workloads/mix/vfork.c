// Children that share the parent's memory: some work before they end, others run another program.
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mix.h"

volatile uint64_t sink;

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
        child();
        _exit(0);
    }
    wait_for(child_id);
}

// The other program gets no environment, so that it is a service of its own.
OWN void serve_parent(void) {
    pid_t child_id = vfork();
    if (child_id == 0) {
        char *arguments[] = {"true", NULL}, *environment[] = {NULL};
        execve("/bin/true", arguments, environment);
        _exit(1);
    }
    wait_for(child_id);
    parent();
    AFTER_CALL;
}

static const struct chain chains[] = {
    {START "serve_parent;parent;work_in_parent", 14, serve_parent},
    {START "serve_child;child;work_in_child", 6, serve_child},
};

int main(void) { PLAY_FOR_EVER(chains); }
