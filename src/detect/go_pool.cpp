// go.pool.duplicate: the same object twice in one sync.Pool: two callers of Get will be given the same memory.
//
// Proof: two slots that are in the pool (private ones, and ring slots between tail and head, of the Ps and of the
// victims) hold the same pointer. Innocent look-alikes, left out: stale values in emptied ring slots; pointers to
// objects of no size, which all have one address; values that are not pointers, and constants, which may be put as
// often as one likes; a victim that is the very array of locals while the collector moves it.
#include "detect/go_pool.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "detect/telling.h"
#include "go/heap/pools.h"
#include "go/stacks/values.h"
#include "process/locate.h"

namespace incident::detect {

namespace {

constexpr std::size_t most_findings = 16, most_slots_told = 8;

std::string slot_words(const go::PoolSlot& slot) {
    return fmt::format("{} of P {}{}", slot.is_private ? "private slot" : "shared queue", slot.p,
                       slot.victim ? ", left by the last collection (victim)" : "");
}

}  // namespace

Detection detect_pool_duplicates(const Process& process) {
    Detection detection;
    const Disassembler* disassembler = process.disassembler ? &*process.disassembler : nullptr;
    const go::Spans* spans = process.spans ? &*process.spans : nullptr;
    const go::Pools pools = go::read_pools(process.memory, *process.go, spans, disassembler);
    if (!pools.found) {
        if (process.go->find_func("sync.(*Pool).Put")) detection.reason = "the program's list of pools was not found";
        return detection;
    }
    const go::Values values(process.memory, *process.go);
    const Locator& locator = *process.locator;
    std::size_t incomplete = 0, left = 0;
    for (const go::Pool& pool : pools.all) {
        if (!pool.complete) ++incomplete;
        detection.checked += pool.slots.size();
        std::vector<const go::PoolSlot*> sorted;
        for (const go::PoolSlot& slot : pool.slots)
            if (spans != nullptr && spans->in_arena(slot.object) && values.kind(slot.type) == go::Kind::pointer)
                sorted.push_back(&slot);
        std::ranges::sort(sorted, {}, [](auto* slot) { return std::pair(slot->object, slot->slot); });
        for (std::size_t begin = 0, end = 0; begin < sorted.size(); begin = end) {
            const Address object = sorted[begin]->object;
            for (end = begin + 1; end < sorted.size() && sorted[end]->object == object;) ++end;
            if (end - begin < 2) continue;
            if (detection.findings.size() >= most_findings) {
                ++left;
                continue;
            }
            report::Finding finding;
            finding.kind = "go.pool.duplicate";
            finding.severity = report::Severity::error;
            finding.strength = report::Strength::proved;
            finding.subject = {pool.address, "pool", "sync.Pool", locator.symbol(pool.address)};
            const std::string name = finding.subject.symbol.empty()
                                         ? fmt::format("the sync.Pool at {:#x}", pool.address.value)
                                         : finding.subject.symbol;
            const std::string type = process.go->type_name(sorted[begin]->type).value_or("pointer");
            finding.mark.holder = "sync.Pool of " + type;
            finding.title = fmt::format("The same object stands {} in {}: a {}",
                                        end - begin == 2 ? "twice" : fmt::format("{} times", end - begin), name, type);
            finding.where = fmt::format("{:#x} in the {} and the {}", object.value, slot_words(*sorted[begin]),
                                        slot_words(*sorted[begin + 1]));
            finding.why = "whoever calls Get next, and the one after, are given the same memory";
            for (std::size_t i = begin; i < std::min(end, begin + most_slots_told); ++i) {
                finding.evidence.push_back({slot_words(*sorted[i]), sorted[i]->slot, fmt::format("{:#x}", object.value),
                                            "core", "slots of the pool"});
                finding.verify.push_back(gdb_words(process, sorted[i]->slot, 2,
                                                   fmt::format("type and data of the interface: {:#x}", object.value)));
            }
            finding.evidence.push_back({"the object", object, locator.describe(object), "core", "spans"});
            finding.evidence.push_back(
                {fmt::format("{} objects in this pool", pool.slots.size()), pool.address, "", "core", pools.basis});
            finding.explanation =
                "Put was called twice with the same pointer. Two users will write to it at the same time, each "
                "believing "
                "that it is theirs.";
            finding.remedy =
                "find the second Put: often a deferred one beside an explicit one, or two owners of one object";
            detection.findings.push_back(std::move(finding));
        }
    }
    if (left != 0)
        detection.reason = fmt::format("{} more objects are in a pool twice", left);
    else if (incomplete != 0)
        detection.reason = fmt::format("{} pools could not be read whole", incomplete);
    return detection;
}

}  // namespace incident::detect
