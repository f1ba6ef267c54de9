// Names and messages without what changes from build to build and from run to run.
#pragma once

#include <string>
#include <string_view>

#include "report/frame.h"

namespace incident::triage {

/// A Go function: "/v2" of a module path and vendor prefixes go, wrappers (-fm, deferwrap1, gowrap2, ·dwrap·1) go,
/// package-level closures are glob..func1 before Go 1.21 and init.func1 since, generic arguments read [...]. Closures
/// keep their number: main.serve.func2 is not main.serve.func1. cgo's main._Cfunc_update is C's update.
std::string normal_go_name(std::string_view name);

/// A C or C++ function: arguments, template arguments, ABI tags, [clone …], .cold, .part.0, .isra.0, @@VERSION and
/// glibc's internal prefixes (__GI_, __libc_) go.
std::string normal_native_name(std::string_view name);

/// Numbers become N, addresses 0xN, quoted text "…"; one line, at most 200 bytes.
std::string normal_message(std::string_view message);

/// An executable's base name without what builds and versions add: "settle.debug" and "settle.4711" are "settle".
std::string normal_program(std::string_view name);

/// The frame as it goes into a signature: its normal name, or module@build-id+offset.
std::string frame_text(const report::Frame& frame, std::string_view build_id);

}  // namespace incident::triage
