// The roots of one goroutine; the rules are those of go1.16–1.27 src/runtime/mgcmark.go, scanstack and scanframeworker.
#include "go/heap/roots_stacks.h"

#include <algorithm>

#include "base/bounded_walk.h"

namespace incident::go {

namespace {

constexpr std::size_t shape_limit = 1 << 16;
constexpr std::size_t strays_kept = 1 << 16;           // per worker
constexpr std::size_t record_limit = 1 << 20;          // defers of one goroutine
constexpr std::int32_t args_size_unknown = INT32_MIN;  // reflect stubs
constexpr std::uint64_t conservative_limit = 1
                                             << 26;  // bytes of one range: Go stacks end at 1 GB, and are sparse there
constexpr std::uint64_t arguments_limit = 1 << 16;   // of an old defer record
constexpr std::uint32_t allocation_depth = 8;        // frames: mallocgc calls little

}  // namespace

void StackRoots::value(Address where, std::uint64_t value, RootKind kind, bool conservative) {
    Address to{value};
    if (stack_.contains(to)) {
        own_.push_back({to, conservative});
        return;
    }
    SlotId slot = slots_.find(to);
    if (allocating_) {
        if (slot != no_slot && slots_.allocated(slot)) unmade.push_back(slot);
        return;
    }
    if (slot == no_slot && !conservative && input_.spans.in_arena(to) && strays.size() < strays_kept)
        strays.push_back({where, to, goroutine_, frame_, kind});
    if (slot == no_slot || (conservative && !slots_.allocated(slot))) return;
    // Left unmarked by a collection that is being swept: garbage, and the word that leads there is a leaving.
    if (conservative && Spans::marked(slots_.span(slot), slots_.index(slot)) == false) return;
    out_->push_back({where, slot, goroutine_, frame_, kind, conservative, 0});
}

void StackRoots::word(Address where, RootKind kind, bool conservative) {
    std::uint64_t word = 0;
    if (!cursor_.load(where, word))
        ++unreadable_words;
    else if (word != 0)
        value(where, word, kind, conservative);
}

void StackRoots::map(const PointerMap& map, Address base, RootKind kind, bool conservative) {
    for (std::size_t byte = 0; byte < map.bits.size(); ++byte)
        for (unsigned bits = std::to_integer<unsigned>(map.bits[byte]); bits != 0; bits &= bits - 1) {
            std::uint64_t at = byte * 8 + static_cast<unsigned>(std::countr_zero(bits));
            if (at < map.words) word(base + at * 8, kind, conservative);
        }
}

void StackRoots::conservative(AddressRange range, RootKind kind) {
    range = range.intersect(stack_);
    if (range.size() > conservative_limit) {
        ++incomplete;
        range.end = range.begin + conservative_limit;
    }
    for (Address a = range.begin.align_down(8); a + 8 <= range.end; a += 8) word(a, kind, true);
}

const StackRoots::Shape& StackRoots::shape_of(const PhysicalFrame& frame) {
    // A frame may be seen at a call and, with the same pc, stopped: the two have different maps.
    std::uint64_t key = frame.pc.value << 1 | (frame.after_call ? 1 : 0);
    auto found = shapes_.find(key);
    if (found != shapes_.end() && found->second.cfa - found->second.sp == frame.cfa - frame.sp) return found->second;
    if (shapes_.size() >= shape_limit) shapes_.clear();
    Shape& shape = shapes_[key];
    shape = {};
    shape.cfa = frame.cfa;
    shape.sp = frame.sp;
    if (frame.cfa.is_null()) return shape;
    auto maps = frame_maps(input_.memory, input_.runtime, frame);
    if (!maps) return shape;
    shape.exact = maps->exact;
    shape.reflect_stub = frame.func()->args == args_size_unknown &&
                         (frame.name() == "reflect.makeFuncStub" || frame.name() == "reflect.methodValueCall");
    // A function without a map for its locals keeps no pointers there when it is assembly that calls Go (goexit, rt0);
    // the collector insists on a map when it has locals, and so do we.
    bool empty = frame.cfa.value - frame.sp.value <= 16;
    shape.known = (maps->locals.known || empty) && (maps->args.known || shape.reflect_stub);
    shape.maps = std::move(*maps);
    return shape;
}

void StackRoots::frame(const PhysicalFrame& frame, std::uint32_t index) {
    const Func* func = frame.func();
    const SpecialFunc called = std::exchange(called_, func != nullptr ? func->special : SpecialFunc::none);
    if (called == SpecialFunc::sigpanic && func != nullptr) {
        // go1.16–1.27 src/runtime/traceback.go, continpc: a frame that faulted goes on, if ever, where it calls
        // deferreturn, and needs what the map there says; without a defer it is dead, every word of it.
        if (func->deferreturn == 0) return;
        PhysicalFrame after = frame;
        after.pc = func->entry + func->deferreturn + 1;
        after.after_call = true;
        return scan(after, index, false);
    }
    scan(frame, index, called == SpecialFunc::async_preempt);
}

/// `interrupted`: asynchronously preempted. The runtime saved its registers in the frame before.
void StackRoots::scan(const PhysicalFrame& frame, std::uint32_t index, bool interrupted) {
    frame_ = index;
    const SpecialFunc special = called_;
    const bool anywhere = interrupted || special == SpecialFunc::async_preempt;
    if (frame.cfa.is_null()) {  // the outermost ones (goexit) have no caller, and no pointers
        if (special != SpecialFunc::goexit && (frame.func() == nullptr || !frame.func()->top_frame()))
            ++frames_without_maps;
        return;
    }
    const Shape& shape = shape_of(frame);
    if (anywhere || !shape.known || !shape.exact) {
        ++conservative_frames;
        // Assembly that was stopped anywhere needs no map; one that waits for what it called does.
        if (!shape.known && frame.after_call && !anywhere) ++frames_without_maps;
        std::uint64_t args = 0;
        if (frame.func() != nullptr && frame.func()->args > 0) args = static_cast<std::uint64_t>(frame.func()->args);
        conservative({frame.sp, frame.varp().value_or(frame.cfa)}, RootKind::local);
        // Assembly gets no collector's look at all. Its arguments have types: the uintptrs of RawSyscall are no
        // pointers, and its results, when it has not come to them, are what the caller's stack held before.
        if (shape.maps.assembly && shape.maps.args.known && !anywhere)
            map(shape.maps.args, shape.maps.args.base + (frame.cfa.value - shape.cfa.value), RootKind::argument, true);
        else
            conservative({frame.cfa, frame.cfa + args}, RootKind::argument);
        if (anywhere) return;  // the runtime takes no stack objects from them
    } else {
        std::uint64_t delta = frame.cfa.value - shape.cfa.value;
        map(shape.maps.locals, shape.maps.locals.base + delta, RootKind::local);
        if (shape.reflect_stub)
            reflect_stub(frame);
        else
            map(shape.maps.args, shape.maps.args.base + delta, RootKind::argument);
    }
    std::uint64_t delta = frame.cfa.value - shape.cfa.value;
    for (const StackObject& object : shape.maps.objects) {
        AddressRange range{object.range.begin + delta, object.range.end + delta};
        if (range.begin >= frame.sp) objects_.push_back({range, object, index});
    }
}

/// go1.16–1.27 src/runtime/stkframe.go, argMapInternal: the stub keeps its *reflectMethodValue {fn, stack *bitvector}
/// at 0(SP), and whether the results are there yet at 32(SP); the register arguments (1.17+) are its topmost locals.
void StackRoots::reflect_stub(const PhysicalFrame& frame) {
    auto method = input_.memory.load_address(frame.sp);
    auto results = input_.memory.load<std::uint8_t>(frame.sp + 32);
    auto vector = method ? input_.memory.load_address(*method + 8) : method;
    auto count = vector ? input_.memory.load<std::int32_t>(*vector) : Result<std::int32_t>(0);
    auto bits = vector ? input_.memory.load_address(*vector + 8) : vector;
    auto length = method ? input_.memory.load<std::uint64_t>(*method + 16) : Result<std::uint64_t>(0);
    if (!bits || !count || !results || !length || *count < 0 || *count > 1 << 16) {
        ++frames_without_maps;
        return;
    }
    std::uint64_t words = static_cast<std::uint32_t>(*count);
    if (*results == 0) words = std::min(words, *length / 8);  // argLen excludes the results
    for (std::uint64_t i = 0; i < words; ++i) {
        std::uint8_t byte = 0;
        if (!cursor_.load(*bits + i / 8, byte)) break;
        if ((byte >> (i % 8) & 1) != 0) word(frame.cfa + i * 8, RootKind::argument, false);
    }
    auto varp = frame.varp();
    if (!varp || !input_.runtime.version().at_least(17)) return;
    // internal/abi.RegArgs: Ints, Floats, Ptrs, ReturnIsPtr; 9 and 15 registers on amd64, 16 and 16 on arm64.
    bool amd64 = input_.core == nullptr || input_.core->machine().elf_machine == x86_64().elf_machine;
    std::uint64_t ints = amd64 ? 9 : 16, floats = amd64 ? 15 : 16;
    Address begin = *varp - (ints * 16 + floats * 8 + 8);
    conservative({begin + (ints + floats) * 8, begin + (ints * 2 + floats) * 8}, RootKind::local);
}

/// What a goroutine that was running had in its registers, and nowhere else perhaps.
void StackRoots::registers(const Goroutine& g) {
    frame_ = no_owner;
    if (input_.core == nullptr || !g.tid) return;
    auto threads = input_.core->threads();
    auto thread = std::ranges::find(threads, *g.tid, &ThreadState::tid);
    const Machine_m* machine = input_.goroutines->machine(g.m);
    if (thread == threads.end() || machine == nullptr) return;
    auto interrupted = interrupted_context(*input_.core, input_.memory, input_.runtime, *machine, *thread);
    const Registers& registers = interrupted ? interrupted->registers : thread->registers;
    for (unsigned i = 0; i < registers.machine().registers.size(); ++i)
        if (auto word = registers.get(i)) value(Address{i}, *word, RootKind::register_, true);
}

/// Assembly of ABI0 has its arguments on the stack, and their types are known: what its registers hold beside is a
/// copy, or left over (r10 behind `syscall`, which takes fewer arguments). Only the runtime's own assembly gets some in
/// registers alone (memmove).
bool StackRoots::takes_all_from_stack(const PhysicalFrame& frame) {
    if (frame.func() == nullptr || frame.func()->args <= 0 || frame.name().starts_with("runtime.") ||
        frame.name().starts_with("internal/"))
        return false;
    const Shape& shape = shape_of(frame);
    return shape.known && shape.maps.assembly && shape.maps.args.known;
}

void StackRoots::defers(const Goroutine& g) {
    frame_ = no_owner;
    const auto& layout = input_.runtime.layout();
    const auto& f = layout._defer;
    StructView view(input_.memory, g.g);
    if (layout.g.sched_ctxt.present())
        word(g.g + static_cast<std::uint64_t>(layout.g.sched_ctxt.offset), RootKind::context, false);
    auto end = walk_chain(g.defers, record_limit, [&](Address at) -> std::optional<Address> {
        StructView record(input_.memory, at);
        if (f.fn.present()) word(at + static_cast<std::uint64_t>(f.fn.offset), RootKind::defer, false);
        if (f.link.present()) word(at + static_cast<std::uint64_t>(f.link.offset), RootKind::defer, false);
        if (auto heap = record.get(f.heap); heap && *heap != 0) value(at, at.value, RootKind::defer, false);
        // ≤1.17: the arguments lie behind the record. The runtime has their map (tracebackdefers); we take every word.
        auto size = f.siz.present() ? record.get(f.siz) : Result<std::int32_t>(0);
        if (size && *size > 0 && layout._defer.size != 0)
            for (std::uint64_t i = 0;
                 i + 8 <= std::min<std::uint64_t>(static_cast<std::uint32_t>(*size), arguments_limit); i += 8)
                word(at + layout._defer.size + i, RootKind::defer, true);
        auto link = record.get(f.link);
        return link ? std::optional(*link) : std::nullopt;
    });
    if (end != WalkEnd::done) ++incomplete;
    if (!g.panics.is_null()) value(g.g, g.panics.value, RootKind::panic, false);
}

void StackRoots::objects() {
    if (objects_.empty()) return;
    std::ranges::sort(objects_, {}, [](const LiveObject& o) { return o.range.begin; });
    // Exact pointers first: an object that only a conservative word points to may be dead, and is read with suspicion.
    for (bool suspicious : {false, true})
        for (std::size_t i = 0; i < own_.size(); ++i) {
            OwnPointer pointer = own_[i];
            if (pointer.conservative != suspicious) continue;
            auto after =
                std::ranges::upper_bound(objects_, pointer.to, {}, [](const LiveObject& o) { return o.range.begin; });
            if (after == objects_.begin()) continue;
            LiveObject& found = *std::prev(after);
            if (found.done || !found.range.contains(pointer.to)) continue;
            found.done = true;
            frame_ = found.frame;
            std::uint64_t words = std::min<std::uint64_t>(found.object.pointer_words, found.range.size() / 8);
            if (!found.object.mask_known()) {
                conservative({found.range.begin, found.range.begin + words * 8}, RootKind::stack_object);
                continue;
            }
            for (std::uint64_t at = 0; at < words; ++at)
                if (found.object.pointer_at(found.object.range.begin + at * 8))
                    word(found.range.begin + at * 8, RootKind::stack_object, pointer.conservative);
            // New own pointers were appended; exact ones found on the suspicious round are conservative themselves.
        }
}

/// How many of the innermost frames are mallocgc's and what it called. Between taking a slot and clearing it it neither
/// waits nor can be preempted, so only running goroutines have any; the collector itself never sees them. Without names
/// (the executable is missing) any frame may be.
std::uint32_t StackRoots::of_an_allocation(const Goroutine& g, const PhysicalFrames& frames) const {
    if (g.status != Status::running) return 0;
    std::uint32_t count = 0;
    bool named = false;
    for (std::uint32_t i = 0; i < std::min<std::size_t>(frames.size(), allocation_depth); ++i) {
        named |= frames[i].func() != nullptr;
        if (frames[i].name().starts_with("runtime.mallocgc")) count = i + 1;
    }
    return named ? count : allocation_depth;
}

void StackRoots::collect(std::uint32_t goroutine, std::vector<Root>& out) {
    const Goroutine& g = input_.goroutines->all[goroutine];
    const GoStack& stack = input_.stacks->shape(goroutine);
    const PhysicalFrames frames = input_.stacks->physical(goroutine);
    out_ = &out;
    goroutine_ = goroutine;
    stack_ = g.stack;
    called_ = SpecialFunc::none;
    own_.clear();
    objects_.clear();
    if (g.status == Status::copystack || g.scanning) {
        // The runtime may be moving this stack (newstack; the collector shrinks stacks that it scans): words that lead
        // into it name the old place or the new one.
        frame_ = no_owner;
        conservative({stack_.contains(g.sched_sp) ? g.sched_sp : stack_.begin, stack_.end}, RootKind::local);
        return defers(g);
    }
    bool stopped_in_go = false, arguments_say_all = false;
    Address last;
    const std::uint32_t allocation = of_an_allocation(g, frames);
    for (std::uint32_t i = 0; i < frames.size(); ++i) {
        const PhysicalFrame f = frames[i];
        if (f.owner != StackOwner::goroutine || f.kind == report::FrameKind::native) continue;
        if (stack.elided != 0 && i == stack.elided_at && i != 0) {
            frame_ = no_owner;
            conservative({last, f.sp}, RootKind::local);
        }
        if (last.is_null() && !f.after_call) {
            stopped_in_go = true;
            arguments_say_all = takes_all_from_stack(f);
        }
        allocating_ = i < allocation;
        frame(f, i);
        allocating_ = false;
        if (!f.cfa.is_null()) last = f.cfa;
    }
    if (!stack.complete && g.status != Status::idle) {
        // Where the walk lost its way the rest of the stack still holds pointers.
        Address from = last.is_null() ? (g.syscall_sp.is_null() ? g.sched_sp : g.syscall_sp) : last;
        // Compiled code of the program's own runs on a stack of its own (wazero): nothing says where Go's was left.
        if (!stack_.contains(from) && g.status == Status::running) from = stack_.begin;
        if (stack_.contains(from)) {
            ++incomplete;
            frame_ = no_owner;
            conservative({from, stack_.end}, RootKind::local);
        }
    }
    allocating_ = allocation != 0;
    if ((stopped_in_go || g.status == Status::running) && !arguments_say_all) registers(g);
    allocating_ = false;
    defers(g);
    objects();
}

}  // namespace incident::go
