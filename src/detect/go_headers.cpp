// go.slice.bad: a slice whose length, capacity and data contradict each other, or data that is not its object.
// go.string.bad: the same of a string. go.interface.bad: an interface whose first word is no type and no itab.
//
// Where: package variables, typed objects of the heap, cells in use of typed maps, and variables of frames that DWARF
// places in memory and the collector calls live.
//
// Proof: the header's words against each other (len > cap, below zero), against the heap object that data lies in, or
// against the mappings. It counts only where the place is typed and the collector's own pointer mask of the object
// agrees with that type. Innocent look-alikes, looked for: a header that a running goroutine is just storing (torn);
// slices over C memory, mapped files and rodata (but nothing of a program lies in the chunks from which the runtime
// allots its own structures: there a mapping went and the runtime's came); nothing in it, wherever it points; types
// made by reflect, which lie in the heap; garbage; capacities over memory outside the Go heap, which are what somebody
// said; in cores by gcore, mappings that it left out; objects that only words keep which may be no pointers; records of
// mappings, and objects that wait in pools, with what they had before.
#include "detect/go_headers.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "detect/go_headers_check.h"
#include "detect/go_headers_tell.h"
#include "detect/idle_objects.h"
#include "detect/surely_kept.h"
#include "go/binary/field_path.h"
#include "go/heap/go_map_uses.h"
#include "go/heap/heap_graph.h"

namespace incident::detect {

namespace {

using go::PlanStep;

constexpr std::size_t most_findings = 16, most_told = 8;

/// Which words of the value the collector takes for pointers; empty: not known.
std::vector<bool> pointer_words(const Process& process, const BadHeader& bad, std::uint64_t count) {
    std::vector<bool> mask(count);
    if (bad.slot != go::no_slot) {
        const go::HeapGraph& graph = *process.heap;
        const std::uint64_t words = graph.slots().size(bad.slot) / 8;
        const auto begin = static_cast<std::uint64_t>(bad.object - graph.slots().base(bad.slot)) / 8;
        if (begin + count > words) return {};
        const bool known = graph.pointers().for_each_mask(
            bad.slot, graph.slots().data(bad.slot), begin, begin + count, [&](std::uint64_t word, std::uint64_t bits) {
                for (std::uint64_t i = 0; i < 64; ++i)
                    if ((bits >> i & 1) != 0 && word + i >= begin && word + i < begin + count)
                        mask[word + i - begin] = true;
            });
        return known ? mask : std::vector<bool>{};
    }
    for (const go::ModuleData& module : process.go->modules())
        for (auto [section, bytes] :
             {std::pair(module.data, module.gcdatamask), std::pair(module.bss, module.gcbssmask)}) {
            if (!section.contains(bad.object)) continue;
            const auto begin = static_cast<std::uint64_t>(bad.object - section.begin) / 8;
            for (std::uint64_t i = 0; i < count; ++i) {
                const std::byte* byte = process.memory.data_at(bytes + (begin + i) / 8, 1);
                if (byte == nullptr) return {};
                mask[i] = (std::to_integer<unsigned>(*byte) >> ((begin + i) % 8) & 1) != 0;
            }
            return mask;
        }
    return {};
}

/// The collector's own mask of the memory must agree with what the type says of its words.
bool mask_agrees(const Process& process, const BadHeader& bad) {
    const go::Type& type = process.heap_types->types()[bad.object_type];
    const std::uint64_t count = (type.size + 7) / 8;
    if (count > (1u << 24)) return false;
    const std::vector<bool> mask = pointer_words(process, bad, count);
    if (mask.empty()) return false;
    if (!type.rtype.is_null()) {
        const go::TypeMask* exact = process.heap->pointers().masks().find(type.rtype);
        if (exact->known) {
            for (std::uint64_t i = 0; i < count; ++i)
                if (exact->pointer(i) != mask[i]) return false;
            return true;
        }
    }
    const go::TypePlans& plans = process.heap_types->plans();
    for (const PlanStep& step : plans.steps(plans[bad.object_type])) {
        const std::uint64_t word = step.offset / 8;
        // Of an interface the collector follows the data word (go1.16 src/cmd/compile/internal/gc/plive.go,
        // onebitwalktype1); its first word names a type, which somebody else keeps.
        const bool two = step.op == PlanStep::Op::eface || step.op == PlanStep::Op::iface;
        const bool header = step.op == PlanStep::Op::slice || step.op == PlanStep::Op::string;
        if (word + (two ? 1 : 0) >= count || !mask[word + (two ? 1 : 0)]) return false;
        if (header && (word + 1 >= count || mask[word + 1])) return false;
        if (step.op == PlanStep::Op::slice && (word + 2 >= count || mask[word + 2])) return false;
    }
    return true;
}

/// A type is a claim, made by some pointer to the object. It is believed when the collector's mask of the *whole* slot
/// is that of so many values of the type and nothing behind them.
bool whole_slot_agrees(const Process& process, const BadHeader& bad) {
    if (bad.slot == go::no_slot || bad.basis == go::TypeBasis::noted) return true;
    const go::HeapGraph& graph = *process.heap;
    const go::Type& type = process.heap_types->types()[bad.object_type];
    const bool guessed = bad.basis != go::TypeBasis::edge && bad.basis != go::TypeBasis::closure;
    // An interface names one value, and never another interface.
    if (guessed && (bad.count != 1 || type.kind == go::Kind::interface)) return false;
    const std::uint64_t words = graph.slots().size(bad.slot) / 8, each = type.size / 8;
    if (type.size % 8 != 0 || each == 0 || bad.count > words / each || words > (1u << 24)) return false;
    const std::uint64_t covered = each * bad.count;
    if (covered * 5 < words * 3) return false;  // the allocator would have taken a smaller size
    BadHeader first = bad;
    first.object = graph.slots().base(bad.slot);
    const std::vector<bool> mask = pointer_words(process, first, words);
    if (mask.empty()) return false;
    const auto begin = static_cast<std::uint64_t>(bad.object - first.object) / 8 % each;  // 1 behind a malloc header
    for (std::uint64_t i = each + begin; i < words; ++i) {
        const bool inside = i < covered + begin;
        if (mask[i] != (inside && mask[i - each])) return false;
    }
    return true;
}

/// What stores words for the program: it stands between one word of a header and the next, too. A full buffer of the
/// write barrier is emptied on the system stack (go1.27 src/runtime/mwbbuf.go, wbBufFlush), and from 1.21 on
/// the barrier's own name has no package (src/runtime/asm_amd64.s, gcWriteBarrier<>).
bool stores_for_others(std::string_view name) {
    constexpr std::array<std::string_view, 11> stores = {
        "runtime.asyncPreempt",    "gcWriteBarrier",         "runtime.gcWriteBarrier",      "runtime.wb",
        "runtime.systemstack",     "runtime.memmove",        "runtime.memclr",              "runtime.duff",
        "runtime.typedmem",        "runtime.typedslicecopy", "runtime.bulkBarrierPreWrite"};
    return std::ranges::any_of(stores, [&](std::string_view store) { return name.starts_with(store); });
}

/// While an atomic.Value is stored for the first time its type word names a mark of the package, one byte without
/// pointers (go1.19–1.27 src/sync/atomic/value.go, firstStoreInProgress; ~0 before).
bool first_store_of_atomic_value(const Process& process, const BadHeader& bad) {
    if (bad.op != PlanStep::Op::eface) return false;
    const go::TypeTable& types = process.heap_types->types();
    const std::string_view owner = types[go::field_path(types, bad.object_type, bad.offset, go::Until::leaf).of].name;
    return (owner == "sync/atomic.Value" || owner == "atomic.Value") &&
           std::ranges::any_of(process.go->modules(), [&](const go::ModuleData& module) {
               return module.noptrbss.contains(Address{bad.words[0]});
           });
}

/// A cell of the map in which syscall and golang.org/x/sys/unix note the mappings that they made: by the address of the
/// last byte. Who unmaps by the system call alone leaves it there, and nobody looks (go1.16–1.27
/// src/syscall/syscall_unix.go, mmapper).
bool is_record_of_mapping(const Process& process, const BadHeader& bad) {
    if (!bad.in_cell || bad.op != PlanStep::Op::slice || bad.words[2] == 0) return false;
    const std::uint64_t size = process.heap_types->types()[bad.object_type].size;
    for (std::uint64_t offset = 0; offset + 8 <= std::min<std::uint64_t>(size, 4096); offset += 8)
        if (const auto key = process.memory.load<std::uint64_t>(bad.object + offset);
            key && *key == bad.words[0] + bad.words[2] - 1)
            return true;
    return false;
}

/// A goroutine that was stopped in the middle of its own code and has the object in hand: it may have stored one word
/// of the header and not yet the next.
std::optional<std::int64_t> may_be_storing(const Process& process, const BadHeader& bad) {
    AddressRange object{bad.object,
                        bad.object + std::max<std::uint64_t>(process.heap_types->types()[bad.object_type].size, 24)};
    if (bad.slot != go::no_slot) {  // an element of an array: code has the array in hand, and an index
        const go::HeapSlots& slots = process.heap->slots();
        object = {slots.base(bad.slot), slots.base(bad.slot) + slots.size(bad.slot)};
    }
    for (std::size_t g = 0; g < process.stacks.size(); ++g) {
        const go::Goroutine& goroutine = process.goroutines->all[g];
        if (goroutine.status != go::Status::running && goroutine.status != go::Status::runnable) continue;
        // The runtime marks a cell as used before all of its key and value are there.
        if (bad.in_cell && std::ranges::any_of(process.stacks.shape(g).physical, [](const go::PhysicalFrame& frame) {
                auto operation = go::map_operation(frame.name());
                return operation && go::writes(*operation);
            }))
            return goroutine.goid;
        // The innermost frame of the program, if it was stopped anywhere but at a call.
        std::size_t f = 0;
        const auto frames = process.stacks.physical(g);
        bool storing = false;
        Address from;
        for (; f < frames.size(); ++f) {
            if (frames[f].owner != go::StackOwner::goroutine || frames[f].func() == nullptr) continue;
            if (from.is_null()) from = frames[f].sp;
            if (!stores_for_others(frames[f].name())) break;
            storing = true;
        }
        if (f >= frames.size() || (frames[f].after_call && !storing) || frames[f].name().starts_with("runtime") ||
            frames[f].name().starts_with("syscall.") || frames[f].name().starts_with("internal/"))
            continue;
        if (process.crash && process.crash->goroutine == g && process.crash->kind != report::CrashKind::requested)
            continue;  // it died here: what it stored is done
        for (Address at = (from.is_null() ? frames[f].sp : from).align_down(8);
             at < frames[f].cfa && at < frames[f].sp + 65536; at += 8)
            if (auto word = process.memory.load_address(at); word && object.contains(*word)) return goroutine.goid;
        const NativeThread* thread = goroutine.tid ? process.find_thread(*goroutine.tid) : nullptr;
        if (thread == nullptr || thread->state == nullptr) continue;
        // Where the runtime's signal handler took it away, its own registers are those of the handler.
        const go::Machine_m* machine = process.goroutines->machine(goroutine.m);
        const auto interrupted = machine == nullptr ? std::nullopt
                                                    : go::interrupted_context(process.core, process.memory, *process.go,
                                                                              *machine, *thread->state);
        const Registers& registers = interrupted ? interrupted->registers : thread->state->registers;
        for (unsigned r = 0; r < max_registers; ++r)
            if (auto value = registers.get(r); value && object.contains(Address{*value})) return goroutine.goid;
    }
    return std::nullopt;
}

/// What may make it innocent after all.
void add_doubts(const Process& process, const BadHeader& bad, bool surely_kept, IdleObjects& idle,
                report::Finding& finding) {
    if (!surely_kept) {
        finding.strength = report::Strength::possible;
        finding.severity = report::Severity::warning;
        finding.innocent.emplace_back(SurelyKept::doubt);
    }
    const auto only_a_remark = [&](std::string why) {
        finding.innocent.push_back(std::move(why));
        finding.strength = report::Strength::possible;
        finding.severity = report::Severity::info;
    };
    // go1.23 src/cmd/compile/internal/liveness/mergelocals.go: variables share a slot when their lives do not meet.
    if (bad.in_frame() && process.go->version().at_least(23)) {
        finding.strength = report::Strength::possible;
        finding.severity = report::Severity::warning;
        finding.innocent.push_back("another variable of the function that the compiler keeps in the same slot");
    }
    if (auto storing = may_be_storing(process, bad))
        only_a_remark(
            fmt::format("goroutine {} was stopped in the middle of its code with this object in hand: it may just be "
                        "storing the header",
                        *storing));
    if (bad.fault == HeaderFault::cap_outside)
        finding.innocent.push_back("a capacity that unsafe code made up and that nobody uses");
    if (bad.fault == HeaderFault::unmapped && process.core.written_by_gcore())
        only_a_remark("gcore leaves out some mappings: the data may have been in one of them");
    if (bad.fault == HeaderFault::unmapped && bad.slot != go::no_slot && idle.contains(bad.slot))
        only_a_remark(
            "nothing leads to the object but a channel's buffer or a sync.Pool: who takes it from there may "
            "set it anew first");
}

}  // namespace

Detection detect_bad_headers(const Process& process) {
    Detection detection;
    const HeaderTeller teller(process);
    SurelyKept surely_kept(process);
    IdleObjects idle(process);
    HeaderScan scan = scan_headers(process, *process.locator);
    detection.checked = scan.checked;
    std::size_t left = scan.more;
    // Object or variable and kind → finding: what spoilt one element of an array spoilt the others.
    std::map<std::pair<Address, std::string_view>, std::size_t> told;
    for (const BadHeader& bad : scan.bad) {
        if (!bad.in_frame() && (!mask_agrees(process, bad) || !whole_slot_agrees(process, bad))) {
            ++detection.unchecked;  // its type is not known for sure
            continue;
        }
        if (first_store_of_atomic_value(process, bad) || is_record_of_mapping(process, bad)) continue;
        const bool sure = bad.slot == go::no_slot || surely_kept(bad.slot);
        if (!sure && bad.basis < go::TypeBasis::edge) {  // perhaps garbage, and perhaps of another type
            ++detection.unchecked;
            continue;
        }
        const Address container = bad.slot != go::no_slot ? process.heap->slots().base(bad.slot) : bad.object;
        if (auto known = told.find({container, header_kind(bad)}); known != told.end()) {
            auto& evidence = detection.findings[known->second].evidence;
            if (evidence.size() < most_told) evidence.push_back(teller.words(bad));
            continue;
        }
        if (detection.findings.size() >= most_findings) {
            ++left;
            continue;
        }
        told.emplace(std::pair(container, header_kind(bad)), detection.findings.size());
        detection.findings.push_back(teller.tell(bad));
        add_doubts(process, bad, sure, idle, detection.findings.back());
    }
    if (left != 0) detection.reason = fmt::format("{} more headers are impossible", left);
    return detection;
}

}  // namespace incident::detect
