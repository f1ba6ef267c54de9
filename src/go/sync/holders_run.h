// Follows code from one place along all its paths and counts what each does to locks: see holders.h. For go/sync only.
#pragma once

#include <vector>

#include "go/sync/holders.h"
#include "go/sync/symbolic_cpu.h"

namespace incident::go {

struct Count {
    Symbolic lock;
    HoldKind kind;
    std::int8_t net = 0;
};

struct DeferredCall {
    Symbolic closure;
    Symbolic entry, captured;         ///< its first words when it was deferred: nothing changes them
    std::vector<Symbolic> arguments;  ///< up to Go 1.16: words behind the record, which go to the stack
};

/// What one path through the code has done so far.
struct PathState : CpuState {
    std::vector<Count> counts;
    std::vector<DeferredCall> deferred;  ///< by _defer records made on the way, the last one first
};

/// One run from one place.
class CodeRun {
public:
    CodeRun(CodeBook& book, Remaining& result, std::uint64_t& serial)
        : book_(book), result_(result), cpu_(book.memory(), serial) {}

    /// Follows `code` from `step`; states at its returns.
    std::vector<PathState> follow(FunctionCode& code, std::int32_t step, PathState state, int depth);
    /// Nothing known, nothing done.
    PathState blank() { return {cpu_.blank(), {}, {}}; }
    /// The word of the frame will hold something else by the time the code runs.
    void forget(PathState& state, Address word) { cpu_.store(state, on_stack(word), 8, cpu_.fresh()); }
    void finish(const std::vector<PathState>& exits);
    /// `sp`: the frame's, on `stack`.
    void forget_below(Address sp) {
        if (stack.contains(sp)) cpu_.dead = {stack.begin, sp};
    }
    void tell(Footprint& footprint) { cpu_.footprint = &footprint; }
    Symbolic on_stack(Address word) const {
        return {0, word.value, false, cpu_.footprint != nullptr ? Footprint::sp_root : Footprint::no_root};
    }

    /// Of result's releases and balances, in their order: from which words the addresses came.
    std::vector<Symbolic> released, balanced;

    std::vector<AddressRange> objects;  ///< of the outermost frame: its variables whose address is taken
    AddressRange stack;                 ///< of the goroutine; empty: none

private:
    /// False: this path ends here, in a lock that it has taken itself.
    bool count(PathState& state, LockOp op, Symbolic lock, Symbolic delta, const CodeStep& step,
               const FunctionCode& code, bool rwmutex = false);
    void clobber(PathState& state, Address callee);
    void clobber_registers(PathState& state);
    void forget_passed(PathState& state, Symbolic value, bool deep);
    /// Made on this path. Nobody writes to a closure again, whoever gets it: a deferred one that is still in a register
    /// at a call looks like an argument.
    bool made_closure(const PathState& state, Address at);
    /// States after the call; empty: it never comes back.
    std::vector<PathState> call(FunctionCode& code, const CodeStep& step, PathState state, Address target, int depth);
    std::vector<PathState> call_closure(FunctionCode& code, const CodeStep& step, PathState state, Symbolic closure,
                                        int depth);
    /// None: the code does not say.
    std::optional<Address> target_of(const PathState& state, const CodeStep& step);
    /// deferproc(closure), deferprocStack(*_defer) with fn in it: the frame's deferreturn will run it.
    /// go1.16 src/runtime/panic.go: deferproc(siz, fn) has the arguments behind fn, deferprocStack behind its record.
    void note_defer(PathState& state, Address target);
    Symbolic argument(PathState& state, unsigned number);
    bool register_arguments() const { return book_.runtime().version().at_least(17); }

    CodeBook& book_;
    Remaining& result_;
    SymbolicCpu cpu_;
    std::size_t steps_ = 0, limit_ = 20000;  ///< of one run, callees included
};

}  // namespace incident::go
