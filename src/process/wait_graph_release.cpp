// Goroutines that were stopped in the middle of giving a lock back: preempted at the entry of Unlock, say. Nothing
// before them leads to a release any more, and the lock's words do not know of it yet.
//
// Surprising: which lock it is stands in an argument that the code may have moved anywhere. But whatever names a lock
// that is waited for, in the registers or above such a call's return address, is taken for it: wrongly, at worst, for a
// lock beside it, which then is not accused.
#include <algorithm>

#include "process/wait_graph_state.h"

namespace incident {

using go::HoldKind;
using go::WaitObject;

namespace {

constexpr std::uint64_t largest_lock = 24;  // bytes: RWMutex
constexpr std::int64_t most_stack = 4096;   // bytes of the runtime's frames above the call: asyncPreempt saves 0x180

struct GivesBack {
    HoldKind kind = HoldKind::exclusive;
    WaitObject type = WaitObject::mutex;
};

/// A function of package sync that gives a lock back; nullopt: it is none. go1.16–1.27 src/sync, src/internal/sync.
std::optional<GivesBack> gives_back(std::string_view function) {
    if (function.starts_with("internal/")) function.remove_prefix(9);
    if (!function.starts_with("sync.(*")) return std::nullopt;
    function.remove_prefix(7);
    if (function == "Mutex).Unlock" || function == "Mutex).unlockSlow")
        return GivesBack{HoldKind::exclusive, WaitObject::mutex};
    if (function == "RWMutex).Unlock") return GivesBack{HoldKind::exclusive, WaitObject::rwmutex};
    if (function == "RWMutex).RUnlock" || function == "RWMutex).rUnlockSlow" || function == "rlocker).Unlock")
        return GivesBack{HoldKind::shared, WaitObject::rwmutex};
    if (function == "WaitGroup).Done" || function == "WaitGroup).Add")
        return GivesBack{HoldKind::group, WaitObject::wait_group};
    return std::nullopt;
}

/// With what package sync calls it by: sync.runtime_Semrelease, internal/sync.runtime_Semrelease.
bool of_runtime(std::string_view function) {
    if (function.starts_with("internal/")) function.remove_prefix(9);
    return function.starts_with("runtime.") || function.starts_with("sync.runtime_");
}

/// The function at the frame's pc: an inlined one, if it stands in one.
std::string_view innermost(const go::PhysicalFrame& frame) {
    const auto& func = *frame.func();
    if (func.table == nullptr) return func.name;
    const auto frames = func.table->logical_frames(func, frame.pc - (frame.after_call ? 1 : 0));
    return frames.empty() ? func.name : frames.front().function;
}

}  // namespace

std::optional<Registers> LockFinder::registers_of(const go::Goroutine& g) const {
    for (const ThreadState& thread : process.core.threads()) {
        if (!g.tid || thread.tid != *g.tid) continue;
        const auto* machine = process.goroutines->machine_of_thread(thread.tid);
        const auto interrupted = machine != nullptr
                                     ? interrupted_context(process.core, process.memory, *process.go, *machine, thread)
                                     : std::nullopt;
        return interrupted ? interrupted->registers : thread.registers;
    }
    return std::nullopt;
}

std::optional<Address> LockFinder::running_closure(const go::Goroutine& g, const go::PhysicalFrame& frame) const {
    if (g.status != go::Status::running || frame.after_call) return std::nullopt;
    const auto registers = registers_of(g);
    if (!registers || registers->pc() != frame.pc || registers->sp() != frame.sp) return std::nullopt;
    const auto rdx = registers->get("rdx");
    return rdx ? std::optional(Address{*rdx}) : std::nullopt;
}

void LockFinder::note_release_under_way(std::uint32_t goroutine, const go::GoStack& stack) {
    const go::Goroutine& g = process.goroutines->all[goroutine];
    if (g.status == go::Status::waiting) return;
    const auto own = [](const go::PhysicalFrame& frame) {
        return frame.func() != nullptr && frame.owner == go::StackOwner::goroutine;
    };
    const auto top = std::ranges::find_if(stack.physical, own);
    const auto at = std::ranges::find_if(
        stack.physical, [&](const go::PhysicalFrame& frame) { return own(frame) && !of_runtime(frame.name()); });
    if (at == stack.physical.end()) return;
    const std::string_view function = innermost(*at);
    const auto release = gives_back(function);
    if (!release) return;
    const auto note = [&](std::uint64_t word) {
        for (std::uint64_t inside = 0; inside < largest_lock; inside += 4) {
            const auto known = index.find(Address{word - inside});
            if (known == index.end() || picture.locks[known->second].state.type != release->type) continue;
            // The last reader to leave hands it to the writer: by the words it is the writer's already, who still
            // waits.
            const go::LockState& state = picture.locks[known->second].state;
            const bool hands_over = release->kind == HoldKind::shared && state.writer && state.reader_wait <= 0;
            Hold hold{goroutine, hands_over ? HoldKind::exclusive : release->kind, HoldBasis::releasing};
            hold.physical = static_cast<std::uint32_t>(at - stack.physical.begin());
            hold.function = function;
            hold.site = at->pc;
            hold.address = Address{word - inside};
            hold.surely = true;
            hold.rwmutex = release->type == WaitObject::rwmutex;
            holds.push_back(hold);
        }
    };
    if (const auto registers = registers_of(g))
        for (unsigned i = 0; i < registers->machine().registers.size(); ++i)
            if (const auto word = registers->get(i)) note(*word);
    // What morestack, asyncPreempt or the function itself has saved, and the first argument's place.
    const bool inlined = function != at->name();
    if (top->sp.is_null() || at->cfa.is_null()) return;
    const Address end = inlined ? at->sp : at->cfa + 8;
    for (Address place = top->sp.align_down(8); place < end && place - top->sp < most_stack; place += 8)
        if (const auto word = process.memory.load_address(place)) note(word->value);
}

}  // namespace incident
