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
// said; in cores by gcore, mappings that it left out.
#include "detect/go_headers.h"

#include <fmt/format.h>

#include <algorithm>

#include "detect/go_headers_check.h"
#include "detect/go_map.h"
#include "go/binary/field_path.h"
#include "go/heap/heap_graph.h"

namespace incident::detect {

namespace {

using go::PlanStep;

constexpr std::size_t most_findings = 16, most_told = 8;

std::string_view kind_of(const BadHeader& bad) {
    switch (bad.op) {
        case PlanStep::Op::slice: return "go.slice.bad";
        case PlanStep::Op::string: return "go.string.bad";
        default: return "go.interface.bad";
    }
}

std::string_view word_of(const BadHeader& bad) {
    switch (bad.op) {
        case PlanStep::Op::slice: return "slice";
        case PlanStep::Op::string: return "string";
        default: return "interface";
    }
}

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

/// A goroutine that was stopped in the middle of its own code and has the object in hand: it may have stored one word
/// of the header and not yet the next.
std::optional<std::int64_t> may_be_storing(const Process& process, const BadHeader& bad) {
    AddressRange object{bad.object,
                        bad.object + std::max<std::uint64_t>(process.heap_types->types()[bad.object_type].size, 24)};
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
        while (f < frames.size() &&
               (frames[f].owner != go::StackOwner::goroutine || frames[f].func() == nullptr ||
                frames[f].name() == "runtime.asyncPreempt" || frames[f].name() == "runtime.asyncPreempt2"))
            ++f;
        if (f >= frames.size() || frames[f].after_call || frames[f].name().starts_with("runtime") ||
            frames[f].name().starts_with("syscall.") || frames[f].name().starts_with("internal/"))
            continue;
        if (process.crash && process.crash->goroutine == g && process.crash->kind != report::CrashKind::requested)
            continue;  // it died here: what it stored is done
        for (Address at = (f > 0 && !frames[f - 1].sp.is_null() ? frames[f - 1].sp : frames[f].sp).align_down(8);
             at < frames[f].cfa && at < frames[f].sp + 65536; at += 8)
            if (auto word = process.memory.load_address(at); word && object.contains(*word)) return goroutine.goid;
        if (goroutine.tid)
            if (const NativeThread* thread = process.find_thread(*goroutine.tid); thread != nullptr && thread->state)
                for (unsigned r = 0; r < max_registers; ++r)
                    if (auto value = thread->state->registers.get(r); value && object.contains(Address{*value}))
                        return goroutine.goid;
    }
    return std::nullopt;
}

std::string header_words(const BadHeader& bad) {
    if (bad.op == PlanStep::Op::slice)
        return fmt::format("data {:#x}, len {}, cap {}", bad.words[0], static_cast<std::int64_t>(bad.words[1]),
                           static_cast<std::int64_t>(bad.words[2]));
    if (bad.op == PlanStep::Op::string)
        return fmt::format("data {:#x}, len {}", bad.words[0], static_cast<std::int64_t>(bad.words[1]));
    return fmt::format("{} {:#x}, data {:#x}", bad.op == PlanStep::Op::eface ? "type" : "itab", bad.words[0],
                       bad.words[1]);
}

/// The same in every run.
std::string_view fault_words(HeaderFault fault) {
    switch (fault) {
        case HeaderFault::negative: return "negative length";
        case HeaderFault::len_over_cap: return "len over cap";
        case HeaderFault::len_outside: return "len beyond its object";
        case HeaderFault::cap_outside: return "cap beyond its object";
        case HeaderFault::no_data: return "a length without data";
        case HeaderFault::not_address: return "data that is no address";
        case HeaderFault::unmapped:
        case HeaderFault::runtimes_own: return "data that is not mapped";  // the runtime may have mapped it again since
        case HeaderFault::bad_type: return "no type word";
        case HeaderFault::bad_itab: return "no itab word";
    }
    return "";
}

std::string what_is_wrong(const Locator& locator, const BadHeader& bad, std::uint64_t elem) {
    switch (bad.fault) {
        case HeaderFault::negative: return "a length below zero";
        case HeaderFault::len_over_cap: return fmt::format("len {} is more than cap {}", bad.words[1], bad.words[2]);
        case HeaderFault::len_outside:
        case HeaderFault::cap_outside: {
            const auto room = static_cast<std::uint64_t>(bad.room.end - Address{bad.words[0]});
            const bool len = bad.fault == HeaderFault::len_outside;
            return fmt::format("{} {} of {} B each, but from there its object has {} bytes", len ? "len" : "cap",
                               len ? bad.words[1] : bad.words[2], elem, room);
        }
        case HeaderFault::no_data: return fmt::format("a length, but data is {:#x}", bad.words[0]);
        case HeaderFault::not_address: return fmt::format("data {:#x} can be no address", bad.words[0]);
        case HeaderFault::unmapped: return fmt::format("its data at {:#x} is not mapped", bad.words[0]);
        case HeaderFault::runtimes_own:
            return fmt::format("its data at {:#x} lies in memory that the runtime allots to its own structures",
                               bad.words[0]);
        case HeaderFault::bad_type:
            return fmt::format("its type word {:#x} is no type descriptor: {}", bad.words[0],
                               locator.describe(Address{bad.words[0]}));
        case HeaderFault::bad_itab:
            return fmt::format("its itab word {:#x} is no itab: {}", bad.words[0],
                               locator.describe(Address{bad.words[0]}));
    }
    return "";
}

}  // namespace

namespace {

void add_frame(const Process& process, const MapTeller& teller, const BadHeader& bad, report::Finding& finding) {
    const go::GoStack stack = process.stacks.load(bad.goroutine);
    const std::int64_t goid = process.goroutines->all[bad.goroutine].goid;
    finding.where =
        fmt::format("variable {} of {}, goroutine {}", bad.variable, frame_in_source(stack, bad.frame), goid);
    finding.goroutines.push_back(goid);
    teller.add_snapshot(finding, stack, bad.frame, goid);
    // go1.23 src/cmd/compile/internal/liveness/mergelocals.go: variables share a slot when their lives do not meet.
    if (!process.go->version().at_least(23)) return;
    finding.strength = report::Strength::possible;
    finding.severity = report::Severity::warning;
    finding.innocent.push_back("another variable of the function that the compiler keeps in the same slot");
}

}  // namespace

Detection detect_bad_headers(const Process& process) {
    Detection detection;
    const Locator& locator = *process.locator;
    MapTeller teller(process);
    HeaderScan scan = scan_headers(process, locator);
    detection.checked = scan.checked;
    const go::TypeTable& types = process.heap_types->types();
    std::size_t left = scan.more, untyped = 0;
    std::vector<Address> told;  // values whose finding exists, parallel to findings
    std::vector<std::string_view> told_kind;
    for (const BadHeader& bad : scan.bad) {
        const bool in_frame = bad.frame != go::no_owner;
        if (!in_frame && (!mask_agrees(process, bad) || !whole_slot_agrees(process, bad))) {
            ++untyped;
            continue;
        }
        const std::string_view kind = kind_of(bad);
        const std::uint64_t elem = bad.op == PlanStep::Op::slice ? types[bad.elem].size : 1;
        const std::string path = go::field_path(types, bad.object_type, bad.offset, go::Until::leaf).text;
        report::Evidence words{fmt::format("{}the {}'s words", path.empty() ? "" : path.substr(1) + ": ", word_of(bad)),
                               bad.at, header_words(bad), "core",
                               bad.slot != go::no_slot ? "types of heap objects"
                               : in_frame              ? "debug information and the collector's map of the frame"
                                                       : "types of package variables"};
        bool known = false;
        for (std::size_t i = 0; i < told.size() && !known; ++i)
            if (told[i] == bad.object && told_kind[i] == kind) {
                known = true;
                if (detection.findings[i].evidence.size() < most_told) detection.findings[i].evidence.push_back(words);
            }
        if (known) continue;
        if (detection.findings.size() >= most_findings) {
            ++left;
            continue;
        }
        report::Finding finding;
        finding.kind = std::string(kind);
        const bool own_words = bad.fault == HeaderFault::negative || bad.fault == HeaderFault::len_over_cap;
        finding.strength = own_words ? report::Strength::proved : report::Strength::likely;
        finding.severity = bad.fault == HeaderFault::cap_outside ? report::Severity::warning : report::Severity::error;
        const std::string type_name(types[bad.object_type].name);
        // Who leads to it: a variable that holds the object's address says more than the address.
        std::string name(bad.variable);
        std::optional<Address> holder;
        if (name.empty() && bad.slot != go::no_slot) {
            holder = teller.variable(bad.object);
            if (holder) name = locator.symbol(*holder);
        } else if (name.empty()) {
            name = locator.symbol(bad.object);
        }
        const std::string full = !name.empty()
                                     ? name + path
                                     : fmt::format("{}{} at {:#x}", path.empty() ? "" : path.substr(1) + " of the ",
                                                   type_name, bad.object.value);
        finding.subject = {bad.object, in_frame ? "variable" : "object", type_name, name.empty() ? "" : name + path};
        const bool type_word = bad.fault == HeaderFault::bad_type || bad.fault == HeaderFault::bad_itab;
        const bool mapped = type_word && process.memory.find(Address{bad.words[0]}) != nullptr;
        finding.mark = {fmt::format("{}{}", fault_words(bad.fault), mapped ? ": data stands there" : ""),
                        type_name + path, ""};
        finding.title = fmt::format("Impossible {} header: {}", word_of(bad), full);
        finding.why = what_is_wrong(locator, bad, elem);
        finding.where = fmt::format("{} bytes into the {} at {:#x}", bad.offset, type_name, bad.object.value);
        finding.evidence.push_back(std::move(words));
        if (!bad.room.empty())
            finding.evidence.push_back({"the object that its data lies in", bad.room.begin,
                                        locator.describe(Address{bad.words[0]}), "core", "spans"});
        else if (bad.fault == HeaderFault::unmapped || bad.fault == HeaderFault::runtimes_own)
            finding.evidence.push_back({"its data", Address{bad.words[0]}, locator.describe(Address{bad.words[0]}),
                                        "core",
                                        bad.fault == HeaderFault::unmapped ? "mappings" : "runtime.persistentChunks"});
        if (bad.slot != go::no_slot)
            finding.evidence.push_back({"the object that holds the header", process.heap->slots().base(bad.slot),
                                        fmt::format("a live {}; the collector's pointer mask agrees", type_name),
                                        "core", "types of heap objects"});
        if (holder)
            finding.evidence.push_back({"the variable that leads to it", holder, fmt::format("{:#x}", bad.object.value),
                                        "core", "data sections"});
        if (process.crash && process.crash->fault_address && bad.op != PlanStep::Op::eface &&
            bad.op != PlanStep::Op::iface) {
            const Address fault = *process.crash->fault_address, data{bad.words[0]};
            if (fault >= data && fault.value - data.value < (1ull << 40) &&
                (fault.value - data.value) / std::max<std::uint64_t>(elem, 1) < bad.words[1]) {
                finding.evidence.push_back({"the process died of an access inside what this header claims", fault,
                                            fmt::format("data + {:#x}", fault.value - data.value), "core", "signal"});
                for (std::size_t i = 0; i < process.crash->stack.frames.size(); ++i) {
                    auto function = process.crash->stack.frames[i].function;
                    if (function.starts_with("runtime.") || function == "panic" ||
                        process.crash->stack.frames[i].inlined)
                        continue;
                    teller.add_snapshot(finding, process.crash->stack, process.crash->stack.frame_of[i],
                                        process.crash->goid);
                    if (process.crash->goid) finding.goroutines.push_back(*process.crash->goid);
                    break;
                }
            }
        }
        if (in_frame) add_frame(process, teller, bad, finding);
        if (auto storing = may_be_storing(process, bad)) {
            finding.innocent.push_back(
                fmt::format("goroutine {} was stopped in the middle of its code with this object in hand: it may just "
                            "be storing the header",
                            *storing));
            finding.strength = report::Strength::possible;
            finding.severity = report::Severity::info;
        }
        if (bad.fault == HeaderFault::cap_outside)
            finding.innocent.push_back("a capacity that unsafe code made up and that nobody uses");
        if (bad.fault == HeaderFault::unmapped && process.core.written_by_gcore()) {
            finding.innocent.push_back("gcore leaves out some mappings: the data may have been in one of them");
            finding.strength = report::Strength::possible;
            finding.severity = report::Severity::info;
        }
        const Image* executable = process.images ? process.images->executable() : nullptr;
        finding.verify.push_back(
            {"gdb",
             fmt::format(
                 "gdb {} {} -ex 'x/{}gx {:#x}'   # {}",
                 executable != nullptr && !executable->found_at().empty() ? std::string(executable->found_at()) : "EXE",
                 process.core.path(), bad.op == PlanStep::Op::slice ? 3 : 2, bad.at.value,
                 bad.op == PlanStep::Op::slice    ? "data, len, cap"
                 : bad.op == PlanStep::Op::string ? "data, len"
                                                  : "type or itab, data")});
        finding.explanation =
            "The compiler never makes such a header. It was overwritten by a neighbour (an overrun in C, or with "
            "unsafe), "
            "made by unsafe with wrong numbers, or outlived the memory that it describes.";
        finding.remedy = bad.fault == HeaderFault::unmapped || bad.fault == HeaderFault::runtimes_own
                             ? "drop every slice and string over a mapping before it is unmapped, or copy them"
                             : "look for unsafe and C code that writes to the neighbouring fields and objects";
        told.push_back(bad.object);
        told_kind.push_back(kind);
        detection.findings.push_back(std::move(finding));
    }
    if (left != 0) detection.reason = fmt::format("{} more headers are impossible", left);
    detection.unchecked = untyped;
    return detection;
}

}  // namespace incident::detect
