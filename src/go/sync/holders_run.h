// The machine that holders.h follows code with: registers and memory that are known, or symbols that stand for what is
// not. For go/sync only.
#pragma once

#include <array>
#include <vector>

#include "go/sync/holders.h"

namespace incident::go {

/// A number when base is 0, else an unknown plus an offset. Equal symbols mean equal values.
struct Symbolic {
    std::uint64_t base = 0, offset = 0;
    bool known() const { return base == 0; }
    bool operator==(const Symbolic&) const = default;
};

struct Cell {
    Symbolic at, value;
    std::uint8_t size = 8;
};

struct Count {
    Symbolic lock;
    HoldKind kind;
    std::int8_t net = 0;
};

struct CpuState {
    std::array<Symbolic, 24> registers{};
    std::vector<Cell> memory;  ///< written on the way; the core's elsewhere
    std::vector<Count> counts;
    std::vector<Symbolic> deferred;  ///< closures of _defer records made on the way
};

/// One run from one place.
class CodeRun {
public:
    CodeRun(CodeBook& book, Remaining& result, std::uint64_t& serial) : book_(book), result_(result), serial_(serial) {}

    /// Follows `code` from `step`; states at its returns.
    std::vector<CpuState> follow(FunctionCode& code, std::int32_t step, CpuState state, int depth);
    CpuState blank() {
        CpuState s;
        for (auto& r : s.registers) r = fresh();
        return s;
    }
    void set(CpuState& state, std::string_view name, std::uint64_t value) const;
    void forget(CpuState& state, Address word) { store(state, {0, word.value}, 8, fresh()); }
    void finish(const std::vector<CpuState>& exits);

    std::span<const PendingDefer> records;  ///< of the outermost frame
    std::vector<AddressRange> objects;      ///< its variables whose address is taken
    AddressRange stack;                     ///< of the goroutine; empty: none

private:
    Symbolic fresh() { return {++serial_ | 1ull << 63, 0}; }
    Symbolic load(CpuState& state, Symbolic at, unsigned size);
    void store(CpuState& state, Symbolic at, unsigned size, Symbolic value);
    Symbolic operand(const CpuState& state, const CodeStep& step);
    /// What a loop changes is unknown in its next round: whatever differs from `before`.
    void widen(CpuState& state, const CpuState& before);
    void apply(CpuState& state, const CodeStep& step);
    void count(CpuState& state, LockOp op, Symbolic lock, Symbolic delta, const CodeStep& step,
               const FunctionCode& code, bool rwmutex = false);
    void clobber(CpuState& state, Address callee);
    void forget_passed(CpuState& state, Symbolic value, bool deep);
    /// States after the call; empty: it never comes back.
    std::vector<CpuState> call(FunctionCode& code, const CodeStep& step, CpuState state, Address target, int depth);
    std::vector<CpuState> call_closure(FunctionCode& code, const CodeStep& step, CpuState state, Symbolic closure,
                                       int depth);
    Symbolic argument(CpuState& state, unsigned number);
    bool register_arguments() const { return book_.runtime().version().at_least(17); }

    CodeBook& book_;
    Remaining& result_;
    std::uint64_t& serial_;
    std::size_t steps_ = 0, limit_ = 20000;  ///< of one run, callees included
};

}  // namespace incident::go
