// Annotated frame snapshots: one frame as an engineer would draw it on a whiteboard. Slots by offset from the frame's
// base, named and typed by DWARF where it is, else by the collector's stack maps; return address and saved frame
// pointer with a verdict each; the few instructions around the pc. Data only: aligning and colouring is the renderer's
// job.
//
// Touches libdw and capstone: one thread.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "disasm/disasm.h"
#include "go/stacks/walk.h"
#include "process/locate.h"
#include "report/frame.h"

namespace incident {

struct SnapshotOptions {
    std::size_t slots = 48;       ///< at most; more are cut and counted in a note
    std::size_t code_before = 3;  ///< instructions before the pc
    std::size_t code_after = 2;   ///< from the pc on, the current one included
};

class Snapshots {
public:
    /// Keeps references; `disassembler` may be null: then there is no code.
    Snapshots(const Locator& locator, const Disassembler* disassembler)
        : locator_(locator), disassembler_(disassembler) {}

    /// Frame `index` of stack.frames, Go or native. `registers` are those of the faulting or current context; they are
    /// used for the frame whose pc and sp they hold, and for no other.
    report::FrameSnapshot frame(const go::GoStack& stack, std::size_t index, const Registers* registers = nullptr,
                                const SnapshotOptions& options = {}) const;
    /// A frame of a plain native unwind.
    report::FrameSnapshot frame(const report::Frame& frame, const UnwoundFrame& unwound,
                                const SnapshotOptions& options = {}) const;

    /// Words around sp, lowest address first: "sp+0x8". What looks like a return address says so.
    std::vector<report::Slot> raw_stack(Address sp, std::size_t before, std::size_t after) const;
    /// Instructions around `pc`, the current one marked, operands named.
    std::vector<report::CodeLine> code(Address pc, bool after_call, const Registers* registers,
                                       const SnapshotOptions& options = {}) const;

private:
    const Locator& locator_;
    const Disassembler* disassembler_;
};

/// Intel syntax as people write it: no "qword ptr" where a register gives the size, no blanks inside brackets.
std::string readable_text(const Instruction& instruction);

}  // namespace incident
