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

}  // namespace incident::detect
