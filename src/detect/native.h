// The detectors of C memory: malloc's structures, pointers into freed chunks, hash tables over them, stacks that are
// gone; and what they share.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "detect/detector.h"
#include "native/malloc.h"
#include "process/locate.h"

namespace incident::detect {

inline constexpr std::string_view heap_fault_kinds[] = {"native.heap.double-free", "native.heap.corrupt",
                                                        "native.heap.bad-free"};

inline constexpr std::string_view native_pointer_kinds[] = {"native.pointer.freed", "native.hash.freed-bucket"};

inline constexpr std::string_view native_frame_kinds[] = {"native.frame-pointer.dangling"};
inline constexpr std::string_view cgo_pointer_kinds[] = {"cgo.pointer.outlived"};
inline constexpr std::string_view native_chain_kinds[] = {"native.frame-chain.broken"};

Detection detect_heap_faults(const Process& process);
Detection detect_native_frames(const Process& process);
Detection detect_native_chains(const Process& process);
Detection detect_cgo_pointers(const Process& process);
Detection detect_native_pointers(const Process& process);

/// The thread that died, or the first; null: none was unwound.
const NativeThread* dying_thread(const Process& process);
/// Index into crash->stack.frames: the innermost one outside libc, Go's runtime and the machinery of dying; nullopt:
/// none.
std::optional<std::size_t> first_own_frame(const Process& process);
/// The same, but of the program itself where there is such a frame: what it instantiates of the C++ library's headers
/// is no place to look at.
std::optional<std::size_t> first_frame_to_read(const Process& process);
/// Words of malloc's abort (malloc/malloc.c, malloc_printerr): about memory, not the program's own abort.
bool is_malloc_text(std::string_view text);
/// Adds the snapshot of frame `index` of the crash's stack.
void add_crash_snapshot(const Process& process, const Locator& locator, std::size_t index, report::Finding& finding);
}  // namespace incident::detect
