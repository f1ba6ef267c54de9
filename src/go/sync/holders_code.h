// Decoded functions for holders.h: instructions boiled down to what matters for following a lock's address, with the
// lock operations among them named. One per analysis: it caches, and is not thread-safe.
//
// Surprising: the fast paths of Lock and Unlock are inlined, so that a whole critical section may call nothing of
// package sync. A `lock cmpxchg` or `lock xadd` is theirs when a call of the slow path follows it; pclntab names that
// call in stripped binaries too.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "disasm/disasm.h"
#include "go/binary/runtime.h"

namespace incident::go {

/// What a call or an atomic instruction does to a lock, group or channel.
enum class LockOp : std::uint8_t { none, lock, try_lock, unlock, rlock, runlock, group_add, group_done, receive, send };

/// What to make of a called function.
enum class CalleeKind : std::uint8_t {
    ordinary,
    primitive,         ///< has a LockOp
    opaque,            ///< releases nobody's lock: the runtime, sync's slow paths
    spares_registers,  ///< duffcopy, write barriers: registers live on
    never_returns,     ///< panics, morestack (which starts the function again)
    spawns,            ///< newproc: its closure will run
    defers,            ///< deferproc, deferprocStack: only notes what it is given
    deferreturn,
};
struct CalleeFacts {
    CalleeKind kind = CalleeKind::ordinary;
    LockOp op = LockOp::none;
    bool standard = false;  ///< of Go's standard library
    bool rwmutex = false;   ///< a primitive of sync.RWMutex
    /// Changes no register but the one that it returns its buffer in. go1.27 src/runtime/asm_amd64.s, gcWriteBarrier
    bool write_barrier = false;
};
CalleeFacts facts_of(std::string_view function);

enum class StepKind : std::uint8_t {
    other,
    nothing,
    move,
    lea,
    add,
    subtract,
    zero,
    test,  ///< of a register, against an immediate
    bit_and,
    push,
    pop,
    wide_move,
    arithmetic_pair,
    compare_exchange,  ///< one register wide
    string_move
};

struct CodeStep {
    Address pc;
    std::uint8_t size = 0;
    StepKind kind = StepKind::other;
    Flow flow = Flow::next;
    LockOp op = LockOp::none;  ///< of an inlined fast path: on the address of `memory` less `op_offset`
    std::int32_t op_offset = 0;
    std::uint8_t width = 8;  ///< bytes of the register operand
    std::int8_t destination = -1, source = -1, base = -1, index = -1, scale = 1;
    std::int8_t on_zero = 0;  ///< of a conditional jump: 1 je, -1 jne, 0 another
    bool has_memory = false, memory_written = false, has_absolute = false, has_immediate = false, tls = false,
         zero_vector = false;
    std::uint8_t memory_size = 8;
    std::int64_t displacement = 0, immediate = 0;
    Address absolute, target;
    std::int32_t target_step = -1;  ///< of jumps inside the function
};

struct FunctionCode {
    Func func;
    CalleeFacts facts;
    std::vector<CodeStep> steps;
    std::vector<bool> joined_from_below;  ///< by step: a later jump leads back to it
    std::vector<bool> loop_head;          ///< of those, where it leads back to that jump: cold blocks lie below, too
    bool complete = false;                ///< decoded to its end
    bool indirect = false;                ///< has calls whose target is data
    std::int8_t reaches_within = 127;     ///< so many levels of calls: it may release something
    std::optional<bool> takes;            ///< a lock, itself; empty: not asked yet
    std::int8_t nothing_within = -1;      ///< so many levels: it releases nothing
    std::int32_t step_at(Address pc) const;
};

class CodeBook {
public:
    CodeBook(const Memory& memory, const Runtime& runtime, const Disassembler& disassembler)
        : memory_(memory), runtime_(runtime), disassembler_(disassembler) {}

    /// Null: no Go function.
    FunctionCode* function(Address pc);
    const CalleeFacts& facts(Address entry, Address* true_entry = nullptr);
    /// May code of `code` from step `from` on release anything? Undecodable code may.
    bool reaches_release(FunctionCode& code, int depth);
    /// It takes a lock itself, and perhaps does nothing else: mu.Lock as a function value, a helper. Who passes it by
    /// takes the Unlock that comes later for one of a lock that was held before.
    bool takes_lock(FunctionCode& code);
    bool interesting_from(FunctionCode& code, std::int32_t from);
    /// Of arguments and results that lie above the caller's sp.
    std::uint64_t argument_bytes(Address callee);
    const Runtime& runtime() const { return runtime_; }
    const Memory& memory() const { return memory_; }

private:
    void decode(FunctionCode& code);
    void find_loops(FunctionCode& code);
    void name_atomic(FunctionCode& code, std::size_t at, bool exchange);
    bool step_interesting(FunctionCode& code, const CodeStep& step, int depth);

    const Memory& memory_;
    const Runtime& runtime_;
    const Disassembler& disassembler_;
    std::unordered_map<std::uint64_t, std::unique_ptr<FunctionCode>> by_entry_;
    std::unordered_map<std::uint64_t, FunctionCode*> by_pc_;
    std::unordered_map<std::uint64_t, std::pair<Address, CalleeFacts>> facts_;
    std::unordered_map<std::uint64_t, bool> interesting_;
};

}  // namespace incident::go
