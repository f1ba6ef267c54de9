// C++ exceptions: what a thread has thrown and is handling, from the runtime's own record in thread-local memory. The
// uncaught exception is there too: __cxa_throw enters it as handled before it calls std::terminate().
//
// Surprising: the record is found without symbols, by what it points to: a header whose exception class reads
// "GNUCC++\0" (libstdc++) or "CLNGC++\0" (libc++abi). Both lay the header out alike (Itanium C++ ABI, level II;
// gcc-12 libstdc++-v3/libsupc++/unwind-cxx.h, llvm-19 libcxxabi/src/cxa_exception.h), but libc++abi has 16 bytes more
// in front, and the record leads to those.
#pragma once

#include <string>
#include <vector>

#include "core/core_file.h"
#include "core/memory.h"

namespace incident::native {

struct CxxException {
    Address header;        ///< of __cxa_exception
    Address object;        ///< the thrown object itself
    std::string type;      ///< "ParseError"; "a foreign type" never: such headers are left out
    std::string text;      ///< what() of the standard library's own families, a string, a number; empty: unknown
    bool handled = false;  ///< a catch clause was found for it, if only the default terminate handler's
};

/// Newest first, at most 16; empty: the thread handles none, or its descriptor cannot be read.
std::vector<CxxException> handled_exceptions(const Memory& memory, const ThreadState& thread);

/// What the object at `object` says, by its std::type_info at `type`: for tests and for objects found elsewhere.
std::string exception_text(const Memory& memory, Address type, Address object);

}  // namespace incident::native
