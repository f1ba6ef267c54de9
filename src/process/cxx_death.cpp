#include "process/cxx_death.h"

#include <algorithm>

#include "process/own_frames.h"

namespace incident {

namespace {

constexpr std::size_t longest_text = 400;  // of a message that goes into one sentence

/// The frames between abort() and the program's own code, and the first of that.
struct WayOfAbort {
    bool throws = false, rethrows = false, kept = false, forbidden = false, pure_virtual = false, deleted = false,
         terminates = false;
    bool thread_destroyed = false, sanitized = false, named = false;
};

WayOfAbort look_at(std::span<const report::Frame> frames) {
    WayOfAbort way;
    for (auto& frame : frames) {
        std::string_view name = frame.function;
        way.named |= !name.empty();
        way.throws |= name == "__cxa_throw";
        way.rethrows |= name == "__cxa_rethrow";
        way.kept |= name.starts_with("std::rethrow_exception(");
        // The unwinder asks the frame of a noexcept function; clang's code calls a function of its own.
        way.forbidden |= name == "__gxx_personality_v0" || name == "__cxa_call_terminate" ||
                         name == "__clang_call_terminate" || name.starts_with("_Unwind_");
        way.pure_virtual |= name == "__cxa_pure_virtual";
        way.deleted |= name == "__cxa_deleted_virtual";
        way.terminates |= name == "std::terminate()" || name.starts_with("std::__terminate(") ||
                          name.starts_with("__cxxabiv1::__terminate(");
        way.sanitized |= name.starts_with("__sanitizer::Die(");
        way.thread_destroyed |=
            name.starts_with("std::thread::~thread(") || name.starts_with("std::thread::operator=(");
        if (!of_the_runtime(frame) && !of_the_cxx_headers(frame)) break;
    }
    return way;
}

std::string words(const native::CxxException& exception) {
    std::string text = exception.text.substr(0, longest_text);
    if (text.size() < exception.text.size()) text += " ...";
    return text.empty() ? exception.type : exception.type + ": " + text;
}

}  // namespace

std::optional<CxxDeath> find_cxx_death(const Memory& memory, const ThreadState& thread,
                                       std::span<const report::Frame> frames) {
    const WayOfAbort way = look_at(frames);
    if (way.sanitized)
        return CxxDeath{"a sanitizer found an error and ended the program", "what it found it printed to stderr", {}};
    if (way.pure_virtual)
        return CxxDeath{"pure virtual method called",
                        "the object's class has no such method yet, or no longer: it is being built or destroyed",
                        {}};
    if (way.deleted) return CxxDeath{"deleted virtual method called", "its vtable holds no function for it", {}};
    auto exceptions = native::handled_exceptions(memory, thread);
    const bool thrown = way.throws || way.forbidden || way.rethrows || way.kept;
    const bool uncaught = !exceptions.empty() && (thrown || !exceptions.front().handled);
    if (uncaught) {
        auto& exception = exceptions.front();
        if (exception.type == "__gnu_cxx::recursive_init_error")
            return CxxDeath{"a static variable's initialization began anew inside itself",
                            "its initializer calls the function that holds it: __gnu_cxx::recursive_init_error",
                            exception};
        if (way.forbidden)
            return CxxDeath{"C++ exception out of a function that may not throw: " + words(exception),
                            "a noexcept function or a destructor lies between the throw and its catch", exception};
        return CxxDeath{"uncaught C++ exception " + words(exception),
                        "no catch on this thread's stack takes it: std::terminate() ended the process", exception};
    }
    // In a stripped static program nothing but the record tells.
    if (!exceptions.empty() && !way.named)
        return CxxDeath{"aborted while a C++ exception was uncaught or being handled: " + words(exceptions.front()),
                        "the runtime's record names it; which of both, only names of functions would tell",
                        exceptions.front()};
    if (way.rethrows && exceptions.empty())
        return CxxDeath{"`throw;` without an exception to throw again", "no catch clause was running", {}};
    if (way.thread_destroyed)
        return CxxDeath{"a std::thread was destroyed or assigned to while it was joinable",
                        "it was neither joined nor detached: std::terminate() ended the process",
                        {}};
    if (way.throws || way.forbidden || way.kept)
        return CxxDeath{"uncaught C++ exception", "its object could not be read", {}};
    if (way.terminates) return CxxDeath{"std::terminate() was called", "without an exception in flight", {}};
    return std::nullopt;
}

}  // namespace incident
