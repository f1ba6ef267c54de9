// The state of one walk, shared by walk.cpp (Go frames and their stack switches) and walk_native.cpp (C frames). Not
// for other folders.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>

#include "go/stacks/walk.h"

namespace incident::go {

/// Where a walk stands: the frame that is to be taken next.
struct Context {
    Address pc, sp, bp;  ///< bp null: unknown
    bool after_call = true;
    bool trap = false;  ///< pc was interrupted: from registers or a signal
    StackOwner owner = StackOwner::goroutine;
    AddressRange stack;  ///< sp must stay in it
    report::Trust trust = report::Trust::pclntab;
    std::optional<Registers> registers;  ///< all that is known, for C frames; only where the walk enters from registers
};

/// A cache of CodeTable in front of its locks.
class CodeCache {
public:
    explicit CodeCache(CodeTable& table) : table_(&table) {}
    const CodePoint* at(Address pc, bool after_call) {
        std::uint64_t key = pc.value << 1 | (after_call ? 1 : 0);
        auto& slot = slots_[(key * 0x9e3779b97f4a7c15ull) >> 54];
        if (slot.point == nullptr || slot.key != key) slot = {key, table_->at(pc, after_call)};
        return slot.point;
    }

private:
    struct Slot {
        std::uint64_t key = 0;
        const CodePoint* point = nullptr;
    };
    CodeTable* table_;
    std::array<Slot, 1024> slots_{};
};

class Walk {
public:
    struct Inputs {
        const CoreFile& core;
        const Memory& memory;
        const Runtime& runtime;
        const GoroutineList& list;
        CodeCache& code;
        MemoryCursor& cursor;
        std::span<const UnwindStep> native_steps;
        std::size_t limit, outer;
        /// SP of the cgocallback frame on the thread's stack that the next cgocallback frame of the goroutine belongs
        /// to.
        Address callback_sp;
    };
    Walk(const Inputs& inputs, GoStack& stack) : in_(inputs), stack_(stack) {}

    void goroutine(const Goroutine& g);
    void thread(const ThreadState& thread);
    void from(const Registers& registers, bool after_call, const Machine_m* machine);

private:
    enum class Next : std::uint8_t { go_on, end };
    struct SavedPair {
        Address bp, pc;
    };

    void run(Context context);
    void trim();
    Next step(Context& context);
    Next step_native(Context& context);
    Next step_raw(Context& context);
    Next caller(Context& context, PhysicalFrame& frame, const CodePoint& code);
    Next switch_stack(Context& context, const PhysicalFrame& frame, SpecialFunc special);
    Next from_saved(Context& context, const Goroutine& g, bool keep_pc);
    Next from_asmcgocall(Context& context, const PhysicalFrame& frame, const CodePoint& code);
    Next from_signal(Context& context, const PhysicalFrame& trampoline);
    Next under_go(Context& context, const PhysicalFrame& frame, const CodePoint& code);
    Next start_of_system_stack(Context& context, std::string why);
    Next by_frame_pointer(Context& context, PhysicalFrame& frame, std::string why);
    Next finish(std::string why, bool complete);
    std::optional<SavedPair> saved_pair(const Context& context);
    static Next to_caller(Context& context, PhysicalFrame& frame, const SavedPair& saved);

    void join_callback(const PhysicalFrame& frame);
    std::optional<UnwindState> walk_native(const Registers& start, bool after_call, report::Trust trust);
    Registers registers_under_crosscall2(const PhysicalFrame& frame, Address caller_pc);

    Context context_of(const Registers& registers, bool after_call);
    Context saved_context(const Goroutine& g);
    PhysicalFrame& push(const Context& context, const CodePoint* code);
    bool load(Address at, Address& out) { return in_.cursor.load(at, out); }
    const Goroutine* current_goroutine() const;

    Inputs in_;
    GoStack& stack_;
    const Machine_m* machine_ = nullptr;
    const Goroutine* goroutine_ = nullptr;  ///< whose stack it is, or that runs on the thread
    bool on_goroutine_ = false;             ///< a frame of the goroutine's own stack was reached
    std::string native_end_;                ///< why C frames ended before Go was reached
    bool native_complete_ = false;          ///< at the start of the thread
    unsigned switches_ = 0;
};

/// The context that the innermost signal handler on `machine`'s signal stack interrupted.
std::optional<InterruptedContext> find_interrupted(const Memory& memory, const Runtime& runtime,
                                                   const Machine_m& machine, const Registers& registers);

/// Registers at a ucontext_t in target memory; nullopt when it cannot be one.
std::optional<InterruptedContext> read_ucontext(const Memory& memory, const Machine& machine, Address at,
                                                const Registers& current);

}  // namespace incident::go
