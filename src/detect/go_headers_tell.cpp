#include "detect/go_headers_tell.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "detect/go_map.h"
#include "detect/telling.h"
#include "go/binary/field_path.h"
#include "go/heap/heap_graph.h"

namespace incident::detect {

using go::PlanStep;

namespace {

std::string_view word_of(const BadHeader& bad) {
    switch (bad.op) {
        case PlanStep::Op::slice: return "slice";
        case PlanStep::Op::string: return "string";
        default: return "interface";
    }
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
        case HeaderFault::no_value: return "a type without a value";
    }
    return "";
}

bool is_interface(const BadHeader& bad) { return bad.op == PlanStep::Op::eface || bad.op == PlanStep::Op::iface; }

}  // namespace

std::string_view header_kind(const BadHeader& bad) {
    switch (bad.op) {
        case PlanStep::Op::slice: return "go.slice.bad";
        case PlanStep::Op::string: return "go.string.bad";
        default: return "go.interface.bad";
    }
}

std::string HeaderTeller::path(const BadHeader& bad) const {
    return go::field_path(types_, bad.object_type, bad.offset, go::Until::leaf).text;
}

std::uint64_t HeaderTeller::elem_size(const BadHeader& bad) const {
    return bad.op == PlanStep::Op::slice ? types_[bad.elem].size : 1;
}

std::string HeaderTeller::fault_text(const BadHeader& bad) const {
    switch (bad.fault) {
        case HeaderFault::negative: return "a length below zero";
        case HeaderFault::len_over_cap: return fmt::format("len {} is more than cap {}", bad.words[1], bad.words[2]);
        case HeaderFault::len_outside:
        case HeaderFault::cap_outside: {
            const auto room = static_cast<std::uint64_t>(bad.room.end - Address{bad.words[0]});
            const bool len = bad.fault == HeaderFault::len_outside;
            return fmt::format("{} {} of {} B each, but from there its object has {} bytes", len ? "len" : "cap",
                               len ? bad.words[1] : bad.words[2], elem_size(bad), room);
        }
        case HeaderFault::no_data: return fmt::format("a length, but data is {:#x}", bad.words[0]);
        case HeaderFault::not_address: return fmt::format("data {:#x} can be no address", bad.words[0]);
        case HeaderFault::unmapped: return fmt::format("its data at {:#x} is not mapped", bad.words[0]);
        case HeaderFault::runtimes_own:
            return fmt::format("its data at {:#x} lies in memory that the runtime allots to its own structures",
                               bad.words[0]);
        case HeaderFault::bad_type:
            return fmt::format("its type word {:#x} is no type descriptor: {}", bad.words[0],
                               locator_.describe(Address{bad.words[0]}));
        case HeaderFault::bad_itab:
            return fmt::format("its itab word {:#x} is no itab: {}", bad.words[0],
                               locator_.describe(Address{bad.words[0]}));
        case HeaderFault::no_value:
            return fmt::format("values of its type are kept behind a pointer, and that is {:#x}", bad.words[1]);
    }
    return "";
}

report::Evidence HeaderTeller::words(const BadHeader& bad) const {
    const std::string field = path(bad);
    return {fmt::format("{}the {}'s words", field.empty() ? "" : field.substr(1) + ": ", word_of(bad)), bad.at,
            header_words(bad), "core",
            bad.slot != go::no_slot ? "types of heap objects"
            : bad.in_frame()        ? "debug information and the collector's map of the frame"
                                    : "types of package variables"};
}

report::Finding HeaderTeller::tell(const BadHeader& bad) const {
    report::Finding finding;
    finding.kind = std::string(header_kind(bad));
    const bool own_words = bad.fault == HeaderFault::negative || bad.fault == HeaderFault::len_over_cap;
    const bool no_value = bad.fault == HeaderFault::no_value;
    finding.strength = own_words  ? report::Strength::proved
                       : no_value ? report::Strength::possible
                                  : report::Strength::likely;
    finding.severity =
        no_value || bad.fault == HeaderFault::cap_outside ? report::Severity::warning : report::Severity::error;
    if (no_value) finding.innocent.push_back("a library that makes interfaces by hand, to pass a type without a value");
    finding.why = fault_text(bad);
    finding.where = fmt::format("{} bytes into the {} at {:#x}", bad.offset, type_name(bad), bad.object.value);
    const bool type_word = bad.fault == HeaderFault::bad_type || bad.fault == HeaderFault::bad_itab;
    const bool mapped = type_word && process_.memory.find(Address{bad.words[0]}) != nullptr;
    finding.mark = {fmt::format("{}{}", fault_words(bad.fault), mapped ? ": data stands there" : ""),
                    type_name(bad) + path(bad), ""};
    finding.evidence.push_back(words(bad));
    add_data(finding, bad);
    add_name(finding, bad);
    add_death(finding, bad);
    if (bad.in_frame()) add_frame(finding, bad);
    finding.verify.push_back(gdb_words(process_, bad.at, bad.op == PlanStep::Op::slice ? 3 : 2,
                                       bad.op == PlanStep::Op::slice    ? "data, len, cap"
                                       : bad.op == PlanStep::Op::string ? "data, len"
                                                                        : "type or itab, data"));
    finding.explanation =
        "The compiler never makes such a header. It was overwritten by a neighbour (an overrun in C, or with unsafe), "
        "made by unsafe with wrong numbers, or outlived the memory that it describes.";
    finding.remedy = bad.fault == HeaderFault::unmapped || bad.fault == HeaderFault::runtimes_own
                         ? "drop every slice and string over a mapping before it is unmapped, or copy them"
                         : "look for unsafe and C code that writes to the neighbouring fields and objects";
    return finding;
}

/// Who leads to it: a variable that holds the object's address says more than the address.
void HeaderTeller::add_name(report::Finding& finding, const BadHeader& bad) const {
    const std::string field = path(bad);
    std::string name(bad.variable);
    std::optional<Address> holder;
    if (name.empty() && bad.slot != go::no_slot) {
        holder = MapTeller(process_).variable(bad.object);
        if (holder) name = locator_.symbol(*holder);
    } else if (name.empty()) {
        name = locator_.symbol(bad.object);
    }
    finding.subject = {bad.object, bad.in_frame() ? "variable" : "object", type_name(bad),
                       name.empty() ? "" : name + field};
    finding.title =
        fmt::format("Impossible {} header: {}", word_of(bad),
                    !name.empty() ? name + field
                                  : fmt::format("{}{} at {:#x}", field.empty() ? "" : field.substr(1) + " of the ",
                                                type_name(bad), bad.object.value));
    if (holder)
        finding.evidence.push_back(
            {"the variable that leads to it", holder, hex(bad.object.value), "core", "data sections"});
}

void HeaderTeller::add_data(report::Finding& finding, const BadHeader& bad) const {
    const Address data{bad.words[0]};
    if (!bad.room.empty())
        finding.evidence.push_back(
            {"the object that its data lies in", bad.room.begin, locator_.describe(data), "core", "spans"});
    else if (bad.fault == HeaderFault::unmapped || bad.fault == HeaderFault::runtimes_own)
        finding.evidence.push_back({"its data", data, locator_.describe(data), "core",
                                    bad.fault == HeaderFault::unmapped ? "mappings" : "runtime.persistentChunks"});
    if (bad.slot != go::no_slot)
        finding.evidence.push_back({"the object that holds the header", process_.heap->slots().base(bad.slot),
                                    fmt::format("a {}; the collector's pointer mask agrees", type_name(bad)),
                                    "core", "types of heap objects"});
}

/// Did the process die of using this very header?
void HeaderTeller::add_death(report::Finding& finding, const BadHeader& bad) const {
    if (!process_.crash || !process_.crash->fault_address || is_interface(bad)) return;
    const Address fault = *process_.crash->fault_address, data{bad.words[0]};
    if (fault < data || fault.value - data.value >= (1ull << 40) ||
        (fault.value - data.value) / std::max<std::uint64_t>(elem_size(bad), 1) >= bad.words[1])
        return;
    finding.evidence.push_back({"the process died of an access inside what this header claims", fault,
                                fmt::format("data + {:#x}", fault.value - data.value), "core", "signal"});
    const go::GoStack& stack = process_.crash->stack;
    const auto own = std::ranges::find_if(stack.frames, [](const report::Frame& frame) {
        return !frame.inlined && frame.function != "panic" && !frame.function.starts_with("runtime.");
    });
    if (own == stack.frames.end()) return;
    add_snapshot(process_, finding, stack, static_cast<std::size_t>(own - stack.frames.begin()), process_.crash->goid);
    if (process_.crash->goid) finding.goroutines.push_back(*process_.crash->goid);
}

void HeaderTeller::add_frame(report::Finding& finding, const BadHeader& bad) const {
    const go::GoStack stack = process_.stacks.load(bad.goroutine);
    const std::int64_t goid = process_.goroutines->all[bad.goroutine].goid;
    const report::Frame* declares = frame_of_variable(process_, stack, bad.frame, bad.variable, bad.at);
    finding.where =
        fmt::format("variable {} of {}, goroutine {}", bad.variable,
                    declares != nullptr ? place_in_source(*declares) : place_in_source(stack, bad.frame), goid);
    finding.goroutines.push_back(goid);
    add_frame_snapshot(process_, finding, stack, bad.frame, goid);
}

}  // namespace incident::detect
