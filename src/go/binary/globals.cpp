// The runtime's variables by symbol, and by shape. The scan is what is left when the executable is missing: its data is
// in the core, its code is not.
#include "go/binary/globals.h"

#include <algorithm>
#include <cstring>

namespace incident::go {
namespace {

constexpr std::size_t scan_limit = 64u << 20;  // bytes of all ranges together

std::uint64_t word_at(const std::byte* p) {
    std::uint64_t value;
    std::memcpy(&value, p, 8);
    return value;
}

/// Calls visit(address, bytes from there to the end of its segment) for each aligned word of the ranges.
template <class Visit>
void for_each_word(const Memory& memory, std::span<const AddressRange> ranges, Visit&& visit) {
    std::size_t budget = scan_limit;
    for (const AddressRange& range : ranges)
        for (const Segment& segment : memory.segments()) {
            if (!segment.range.overlaps(range)) continue;
            const AddressRange part = segment.range.intersect(range);
            const std::byte* data = segment.data + (part.begin - segment.range.begin);
            const std::size_t size = std::min<std::uint64_t>(part.size(), budget);
            budget -= size;
            for (std::size_t at = (8 - part.begin.value % 8) % 8; at + 8 <= size; at += 8)
                visit(part.begin + at, data + at, size - at);
        }
}

}  // namespace

bool GlobalSearch::in_data(Address at) const {
    return data.empty() ||
           std::any_of(data.begin(), data.end(), [at](const AddressRange& range) { return range.contains(at); });
}

void find_by_symbols(GlobalSearch& search, const Image& image) {
    const GlobalChecks& checks = search.checks;
    Globals& out = search.found;
    // The file is the one that was mapped, so its symbols are right; a check that fails says that the memory is
    // damaged.
    auto take = [&](std::optional<Address>& place, std::string_view name, auto&& check) {
        if (place) return;
        auto symbol = image.find_symbol(name);
        if (!symbol) return;
        if (check(symbol->address) == Verdict::no) {
            search.doubtful.emplace_back(name);
            if (image.status() != report::ModuleStatus::verified) return;
        }
        place = symbol->address;
        search.by_symbol = true;
    };
    auto any = [](Address) { return Verdict::yes; };
    take(out.allgs, "runtime.allgs", [&](Address a) { return checks.allgs(a); });
    take(out.allglen, "runtime.allglen", any);
    take(out.allgptr, "runtime.allgptr", any);
    take(out.allm, "runtime.allm", [&](Address a) { return checks.allm(a); });
    take(out.allp, "runtime.allp", [&](Address a) { return checks.allp(a); });
    take(out.sched, "runtime.sched", [&](Address a) { return checks.sched(a); });
    take(out.semtable, "runtime.semtable", [&](Address a) { return checks.semtable(a); });
    take(out.mheap, "runtime.mheap_", [&](Address a) { return checks.mheap(a); });
    take(out.allfin, "runtime.allfin", [&](Address a) { return checks.allfin(a); });
    take(out.stackpool, "runtime.stackpool", [&](Address a) { return checks.stackpool(a); });
    take(out.stack_large, "runtime.stackLarge", [&](Address a) { return checks.stack_large(a); });
    take(out.memstats, "runtime.memstats", [&](Address a) { return checks.memstats(a); });
    take(out.print_backlog, "runtime.printBacklog", any);
    take(out.print_backlog_index, "runtime.printBacklogIndex", any);
    take(out.panicking, "runtime.panicking", any);
    take(out.wait_reason_strings, "runtime.waitReasonStrings", any);
    take(out.build_version, "runtime.buildVersion", any);
}

void find_by_scan(GlobalSearch& search) {
    const GlobalChecks& checks = search.checks;
    const RuntimeLayout& layout = search.layout;
    Globals& out = search.found;
    const bool want_allgs = !out.allgs, want_allm = !out.allm, want_mheap = !out.mheap, want_sched = !out.sched;
    if (!want_allgs && !want_allm && !want_mheap && !want_sched) return;

    std::uint64_t longest = 0, widest = 0;
    std::size_t most_ms = 0;
    std::uint64_t last_head = 0;
    for_each_word(search.memory, search.data, [&](Address at, const std::byte* p, std::size_t room) {
        const std::uint64_t word = word_at(p);
        const bool pointer = word % 8 == 0 && word >= 0x1000 && word < (1ull << 47);
        if (pointer && room >= 24) {
            const std::uint64_t length = word_at(p + 8), capacity = word_at(p + 16);
            const bool slice = length != 0 && length <= capacity && capacity < (1ull << 32);
            // work.stackRoots and others are slices of g too; allgs is the longest, and the one with spare capacity.
            if (want_allgs && slice && (length > longest || (length == longest && capacity > widest)) &&
                checks.allgs(at) == Verdict::yes) {
                out.allgs = at;
                longest = length;
                widest = capacity;
            }
            if (want_mheap && !out.mheap && slice && layout.mheap.allspans.present() && length >= 4) {
                const Address base = at - static_cast<std::uint64_t>(layout.mheap.allspans.offset);
                if (search.in_data(base) && checks.mheap(base) == Verdict::yes) out.mheap = base;
            }
        }
        if (want_allm && pointer && word != last_head && checks.m(Address{word}) == Verdict::yes) {
            last_head = word;
            if (std::size_t count = checks.chain_of_m(Address{word}); count > most_ms) {
                most_ms = count;
                out.allm = at;
            }
        }
    });
    if (want_sched && layout.schedt.size != 0) {
        std::uint64_t highest_goid = 1;
        if (out.allgs) {
            const auto first = search.memory.load_address(*out.allgs);
            const auto length = search.memory.load<std::uint64_t>(*out.allgs + 8);
            for (std::uint64_t i = 0; first && length && i < std::min<std::uint64_t>(*length, 100000); ++i) {
                auto g = search.memory.load_address(*first + i * 8);
                if (!g) continue;
                if (auto goid = StructView(search.memory, *g).get(layout.g.goid))
                    highest_goid = std::max(highest_goid, *goid);
            }
        }
        std::uint64_t best = 0;
        for_each_word(search.memory, search.data, [&](Address at, const std::byte* p, std::size_t) {
            const std::uint64_t goidgen = word_at(p);
            // Ids are handed to the processors in batches of 16, so the generator is ahead of every g.
            if (goidgen < highest_goid || goidgen > (highest_goid + 16) * 64 || (best != 0 && goidgen >= best)) return;
            // Many a place with small numbers passes the check; schedinit sets 10000, and few programs change it.
            const auto most = StructView(search.memory, at).get(layout.schedt.maxmcount);
            if (!most || *most != 10000 || checks.sched(at) != Verdict::yes) return;
            out.sched = at;
            best = goidgen;
        });
    }
    search.by_scan =
        (want_allgs && out.allgs) || (want_allm && out.allm) || (want_mheap && out.mheap) || (want_sched && out.sched);
}

}  // namespace incident::go
