// The machine that holders_run.h follows code with: registers and memory that are known, or symbols that stand for what
// is not. It does single steps inside a function; calls and jumps are its user's. For go/sync only.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "go/sync/footprint.h"
#include "go/sync/holders_code.h"
#include "go/sync/symbol.h"

namespace incident::go {

struct Cell {
    Symbolic at, value;
    std::uint8_t size = 8;
};

/// What was written, in order. Most places that are read were never written to, or lately.
class Cells {
public:
    static constexpr unsigned widest = 64;  ///< bytes of one cell

    auto begin() const { return cells_.begin(); }
    auto end() const { return cells_.end(); }
    auto begin() { return cells_.begin(); }
    auto end() { return cells_.end(); }
    std::size_t size() const { return cells_.size(); }
    /// The cell written last that overlaps these bytes; null: none.
    const Cell* last_over(const Symbolic& at, unsigned size) const;
    /// Behind all others; those that it covers from their first byte on are gone.
    void write(const Cell& cell);
    void drop_oldest();

private:
    /// No cell from here on overlaps the bytes.
    std::size_t bound(const Symbolic& at, unsigned size) const;
    void note(const Symbolic& at, unsigned size, std::size_t end);
    std::vector<Cell> cells_;
    /// For eight bytes at a time, by a hash of the address: an end behind which no cell touches them. Cells that are
    /// gone move the others down, never up.
    std::array<std::uint16_t, 512> ends_{};
    std::size_t dropped_ = 0;  ///< since the ends were noted anew
};

struct CpuState {
    std::array<Symbolic, 24> registers{};  ///< by row of x86_64()
    Cells memory;                          ///< written on the way; the core's elsewhere

    Symbolic& operator[](unsigned row) { return registers[row]; }
    const Symbolic& operator[](unsigned row) const { return registers[row]; }
    /// Of a step's operand, which may name none (-1) or one that is not followed (a vector's).
    Symbolic* find(int row);
    const Symbolic* find(int row) const { return const_cast<CpuState*>(this)->find(row); }
};

/// Rows of the general registers in x86_64().registers.
struct GeneralRows {
    unsigned rax, rbx, rcx, rdx, rdi, rsi, r8, r9, r10, r11, r12, r13, r14, sp, bp;
};
const GeneralRows& rows();

class SymbolicCpu {
public:
    /// `serial` numbers the symbols: one for all states that are ever compared.
    SymbolicCpu(const Memory& memory, std::uint64_t& serial) : memory_(memory), serial_(serial) {}

    /// What is told of all that depends on the core's values; null: nobody.
    Footprint* footprint = nullptr;
    /// Below the frame's sp: nothing there is of the frame, and by the time its code runs, it is something else.
    AddressRange dead;
    /// A comparison on which the run's steps depend.
    bool equal(const Symbolic& a, const Symbolic& b) const {
        if (footprint != nullptr) footprint->compared(a, b);
        return a == b;
    }
    /// The number itself decides, not only what it leads to.
    void needs(const Symbolic& value) const {
        if (footprint != nullptr) footprint->needs(value);
    }
    void counted(const Symbolic& value) const {
        if (footprint != nullptr) footprint->counted(value);
    }
    void touch(const Symbolic& at, unsigned size) const {
        if (footprint != nullptr) footprint->touch(at, size);
    }

    /// A symbol for what is not known.
    Symbolic fresh() { return {++serial_ | 1ull << 63, 0}; }
    /// All registers unknown, nothing written.
    CpuState blank();

    Symbolic load(const CpuState& state, Symbolic at, unsigned size);
    void store(CpuState& state, Symbolic at, unsigned size, Symbolic value);
    /// The address of a step's memory operand.
    Symbolic operand(const CpuState& state, const CodeStep& step);
    void apply(CpuState& state, const CodeStep& step);
    /// Does the conditional jump `step` right behind `before` jump? Decided for the bits of open-coded defers ("test
    /// al, 2" of what the code itself set): as the code has it, nothing is for certain.
    static std::optional<bool> jumps(const CpuState& state, const CodeStep& before, const CodeStep& step);
    /// What a loop changes is unknown in its next round: whatever differs from `before`.
    void widen(CpuState& state, const CpuState& before);

    /// Some state wrote more cells than are kept: its oldest were dropped.
    bool dropped_cells() const { return dropped_cells_; }

private:
    /// The low bytes of a number.
    Symbolic part(const Symbolic& value, unsigned size);
    void put(CpuState& state, int row, Symbolic value, unsigned width);
    void add(CpuState& state, const CodeStep& step);
    void bit_and(CpuState& state, const CodeStep& step);

    const Memory& memory_;
    std::uint64_t& serial_;
    bool dropped_cells_ = false;
};

}  // namespace incident::go
