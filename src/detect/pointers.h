// The detectors of Go pointers that lie, and of frames whose chain is broken; what they share in telling.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "detect/detector.h"
#include "process/locate.h"

namespace incident::detect {

inline constexpr std::string_view frame_chain_kinds[] = {"go.frame-chain.broken"};
inline constexpr std::string_view bad_pointer_kinds[] = {"go.pointer.bad"};

inline constexpr std::string_view pointer_kinds[] = {"go.pointer.freed", "go.frame-pointer.dangling",
                                                     "go.pointer.offheap-only", "go.map.freed"};

Detection detect_pointers(const Process& process);
Detection detect_broken_chains(const Process& process);
Detection detect_bad_pointer(const Process& process);

/// "gdb EXE CORE -ex 'x/2gx 0x…'   # what to look for".
report::Verify gdb_words(const Process& process, Address at, unsigned words, std::string_view remark);
/// The executable as a command line names it; "EXE" when it was not found.
std::string executable_path(const Process& process);
/// "core" or "file": where the bytes at `at` came from.
std::string origin_of(const Process& process, Address at);
/// Snapshot of stack.physical[physical] of goroutines->all[goroutine]; false: it cannot be drawn.
bool add_frame_snapshot(const Process& process, const Locator& locator, report::Finding& finding, std::size_t goroutine,
                        std::size_t physical);
/// Its logical frame (the function itself, not what was inlined into it); null: none.
const report::Frame* logical_frame(const go::GoStack& stack, std::size_t physical);
/// "main.smash (frames.go:134)".
std::string place_in_source(const report::Frame& frame);

}  // namespace incident::detect
