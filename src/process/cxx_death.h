// How a C++ program came to abort(): what std::terminate() was called for. The text that the runtime prints to stderr
// ("terminate called after throwing …") is kept nowhere; the exception object and the frames say the same.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "core/core_file.h"
#include "native/exceptions.h"
#include "report/frame.h"

namespace incident {

struct CxxDeath {
    std::string message;  ///< "uncaught C++ exception ParseError: no '=' in broken"
    std::string why;      ///< one clause
    std::optional<native::CxxException> exception;
};

/// `frames`: of the thread that aborts, innermost first. nullopt: std::terminate() had no part in it, as far as can be
/// seen; an abort() inside a catch clause is no uncaught exception.
std::optional<CxxDeath> find_cxx_death(const Memory& memory, const ThreadState& thread,
                                       std::span<const report::Frame> frames);

}  // namespace incident
