// Exceptions thrown through frames: work before the throw, in a destructor on the way, and in the handler.
#include <stdexcept>

#include "mix.h"

volatile uint64_t sink;

namespace mix {

OWN void work_before() { UNIT(6364136223846793005u); }
OWN void work_unwinding() { UNIT(3202034522624059733u); }
OWN void work_handling() { UNIT(3935559000370003845u); }
OWN void work_plain() { UNIT(4768777513237032717u); }

enum class Where { before, unwinding, handling };

// Works in its destructor, which runs while the exception passes.
struct Guard {
    Where where;
    OWN ~Guard() {
        if (where == Where::unwinding) work_unwinding();
        AFTER_CALL;
    }
};

OWN void fail(Where where) {
    if (where == Where::before) work_before();
    throw std::runtime_error("as planned");
}

OWN void guarded(Where where) {
    Guard guard{where};
    fail(where);
    AFTER_CALL;
}

OWN void middle(Where where) {
    volatile char bytes[300];
    bytes[0] = 1;
    guarded(where);
    bytes[1] = bytes[0];
}

OWN void attempt(Where where) {
    try {
        middle(where);
    } catch (const std::runtime_error &) {
        if (where == Where::handling) work_handling();
        AFTER_CALL;
    }
}

OWN void serve_before() { attempt(Where::before); AFTER_CALL; }
OWN void serve_unwinding() { attempt(Where::unwinding); AFTER_CALL; }
OWN void serve_handling() { attempt(Where::handling); AFTER_CALL; }

struct Service {
    OWN virtual void serve() { work_plain(); AFTER_CALL; }
    virtual ~Service() = default;
};

OWN void serve_plain() {
    static Service service;
    Service *volatile any = &service;
    any->serve();
    AFTER_CALL;
}

}  // namespace mix

#define THROWN(serve) START "mix::" #serve "();mix::attempt(mix::Where);mix::middle(mix::Where);mix::guarded(mix::Where);"

// What all exceptions pass through has no cards of its own.
static const chain chains[] = {
    {START "mix::serve_before();mix::attempt(mix::Where);mix::middle(mix::Where);mix::guarded(mix::Where);"
           "mix::fail(mix::Where);mix::work_before()", 8, mix::serve_before},
    {START "mix::serve_unwinding();mix::attempt(mix::Where);mix::middle(mix::Where);mix::guarded(mix::Where);"
           "mix::Guard::~Guard();mix::work_unwinding()", 5, mix::serve_unwinding},
    {START "mix::serve_handling();mix::attempt(mix::Where);mix::work_handling()", 4, mix::serve_handling},
    {START "mix::serve_plain();mix::Service::serve();mix::work_plain()", 3, mix::serve_plain},
    {THROWN(serve_before) "mix::Guard::~Guard();*", 0, nullptr},
    {THROWN(serve_unwinding) "mix::fail(mix::Where);*", 0, nullptr},
    {THROWN(serve_handling) "mix::fail(mix::Where);*", 0, nullptr},
    {THROWN(serve_handling) "mix::Guard::~Guard();*", 0, nullptr},
};

int main() { PLAY_FOR_EVER(chains); }
