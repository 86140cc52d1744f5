// Work in signal handlers on a stack of their own: the chain goes on in the function that was interrupted.
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <ucontext.h>
#include <unistd.h>

#include "mix.h"

volatile uint64_t sink;

enum { STACK_BYTES = 64 << 10, TRAP_BYTES = 2 };

LEAF(work_plain, 6364136223846793005u)
LEAF(work_in_trap, 3202034522624059733u)
LEAF(work_in_signal, 3935559000370003845u)

CALLER(handle_trap, work_in_trap)
CALLER(handle_signal, work_in_signal)
CALLER(plain, work_plain)
CALLER(serve_plain, plain)

// Interrupted at its first instruction, before it has a frame: one byte earlier lies another function.
void traps_at_entry(void);
__asm__(
    ".text\n"
    ".p2align 4\n"
    "ends_before_trap:\n"
    "  .cfi_startproc\n"
    "  sub $72, %rsp\n"
    "  .cfi_adjust_cfa_offset 72\n"
    "  ud2\n"
    "  .cfi_endproc\n"
    ".type traps_at_entry, @function\n"
    "traps_at_entry:\n"
    "  .cfi_startproc\n"
    "  ud2\n"
    "  ret\n"
    "  .cfi_endproc\n"
    ".size traps_at_entry, . - traps_at_entry\n");

OWN void serve_trap(void) {
    traps_at_entry();
    AFTER_CALL;
}

// Interrupted in the middle of a frame.
OWN void traps_in_frame(void) {
    volatile char bytes[200];
    bytes[0] = 1;
    __asm__ volatile("ud2" ::: "memory");
    bytes[1] = bytes[0];
}

CALLER(serve_trap_in_frame, traps_in_frame)

// Interrupted on the way out of a system call.
OWN void signals_itself(void) {
    raise(SIGUSR1);
    AFTER_CALL;
}

CALLER(serve_signal, signals_itself)

OWN void on_trap(int number, siginfo_t *what, void *context) {
    (void)number, (void)what;
    handle_trap();
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += TRAP_BYTES;
}

OWN void on_signal(int number) {
    (void)number;
    handle_signal();
    AFTER_CALL;
}

static const struct chain chains[] = {
    {START "serve_plain;plain;work_plain", 8, serve_plain},
    {START "serve_trap;traps_at_entry;*;on_trap;handle_trap;work_in_trap", 6, serve_trap},
    {START "serve_trap_in_frame;traps_in_frame;*;on_trap;handle_trap;work_in_trap", 4, serve_trap_in_frame},
    {START "serve_signal;signals_itself;*;on_signal;handle_signal;work_in_signal", 2, serve_signal},
};

int main(void) {
    stack_t stack = {.ss_sp = malloc(STACK_BYTES), .ss_size = STACK_BYTES};
    struct sigaction trap = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    struct sigaction signalled = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    if (!stack.ss_sp || sigaltstack(&stack, NULL)) return 1;
    if (sigaction(SIGILL, &trap, NULL) || sigaction(SIGUSR1, &signalled, NULL)) return 1;
    PLAY_FOR_EVER(chains);
}
