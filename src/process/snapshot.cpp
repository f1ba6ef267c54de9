// Snapshots: the slots of a frame. Order of trust for what a slot is: DWARF's variables, the frame's layout (return
// address, saved frame pointer), the collector's stack maps; words of code without any of these are shown only when
// they point somewhere.
#include "process/snapshot.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/text.h"
#include "go/stacks/stackmaps.h"
#include "process/snapshot_values.h"

namespace incident {

namespace {

constexpr std::uint64_t frame_limit = 1 << 20;  // bytes of one frame that we look through
constexpr std::size_t scanned_words = 128;      // of frames without maps

/// Everything one frame's slots are computed from.
struct FrameView {
    Address pc, sp, cfa;  ///< cfa null: unknown
    bool after_call = true;
    bool saved_bp = false;  ///< caller's frame pointer at cfa-16
    bool uses_bp = false;   ///< the frame pointer register is cfa-16: slots are counted from it
    Registers registers;
    const go::PhysicalFrame* go = nullptr;
    bool interrupted_caller = false;  ///< the return address was put there by a signal: sigpanic, asyncPreempt
    std::optional<Address> next_bp;   ///< where the next frame's saved bp lies: what ours should hold
};

class SlotWriter {
public:
    SlotWriter(const Locator& locator, const Disassembler* disassembler, const FrameView& view,
               report::FrameSnapshot& out)
        : locator_(locator), disassembler_(disassembler), memory_(locator.context().memory), view_(view), out_(out) {}

    void write(const SnapshotOptions& options) {
        add_variables();
        add_layout();
        if (view_.go != nullptr && view_.go->func() != nullptr)
            add_mapped_words();
        else if (!any_variable_)
            add_scanned_words();
        // From the top of the frame down, as stacks are drawn; what has no address comes last.
        std::ranges::stable_sort(out_.slots, [](const report::Slot& a, const report::Slot& b) {
            if (a.address.has_value() != b.address.has_value()) return a.address.has_value();
            return a.address && *a.address > *b.address;
        });
        if (out_.slots.size() > options.slots) {
            out_.notes.push_back(fmt::format("{} more slots not shown", out_.slots.size() - options.slots));
            out_.slots.resize(options.slots);
        }
    }

private:
    std::string place(Address a) const {
        if (view_.cfa.is_null()) return offset("sp", a - view_.sp);
        return view_.uses_bp ? offset("bp", a - (view_.cfa - 16)) : offset("cfa", a - view_.cfa);
    }
    static std::string offset(std::string_view base, std::int64_t bytes) {
        auto magnitude = static_cast<std::uint64_t>(bytes < 0 ? -bytes : bytes);
        return fmt::format("{}{}0x{:02x}", base, bytes < 0 ? '-' : '+', magnitude);
    }
    report::Slot slot_at(Address a, std::string type, std::string by) const {
        report::Slot slot;
        slot.place = place(a);
        slot.address = a;
        slot.type = std::move(type);
        slot.by = std::move(by);
        return slot;
    }
    bool covered(Address a) const {
        return std::ranges::any_of(covered_, [&](AddressRange r) { return r.contains(a); });
    }

    void add_variables() {
        Address at = view_.after_call ? view_.pc - 1 : view_.pc;
        const Image* image = locator_.context().images.find(at);
        if (image == nullptr || !image->has_dwarf()) return;
        auto cfa = view_.cfa.is_null() ? std::nullopt : std::optional(view_.cfa);
        std::string lost;
        std::vector<std::pair<Address, std::string>> seen;  // a variable may be listed by two scopes
        for (const Variable& variable : image->variables_at(at, view_.registers, cfa, memory_)) {
            any_variable_ = true;
            if (!variable.address && !variable.value) {
                if (variable.name.starts_with("~")) continue;  // unnamed results
                lost += (lost.empty() ? "" : ", ") + escape_for_terminal(variable.name);
                continue;
            }
            if (variable.address) {
                std::pair key{*variable.address, variable.name};
                if (std::ranges::find(seen, key) != seen.end()) continue;
                seen.push_back(std::move(key));
            }
            report::Slot slot;
            slot.address = variable.address;
            bool in_frame = variable.address && !view_.cfa.is_null() && *variable.address >= view_.sp &&
                            *variable.address < view_.cfa + frame_limit;
            slot.place = !variable.address ? variable.place
                         : in_frame        ? place(*variable.address)
                                           : hex(variable.address->value);
            describe_variable(locator_, variable, slot);
            if (variable.pointer && variable.address && variable.value &&
                is_left_over(*variable.address, *variable.value))
                slot.points_to = "no longer used: " + slot.points_to;
            if (variable.address)
                covered_.push_back({*variable.address, *variable.address + std::max<std::uint64_t>(variable.size, 1)});
            out_.slots.push_back(std::move(slot));
        }
        if (!lost.empty()) out_.notes.push_back("optimized out, or in registers that were not saved: " + lost);
    }

    /// A slot that the collector does not keep any more, and what it led to is gone: a function that was passed as an
    /// argument lay on a stack that has moved since.
    bool is_left_over(Address slot, std::uint64_t value) const {
        if (view_.go == nullptr || !view_.after_call) return false;
        const Placement place = locator_.place(Address{value});
        const bool gone = place.kind == PlaceKind::go_freed_stack || place.kind == PlaceKind::go_free_page ||
                          (place.kind == PlaceKind::go_stack && place.part == StackPart::dead) ||
                          (place.kind == PlaceKind::go_object && place.object.state == go::SlotState::free);
        if (!gone) return false;
        const auto maps = go::frame_maps(memory_, *locator_.context().runtime, *view_.go);
        return maps && maps->exact && maps->classify(slot) == go::FrameMaps::Word::not_pointer;
    }

    void add_layout() {
        if (view_.cfa.is_null()) return;
        Address at = view_.cfa - 8;
        covered_.push_back({at, view_.cfa});
        report::Slot slot = slot_at(at, "", "frame layout");
        slot.name = "return";
        if (auto value = memory_.load_address(at)) {
            slot.value = hex(value->value);
            slot.points_to = return_text(*value);
        }
        out_.slots.push_back(std::move(slot));
        if (!view_.saved_bp) return;
        at = view_.cfa - 16;
        covered_.push_back({at, at + 8});
        slot = slot_at(at, "", "frame layout");
        slot.name = "saved bp";
        if (auto value = memory_.load_address(at)) {
            slot.value = hex(value->value);
            slot.points_to = saved_bp_text(*value, at);
        }
        out_.slots.push_back(std::move(slot));
    }

    std::string return_text(Address pc) const {
        std::string text = locator_.describe_return(pc);
        if (pc.is_null()) return "end of the stack";
        const auto* runtime = locator_.context().runtime;
        auto func = runtime != nullptr ? runtime->find_func(pc - 1) : std::nullopt;
        // goexit is entered by a made-up return address, one byte into it, where no call stands.
        if (func && func->special == go::SpecialFunc::goexit) return text + ", the goroutine's end";
        if (view_.interrupted_caller) return text + ", put here when the signal came";
        if (memory_.data_at(pc - 2, 2) == nullptr) return text;
        bool call = disassembler_ != nullptr ? disassembler_->call_before(memory_, pc).has_value()
                                             : may_be_return_address(memory_, pc);
        return text + (call ? ", a call stands before it" : ", NO call stands before it");
    }

    std::string saved_bp_text(Address value, Address at) const {
        if (value.is_null()) return "end of the chain";
        if (view_.next_bp && value == *view_.next_bp) return "next frame, higher: sound";
        Placement here = locator_.place(at), there = locator_.place(value);
        bool same_stack = here.kind == there.kind && here.range == there.range && here.goroutine == there.goroutine &&
                          here.thread == there.thread;
        if (!same_stack) return fmt::format("not in this stack: {}", locator_.describe(there));
        if (value <= at) return "NOT above this frame";
        return view_.next_bp ? "higher, but not the next frame's" : "higher in this stack: sound";
    }

    void add_mapped_words() {
        auto maps = go::frame_maps(memory_, *locator_.context().runtime, *view_.go);
        if (!maps) {
            out_.notes.push_back(fmt::format("no stack map: {}", describe(maps.error())));
            return;
        }
        // At no call, the collector's map is that of the call before: good for locals, no more; argument slots may be
        // unset.
        for (const go::PointerMap* map : {&maps->args, &maps->locals}) {
            if (!maps->exact && map == &maps->args) continue;
            for (std::uint32_t i = 0; i < map->words; ++i)
                if (Address a = map->base + i * 8ull; map->pointer(i) && !covered(a))
                    add_pointer(a, maps->exact ? "pointer" : "pointer, perhaps stale");
        }
        if (any_variable_) return;
        for (const go::StackObject& object : maps->objects) add_object(object);
        if (!maps->locals.known) add_scanned_words();
    }

    void add_pointer(Address a, std::string type) {
        report::Slot slot = slot_at(a, std::move(type), "stack map");
        if (auto value = memory_.load<std::uint64_t>(a)) describe_pointer(locator_, *value, slot);
        covered_.push_back({a, a + 8});
        out_.slots.push_back(std::move(slot));
    }

    /// One line per variable whose address is taken: its first pointer stands for it.
    void add_object(const go::StackObject& object) {
        if (covered(object.range.begin) || object.pointer_words == 0 || object.range.size() > frame_limit) return;
        report::Slot slot =
            slot_at(object.range.begin, fmt::format("variable, {} B", object.range.size()), "stack objects");
        for (Address a = object.range.begin; a < object.range.end; a += 8) {
            if (!object.pointer_at(a)) continue;
            if (auto value = memory_.load<std::uint64_t>(a)) describe_pointer(locator_, *value, slot);
            if (a != object.range.begin)
                slot.value = fmt::format("+{}: {}", hex(a.value - object.range.begin.value), slot.value);
            break;
        }
        covered_.push_back(object.range);
        out_.slots.push_back(std::move(slot));
    }

    void add_scanned_words() {
        if (view_.cfa.is_null()) return;
        std::size_t words = 0;
        for (Address a = view_.sp; a < view_.cfa && words < scanned_words; a += 8, ++words) {
            if (covered(a)) continue;
            auto value = memory_.load<std::uint64_t>(a);
            if (!value) continue;
            std::string target = locator_.points_to(*value);
            if (target.empty()) continue;
            report::Slot slot = slot_at(a, "word", "scan");
            slot.value = hex(*value);
            slot.points_to = std::move(target);
            out_.slots.push_back(std::move(slot));
        }
    }

    const Locator& locator_;
    const Disassembler* disassembler_;
    const Memory& memory_;
    const FrameView& view_;
    report::FrameSnapshot& out_;
    std::vector<AddressRange> covered_;
    bool any_variable_ = false;
};

Address value_or_null(const std::optional<Address>& a) { return a.value_or(Address{}); }

}  // namespace

report::FrameSnapshot Snapshots::frame(const go::GoStack& stack, std::size_t index, const Registers* registers,
                                       const SnapshotOptions& options) const {
    report::FrameSnapshot out;
    if (index >= stack.frames.size() || index >= stack.frame_of.size() ||
        stack.frame_of[index] >= stack.physical.size())
        return out;
    std::size_t at = stack.frame_of[index];
    const go::PhysicalFrame& physical = stack.physical[at];
    if (physical.native < stack.native.size()) {
        out = frame(stack.frames[index], stack.native[physical.native], options);
        out.index = index;
        return out;
    }
    out.frame = stack.frames[index];
    out.index = index;
    if (out.frame.inlined) {
        // The function that holds it may be a wrapper, which no list of frames shows.
        const auto* func = physical.func();
        out.notes.push_back(fmt::format("inlined into {}: its slots and code",
                                        func != nullptr ? escape_for_terminal(func->name) : "the next frame"));
    }
    FrameView view{.pc = physical.pc,
                   .sp = physical.sp,
                   .cfa = physical.cfa,
                   .after_call = physical.after_call,
                   .saved_bp = physical.frame_has_saved_bp,
                   .registers = Registers(locator_.context().core.machine()),
                   .go = &physical};
    bool innermost = registers != nullptr && !physical.after_call && registers->pc() == physical.pc &&
                     registers->sp() == physical.sp;
    if (innermost) {
        view.registers = *registers;
    } else {
        view.registers.set_pc(physical.pc);
        view.registers.set_sp(physical.sp);
        if (!physical.bp.is_null()) view.registers.set_fp(physical.bp);
    }
    view.interrupted_caller = at + 1 < stack.physical.size() && !stack.physical[at + 1].after_call;
    view.uses_bp = physical.frame_has_saved_bp && (physical.bp.is_null() || physical.bp == physical.cfa - 16);
    for (std::size_t next = at + 1; next < stack.physical.size(); ++next) {
        // The next frame that saved a bp; frames without leave the register alone.
        const auto& caller = stack.physical[next];
        if (caller.owner != physical.owner || caller.cfa.is_null() || caller.native < stack.native.size()) break;
        if (!caller.frame_has_saved_bp) continue;
        view.next_bp = caller.cfa - 16;
        break;
    }
    SlotWriter(locator_, disassembler_, view, out).write(options);
    out.code = code(physical.pc, physical.after_call, innermost ? registers : nullptr, options);
    return out;
}

report::FrameSnapshot Snapshots::frame(const report::Frame& frame, const UnwoundFrame& unwound,
                                       const SnapshotOptions& options) const {
    report::FrameSnapshot out;
    out.frame = frame;
    const Registers& registers = unwound.state.registers;
    FrameView view{.pc = frame.pc,
                   .sp = value_or_null(registers.sp()),
                   .cfa = value_or_null(unwound.cfa),
                   .after_call = unwound.state.after_call,
                   .registers = registers};
    if (auto fp = registers.fp(); fp && !view.cfa.is_null()) view.uses_bp = view.saved_bp = *fp == view.cfa - 16;
    if (out.frame.inlined) {
        out.notes.push_back("inlined into the next frame, whose slots and code it shares");
        return out;
    }
    SlotWriter(locator_, disassembler_, view, out).write(options);
    out.code = code(frame.pc, view.after_call, view.after_call ? nullptr : &registers, options);
    return out;
}

std::vector<report::Slot> Snapshots::raw_stack(Address sp, std::size_t before, std::size_t after) const {
    std::vector<report::Slot> slots;
    const Memory& memory = locator_.context().memory;
    Address begin = sp - before * 8;
    for (std::size_t i = 0; i < before + after; ++i) {
        Address a = begin + i * 8;
        auto value = memory.load<std::uint64_t>(a);
        if (!value) continue;
        report::Slot slot;
        bool below = a < sp;
        slot.place = fmt::format("sp{}0x{:02x}", below ? '-' : '+', below ? sp.value - a.value : a.value - sp.value);
        slot.address = a;
        slot.type = "word";
        slot.by = "scan";
        slot.value = hex(*value);
        slot.points_to = locator_.points_to(*value);
        if (slot.points_to.starts_with("text:") && may_be_return_address(memory, Address{*value}))
            slot.points_to = "return to " + locator_.describe_return(Address{*value});
        slots.push_back(std::move(slot));
    }
    return slots;
}

}  // namespace incident
