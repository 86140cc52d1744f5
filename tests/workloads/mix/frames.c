// Every shape of frame that a compiler makes: huge ones, ones of unknown size, realigned ones, frames whose function
// keeps other things in rbp, frames with arguments on the stack, and hand-written code that has no table.
#include <alloca.h>
#include <string.h>

#include "mix.h"

volatile uint64_t sink;

// More than a 16-bit offset can say.
enum { HUGE_BYTES = 80 << 10, LARGE_BYTES = 40 << 10, ALIGNMENT = 64 };

LEAF(below_huge, 6364136223846793005u)
LEAF(below_unknown, 3202034522624059733u)
LEAF(below_aligned, 3935559000370003845u)
LEAF(below_clobbered, 4768777513237032717u)
LEAF(below_assembly, 2685821657736338717u)

OWN void huge_frame(void) {
    volatile char bytes[HUGE_BYTES];
    bytes[0] = bytes[HUGE_BYTES - 1] = 1;
    below_huge();
    bytes[1] = bytes[0];
}

OWN void large_frame(void) {
    volatile char bytes[LARGE_BYTES];
    bytes[0] = bytes[LARGE_BYTES - 1] = 1;
    huge_frame();
    bytes[1] = bytes[0];
}

// The size of the frame is known only when it runs, so the function needs a frame pointer.
OWN void array_of_unknown_size(int length) {
    volatile char bytes[length];
    bytes[0] = bytes[length - 1] = 1;
    below_unknown();
    bytes[1] = bytes[0];
}

OWN void allocated_frame(int length) {
    volatile char *bytes = alloca((size_t)length);
    bytes[0] = bytes[length - 1] = 1;
    array_of_unknown_size(length / 2);
    bytes[1] = bytes[0];
}

// The stack is aligned anew: the table finds the caller through a saved pointer.
OWN void aligned_frame(void) {
    _Alignas(ALIGNMENT) volatile char bytes[ALIGNMENT];
    memset((char *)bytes, 1, sizeof bytes);
    below_aligned();
    bytes[1] = bytes[0];
}

OWN void aligned_frame_of_unknown_size(int length) {
    _Alignas(ALIGNMENT) volatile char bytes[ALIGNMENT];
    volatile char *more = alloca((size_t)length);
    bytes[0] = more[0] = more[length - 1] = 1;
    aligned_frame();
    bytes[1] = more[1] = bytes[0];
}

// rbp holds what looks like an address of the stack and is none.
OWN void clobbers_rbp(void) {
    __asm__ volatile("lea 64(%%rsp), %%rbp" ::: "rbp", "memory");
    below_clobbered();
    AFTER_CALL;
}

OWN void counts_in_rbp(void) {
    __asm__ volatile("mov $0x7fff1234, %%rbp" ::: "rbp", "memory");
    clobbers_rbp();
    AFTER_CALL;
}

// The leaf itself uses rbp, and has more live values than registers.
OWN void works_with_rbp(void) {
    uint64_t state = sink;
    for (uint64_t step = 0; step < STEPS_PER_UNIT; step++) {
        state = state * 1181783497276652981u + step;
        __asm__ volatile("lea 1(%%rbp), %%rbp" ::: "rbp");
    }
    sink = state;
}

// Arguments lie on the stack while the callee runs.
OWN void many_arguments(long a, long b, long c, long d, long e, long f, long g, long h, long i) {
    UNIT(2862933555777941757u);
    sink += (uint64_t)(a + b + c + d + e + f + g + h + i);
}

OWN void pushes_arguments(void) {
    many_arguments(1, 2, 3, 4, 5, 6, 7, 8, 9);
    AFTER_CALL;
}

// No table says how to leave this one; its frame pointer does.
void assembly_without_table(void);
__asm__(
    ".text\n"
    ".type assembly_without_table, @function\n"
    "assembly_without_table:\n"
    "  push %rbp\n"
    "  mov %rsp, %rbp\n"
    "  sub $32, %rsp\n"
    "  call below_assembly\n"
    "  leave\n"
    "  ret\n"
    ".size assembly_without_table, . - assembly_without_table\n");

#define SERVE(name, call) \
    OWN void name(void) { call; AFTER_CALL; }
SERVE(serve_huge, large_frame())
SERVE(serve_unknown, allocated_frame(3000))
SERVE(serve_aligned, aligned_frame_of_unknown_size(700))
SERVE(serve_clobbered, counts_in_rbp())
SERVE(serve_rbp, works_with_rbp())
SERVE(serve_arguments, pushes_arguments())
SERVE(serve_assembly, assembly_without_table())

static const struct chain chains[] = {
    {START "serve_huge;large_frame;huge_frame;below_huge", 10, serve_huge},
    {START "serve_unknown;allocated_frame;array_of_unknown_size;below_unknown", 8, serve_unknown},
    {START "serve_aligned;aligned_frame_of_unknown_size;aligned_frame;below_aligned", 7, serve_aligned},
    {START "serve_clobbered;counts_in_rbp;clobbers_rbp;below_clobbered", 6, serve_clobbered},
    {START "serve_rbp;works_with_rbp", 4, serve_rbp},
    {START "serve_arguments;pushes_arguments;many_arguments", 3, serve_arguments},
    {START "serve_assembly;assembly_without_table;below_assembly", 2, serve_assembly},
};

int main(void) { PLAY_FOR_EVER(chains); }
