// go.frame-chain.broken: a return address or a saved frame pointer of a Go frame that cannot be one.
//
// Proof: of a return address, that a frame found by the linker's exact sp deltas returns to a place that holds no code
// of anybody: unmapped, no address at all, heap or stack. The walk itself stopped there. Of a saved frame pointer, that
// the word is no address of this stack and none of anything mapped, while the return addresses around it are sound.
// Innocent look-alikes: assembly may use the frame pointer's register for something else and then call Go, which saves
// what it finds: a value that is mapped somewhere is therefore not told. A recovered panic leaves an old address of the
// same stack, C called back into Go leaves C's register, a frame being set up has not stored it yet.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/parallel.h"
#include "base/text.h"
#include "detect/pointers.h"
#include "detect/telling.h"
#include "process/snapshot_values.h"

namespace incident::detect {

namespace {

struct Broken {
    std::size_t goroutine = 0;  // index into goroutines->all
    std::size_t physical = 0;   // the frame whose word it is
    Address slot;
    std::uint64_t value = 0;
    Address expected;  // saved frame pointers: what it should hold; null: unknown
    bool return_address = false;
};

constexpr std::size_t most_findings = 16;

bool exact(const go::PhysicalFrame& frame) {
    return frame.owner == go::StackOwner::goroutine && frame.kind == report::FrameKind::go && frame.func() != nullptr &&
           !frame.cfa.is_null() && !frame.sp.is_null() &&
           (frame.trust == report::Trust::pclntab || frame.trust == report::Trust::context);
}

/// Outermost functions return to nobody, and assembly that switches stacks keeps other things at cfa-8.
bool returns_to_go(std::string_view name) {
    constexpr std::array<std::string_view, 8> others = {"runtime.goexit",     "runtime.mstart",      "runtime.rt0",
                                                        "runtime.morestack",  "runtime.systemstack", "runtime.mcall",
                                                        "runtime.asmcgocall", "runtime.cgocallback"};
    return std::ranges::none_of(others, [&](std::string_view other) { return name.starts_with(other); });
}

/// A caller in assembly that may have had anything in the frame pointer's register.
bool keeps_frame_pointer(std::string_view caller) {
    constexpr std::array<std::string_view, 6> others = {"runtime.goexit",       "runtime.cgocallback",
                                                        "runtime.asyncPreempt", "runtime.sigpanic",
                                                        "runtime.debugCall",    "runtime.asmcgocall"};
    return std::ranges::none_of(others, [&](std::string_view other) { return caller.starts_with(other); });
}

/// No code of anybody can lie there.
bool no_code(const Placement& place) {
    switch (place.kind) {
        case PlaceKind::null:
        case PlaceKind::small_number:
        case PlaceKind::non_canonical:
        case PlaceKind::unmapped:
        case PlaceKind::go_stack:
        case PlaceKind::go_freed_stack:
        case PlaceKind::go_object:
        case PlaceKind::go_free_page:
        case PlaceKind::malloc_heap: return true;
        default: return false;  // text, files that we do not have, code made at run time
    }
}

std::optional<Broken> bad_return(const Process& process, const Locator& locator, std::size_t g,
                                 const go::GoStack& stack) {
    if (stack.complete || stack.physical.empty() || stack.elided != 0) return std::nullopt;
    const go::PhysicalFrame& last = stack.physical.back();
    const AddressRange bounds = process.goroutines->all[g].stack;
    if (!exact(last) || !returns_to_go(last.name())) return std::nullopt;
    const Address slot = last.cfa - 8;
    // A frame interrupted in its prologue has no return address at the usual place only if its sp delta is wrong,
    // which the tables exclude; a frame that calls is beyond doubt.
    if (!last.after_call || !bounds.contains(slot)) return std::nullopt;
    const auto value = process.memory.load_address(slot);
    if (!value || !no_code(locator.place(*value))) return std::nullopt;
    return Broken{.goroutine = g,
                  .physical = stack.physical.size() - 1,
                  .slot = slot,
                  .value = value->value,
                  .expected = {},
                  .return_address = true};
}

void bad_frame_pointers(const Process& process, const Locator& locator, std::size_t g, const go::GoStack& stack,
                        std::vector<Broken>& found, std::uint64_t& checked) {
    const AddressRange bounds = process.goroutines->all[g].stack;
    for (std::size_t i = 0; i + 1 < stack.physical.size(); ++i) {
        const go::PhysicalFrame& frame = stack.physical[i];
        const go::PhysicalFrame& caller = stack.physical[i + 1];
        if (!exact(frame) || !exact(caller) || !frame.frame_has_saved_bp || !frame.after_call || !caller.after_call)
            continue;
        if (frame.cfa != caller.sp || (stack.elided != 0 && i + 1 == stack.elided_at)) continue;
        if (!keeps_frame_pointer(caller.name()) || !keeps_frame_pointer(frame.name())) continue;
        const Address slot = frame.cfa - 16;
        const auto value = process.memory.load_address(slot);
        if (!value || !bounds.contains(slot)) continue;
        ++checked;
        if (value->is_null() || *value == bounds.end || bounds.contains(*value)) continue;
        const Placement place = locator.place(*value);
        if (place.kind != PlaceKind::non_canonical && place.kind != PlaceKind::unmapped) continue;
        Address expected;
        for (std::size_t j = i + 1; j < stack.physical.size() && expected.is_null(); ++j)
            if (stack.physical[j].frame_has_saved_bp && exact(stack.physical[j])) expected = stack.physical[j].cfa - 16;
        found.push_back({.goroutine = g,
                         .physical = i,
                         .slot = slot,
                         .value = value->value,
                         .expected = expected,
                         .return_address = false});
    }
}

report::Finding tell(const Process& process, const Locator& locator, const Broken& broken) {
    const go::GoStack stack = process.stacks.load(broken.goroutine);
    const go::PhysicalFrame& frame = stack.physical[broken.physical];
    const std::int64_t goid = process.goroutines->all[broken.goroutine].goid;
    const std::string_view what = broken.return_address ? "return address" : "saved frame pointer";
    const report::Frame* logical = logical_frame(stack, broken.physical);
    const std::string where = logical != nullptr ? place_in_source(*logical) : std::string(frame.name());
    const std::string is = locator.describe(Address{broken.value});

    report::Finding finding;
    finding.kind = "go.frame-chain.broken";
    finding.severity = broken.return_address ? report::Severity::error : report::Severity::warning;
    finding.strength = broken.return_address ? report::Strength::proved : report::Strength::likely;
    finding.title = fmt::format("The {} of {} was overwritten: {:#x}", what, frame.name(), broken.value);
    finding.where = fmt::format("frame of {}, goroutine {}, word {:#x}", where, goid, broken.slot.value);
    finding.why =
        broken.return_address
            ? fmt::format("{} is {}; the stack cannot be followed beyond it, by us or by the collector",
                          hex(broken.value), is)
            : fmt::format("{} is {}; a saved frame pointer is an address of the same stack, here {}", hex(broken.value),
                          is, broken.expected.is_null() ? "a higher one" : hex(broken.expected.value));
    finding.subject = {broken.slot, "slot", std::string(what), std::string(frame.name())};
    finding.mark.fault = what;
    finding.goroutines.push_back(goid);
    finding.evidence.push_back({fmt::format("{} of {}: {}", what, frame.name(), is), broken.slot, hex(broken.value),
                                origin_of(process, broken.slot), "sp deltas of the function table"});
    if (!broken.expected.is_null())
        finding.evidence.push_back(
            {fmt::format("the caller {} keeps its own at", stack.physical[broken.physical + 1].name()), broken.expected,
             "", "core", "sp deltas of the function table"});
    if (broken.return_address)
        finding.evidence.push_back(
            {"the walk of this stack ended there", std::nullopt, stack.end, "core", "stack walk"});
    // Text names the writer.
    if (auto text = quoted_text(process.memory, broken.slot, 8))
        finding.evidence.push_back({"the eight bytes are text", broken.slot, *text, "core", "memory"});
    add_frame_snapshot(process, finding, broken.goroutine, broken.physical);
    if (!broken.return_address)
        finding.innocent.push_back("assembly that used the frame pointer's register before it called " +
                                   std::string(frame.name()));
    finding.verify.push_back(gdb_words(process, broken.slot - (broken.return_address ? 8 : 0), 2,
                                       "the saved frame pointer, then the return address"));
    add_delve_check(process, finding, fmt::format("goroutine {} bt", goid));
    finding.remedy = fmt::format(
        "something wrote over the frame of {}: look at its arrays, at unsafe and cgo code that was given an address in "
        "it, and for what the value spells",
        frame.name());
    return finding;
}

}  // namespace

Detection detect_broken_chains(const Process& process) {
    Detection detection;
    const Locator& locator = *process.locator;
    std::vector<std::vector<Broken>> parts(std::max(process.jobs, 1u));
    parallel_chunks(process.jobs, process.stacks.size(), 256, [&](std::size_t begin, std::size_t end, unsigned worker) {
        for (std::size_t g = begin; g < end; ++g) {
            const go::GoStack stack = process.stacks.load_physical(g);
            if (auto broken = bad_return(process, locator, g, stack)) parts[worker].push_back(*broken);
            std::uint64_t words = 0;
            bad_frame_pointers(process, locator, g, stack, parts[worker], words);
        }
    });
    detection.checked = process.stacks.size();
    std::vector<Broken> found;
    for (auto& part : parts) found.insert(found.end(), part.begin(), part.end());
    std::ranges::stable_sort(found, {}, &Broken::goroutine);  // each one's are in one part, in order
    // Twenty goroutines with the same damage are one line of code; more findings would say nothing new.
    const std::size_t told = std::min(found.size(), most_findings);
    for (std::size_t i = 0; i < told; ++i) detection.findings.push_back(tell(process, locator, found[i]));
    if (told < found.size())
        detection.reason = fmt::format("{} more frames are broken in the same way", found.size() - told);
    return detection;
}

}  // namespace incident::detect
