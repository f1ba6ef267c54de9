// Frames as the engines produce them and as everybody prints them. Plain data: strings are views into the images or
// into the Process's text pool, and live as long as the Report's `keep_alive`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"

namespace incident::report {

enum class FrameKind : std::uint8_t { go, native, signal };

/// How the frame was found, best first. A frame found by scan can prove nothing.
enum class Trust : std::uint8_t { context, pclntab, cfi, frame_pointer, scan };

std::string_view to_string(FrameKind kind);
std::string_view to_string(Trust trust);

struct Frame {
    Address pc;  ///< as found: for a caller, the return address
    std::optional<Address>
        sp;  ///< stack pointer while this frame executes (for a caller: right after the call returns)
    std::optional<Address> bp;          ///< frame pointer register in this frame, where known
    std::optional<Address> cfa;         ///< caller's sp before the call pushed the return address, +8: DWARF's CFA
    std::string_view function;          ///< empty: unknown. Go names as the runtime prints them; C++ demangled
    std::string_view file;              ///< empty: unknown
    std::uint32_t line = 0;             ///< 0: unknown
    std::string_view module;            ///< path of the ELF file; empty: unknown
    std::uint64_t module_offset = 0;    ///< pc minus the module's load bias; meaningless when module is empty
    std::uint32_t function_offset = 0;  ///< pc minus the function's entry; for inlined frames the enclosing function's
    std::uint32_t left_out = 0;         ///< physical frames of a very deep stack that are missing before this one
    FrameKind kind = FrameKind::native;
    Trust trust = Trust::scan;
    bool inlined = false;    ///< shares pc, sp and cfa with the frame that follows it
    bool after_call = true;  ///< pc is a return address: look lines up at pc-1. False for the innermost frame and
                             ///< for frames interrupted by a signal
    bool runtime_internal = false;  ///< Go: the runtime would not print it without GOTRACEBACK=system. C: libc's own
                                    ///< way from where it was called to the signal, and to main
};

/// One word or variable of a frame, by offset from the frame's base register.
struct Slot {
    std::string place;               ///< "bp-0x48", "cfa+0x8", "rax"
    std::optional<Address> address;  ///< null when it lives in a register only
    std::string name;                ///< variable name; empty when unknown (stripped)
    std::string type;                ///< source type, or "pointer", "scalar", "word"; empty: unknown
    std::string value;               ///< as printed: 0x…, 1250, "text"; empty: unreadable
    std::string points_to;           ///< what the value is: "heap: main.Tx, 48 B, live"; empty: nothing to say
    std::string by;                  ///< who says so: dwarf, stack map, frame layout, scan
};

/// One decoded instruction near the pc.
struct CodeLine {
    Address pc;
    std::string text;      ///< "mov rcx, [rsp+0x50]"
    std::string comment;   ///< "&main.ledger.mu", "waits for the call above"
    bool current = false;  ///< the faulting or the next-to-execute instruction
};

struct FrameSnapshot {
    Frame frame;
    std::size_t index = 0;  ///< position in its stack
    std::vector<Slot> slots;
    std::vector<CodeLine> code;
    std::vector<std::string> notes;
    std::optional<std::int64_t> goroutine;  ///< whose stack
    std::optional<std::int32_t> thread;
};

}  // namespace incident::report
