// What a word that holds an address leads to, when that is gone: the judgement that go.pointer.freed,
// go.frame-pointer.dangling and go.pointer.offheap-only share.
#pragma once

#include <optional>
#include <string>

#include "process/locate.h"
#include "process/process.h"

namespace incident::detect {

enum class Gone : std::uint8_t {
    no,           ///< what it leads to is there, or cannot be judged
    free_slot,    ///< a free slot of a span in use
    free_page,    ///< a page of no span
    reused,       ///< memory that was freed and given to another object
    freed_stack,  ///< memory of stacks in which no goroutine lives, or a free page that was one
    dead_stack,   ///< below the sp of a living goroutine
    other_stack,  ///< the system or signal stack of a thread, taken from the same memory as goroutines' stacks
    linkage,      ///< a living frame's return address or saved frame pointer: nobody's variable
    runtimes,     ///< a living frame of the runtime, which gives out no addresses of its variables
};

struct Judgement {
    Gone gone = Gone::no;
    Placement place;
    std::string state;     ///< "free slot 12 of a span of 64 B objects"
    AddressRange may_end;  ///< the object in use right before it, whose end the value may be; else empty
    std::vector<std::string> innocent;
    bool stack() const { return gone >= Gone::freed_stack; }
};

/// Judges `value` as an address. Looks for the innocent explanations: one past the end, a sweep that is not done, a
/// collection at work, a goroutine that runs.
Judgement judge(const Process& process, const Locator& locator, Address value);

/// Is `word` the end of a {begin, end}: does a word beside it lead into the object that the judgement says may end
/// there? Only words `among` count, if it is not empty.
bool ends_a_range(const Memory& memory, Address word, const Judgement& judgement, AddressRange among = {});

/// Do the bytes around `at` look like frames: return addresses with saved frame pointers below them?
bool was_stack(const Process& process, Address at);

}  // namespace incident::detect
