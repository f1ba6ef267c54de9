// heap_check CORE EXE [JOBS]: builds the heap graph and compares it with what the last collection of the process left
// in the spans' bits. One line of counts; with -v up to 20 examples of each kind of difference;
// with -l each live object, whether the collection marked it, and if it should not be alive the root that keeps it.
// heap_marks.py runs it over folders of cores.
//
//   lost     marked by the collection, not reached by us: an error of ours, or became garbage since
//   new      allocated since the collection (below freeindex, bit clear); of these `new-live` are reachable
//   held     reached by us although the collection did not mark it and it is not new
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>

#include <fmt/format.h>

#include "go/heap/dominators.h"
#include "go/heap/heap_build.h"
#include "go/heap/heap_edges.h"
#include "process/process.h"

using namespace incident;

namespace {

bool bit(const std::byte* bits, std::uint32_t i) {
    return bits != nullptr && (std::to_integer<unsigned>(bits[i / 8]) >> (i % 8) & 1) != 0;
}

std::uint64_t number(const std::string& line, const std::string& key) {
    auto at = line.find(" " + key + "=");
    return at == std::string::npos ? 0 : std::strtoull(line.c_str() + at + key.size() + 2, nullptr, 0);
}

/// What an object is, as far as its first bytes tell.
std::string beginning(const go::HeapSlots& slots, const go::Runtime& runtime, go::SlotId slot) {
    const std::byte* data = slots.data(slot);
    if (data == nullptr || slots.size(slot) < 8) return "unreadable";
    const std::string_view text(reinterpret_cast<const char*>(data), 8);
    if (text == "probe mo") return "the truth's text";
    if (std::ranges::all_of(text, [](char c) { return c >= ' ' && c < 0x7f; })) return "text";
    Address entry;
    std::memcpy(&entry.value, data, 8);
    if (auto func = runtime.find_func(entry); func && func->entry == entry)
        return fmt::format("closure {}", func->name.substr(0, func->name.find('[')));
    if (slots.noscan(slot)) return slots.size(slot) == 16 ? "tiny block" : "bytes";
    return "pointers";
}

/// The program's own retained sizes (heap/graph): how many of them are not ours.
std::string check_retained(const std::string& core, const go::HeapGraph& graph) {
    std::ifstream truth(core.substr(0, core.rfind('/') + 1) + "truth.txt");
    std::optional<go::Dominators> dominators;
    std::uint64_t nodes = 0, wrong = 0;
    for (std::string line; std::getline(truth, line);) {
        if (!line.starts_with("gnode ")) continue;
        if (!dominators) dominators = go::Dominators::compute(graph);
        auto slot = graph.slot_of(Address{number(line, "addr")});
        auto retained = slot ? dominators->retained_by(*slot) : go::RetainedBy{};
        ++nodes;
        wrong += retained.objects != number(line, "retained-count") || retained.bytes != number(line, "retained-bytes");
    }
    return nodes == 0 ? "" : fmt::format(" retained={} retained-wrong={}", nodes, wrong);
}

}  // namespace

int main(int argc, char** argv) {
    bool verbose = argc > 1 && std::strcmp(argv[1], "-v") == 0;
    if (verbose) --argc, ++argv;
    bool list = argc > 1 && std::strcmp(argv[1], "-l") == 0;
    if (list) --argc, ++argv;
    if (argc < 3) return 2;
    ProcessOptions options;
    options.core_path = argv[1];
    options.images.executable = argv[2];
    options.jobs = argc > 3 ? static_cast<unsigned>(std::atoi(argv[3])) : 0;
    options.passes.goroutines = options.passes.stacks = options.passes.spans = true;
    auto begin = std::chrono::steady_clock::now();
    auto opened = open_process(options);
    if (!opened) {
        fmt::print("{}: {}\n", argv[1], describe(opened.error()));
        return 1;
    }
    const Process& p = **opened;
    if (!p.go || !p.spans || !p.goroutines) return 1;
    auto ready = std::chrono::steady_clock::now();
    auto built = go::HeapBuild::start({&p.core, p.memory, *p.go, *p.spans, &*p.goroutines, &p.stacks, p.jobs}, false);
    if (!built) {
        fmt::print("{}: {}\n", argv[1], describe(built.error()));
        return 1;
    }
    const go::GoHeap heap = built->finish();
    auto done = std::chrono::steady_clock::now();
    const go::HeapGraph& graph = *heap.graph;
    const go::HeapSlots& slots = graph.slots();
    std::uint64_t lost = 0, fresh = 0, fresh_live = 0, held = 0, lost_bytes = 0;
    auto show = [&](const char* what, std::uint64_t count, go::SlotId slot) {
        if (!verbose || count > 20) return;
        const go::Span& s = slots.span(slot);
        fmt::print("  {} {:#x} size {} is {} class {} noscan {} pointers {} needs_sweep {} type {}\n", what,
                   slots.base(slot).value, slots.size(slot), beginning(slots, *p.go, slot), s.size_class(), s.noscan(),
                   static_cast<int>(s.pointers), s.needs_sweep,
                   p.go->type_name(graph.pointers().type_of(slot)).value_or("-"));
    };
    auto is_marked = [&](go::SlotId slot) {
        const go::Span& s = slots.span(slot);
        return bit(s.needs_sweep ? s.mark_bytes : s.alloc_bytes, slots.index(slot));
    };
    auto is_fresh = [&](go::SlotId slot) {
        const go::Span& s = slots.span(slot);
        return !is_marked(slot) && !s.needs_sweep && slots.index(slot) < s.free_index;
    };
    slots.for_each_slot([&](go::SlotId slot) {
        bool marked = is_marked(slot), is_new = is_fresh(slot);
        bool live = graph.live(slot);
        if (marked && !live) show("lost", ++lost, slot), lost_bytes += slots.size(slot);
        if (is_new) ++fresh, fresh_live += live;
        if (live && !marked && !is_new) show("held", ++held, slot);
    });
    const go::GraphTotals& t = graph.totals();
    const auto& c = p.spans->check();
    auto ms = [](auto a, auto b) { return std::chrono::duration<double, std::milli>(b - a).count(); };
    std::uint64_t conservative = 0;
    for (const go::Root& root : graph.roots().all) conservative += root.conservative;
    fmt::print(
        "{} allocated={} bytes={} live={} live-bytes={} lost={} lost-bytes={} new={} new-live={} held={} roots={} "
        "conservative-roots={} conservative-frames={} frames-without-maps={} without-map={} unknown={} spans={}/{} "
        "gaps={} opened-ms={:.0f} graph-ms={:.0f}{}\n",
        p.go->version().text, t.allocated_objects, t.allocated_bytes, t.live_objects, t.live_bytes, lost, lost_bytes,
        fresh, fresh_live, held, graph.roots().all.size(), conservative, graph.roots().conservative_frames,
        graph.roots().frames_without_maps, t.without_map, t.unknown_objects, c.equal, c.spans, graph.gaps().size(),
        ms(begin, ready), ms(ready, done), check_retained(argv[1], graph));
    if (verbose && lost != 0) {
        // Who could have kept them? A word in a live place that points to a lost object would be an error of ours.
        std::uint64_t shown = 0;
        for (const Segment& segment : p.memory.segments()) {
            if ((segment.permissions & 2) == 0) continue;
            for (std::uint64_t at = 0; at + 8 <= segment.range.size() && shown < 40; at += 8) {
                std::uint64_t value;
                std::memcpy(&value, segment.data + at, 8);
                go::SlotId to = slots.find(Address{value});
                if (to == go::no_slot || graph.live(to) || !slots.allocated(to)) continue;
                if (!is_marked(to)) continue;
                Address where = segment.range.begin + at;
                std::string place = "elsewhere";
                if (go::SlotId from = slots.find(where); from != go::no_slot)
                    place = fmt::format("slot {:#x}+{} of {} allocated {} live {}", slots.base(from).value,
                                        where - slots.base(from), slots.size(from), slots.allocated(from),
                                        graph.live(from));
                for (std::size_t i = 0; i < p.goroutines->all.size(); ++i) {
                    const auto& g = p.goroutines->all[i];
                    if (!g.stack.contains(where)) continue;
                    place = fmt::format("stack of {} sched.sp {:#x} syscall.sp {:#x}", g.goid, g.sched_sp.value,
                                        g.syscall_sp.value);
                    for (const auto& f : p.stacks.physical(i))
                        if (f.owner == go::StackOwner::goroutine && where >= f.sp && where < f.cfa)
                            place += fmt::format(" frame {} varp-{:#x}", f.name(), f.varp().value_or(f.cfa) - where);
                }
                for (const auto& module : p.go->modules()) {
                    if (module.data.contains(where)) place = "data";
                    if (module.bss.contains(where)) place = "bss";
                    if (module.noptrdata.contains(where)) place = "noptrdata";
                    if (module.noptrbss.contains(where)) place = "noptrbss";
                }
                if (const go::Span* span = p.spans->find(where); span != nullptr && place == "elsewhere")
                    place = "a manual span";
                fmt::print("  {:#x} -> {:#x} (lost {:#x} size {}): {}\n", where.value, value, slots.base(to).value,
                           slots.size(to), place);
                ++shown;
            }
        }
    }
    if (list)
        graph.live_bits().for_each([&](go::SlotId slot) {
            fmt::print("object {:x} size {} {}\n", slots.base(slot).value, slots.size(slot),
                       is_marked(slot)  ? "marked"
                       : is_fresh(slot) ? "new"
                                        : "unmarked root " +
                                              go::describe_root(graph.roots().all[go::shortest_path(graph, slot)->root],
                                                                graph.input(), &*p.images));
        });
    if (verbose)
        for (const auto& gap : graph.gaps()) fmt::print("  gap: {}: {}\n", gap.what, gap.why);
    return 0;
}
