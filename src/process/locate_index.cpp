// Locator: the tables. All of them are sorted by address; overlaps (damaged goroutines, sections of TLS templates) are left to
// whoever comes first, since an address gets one answer.
#include <algorithm>
#include <elf.h>

#include "process/locate_state.h"

namespace incident {

namespace {

template <class Rows>
void sort_disjoint(Rows& rows) {
    std::ranges::stable_sort(rows, {}, [](const auto& row) { return row.range.begin; });
    Address end{};
    std::erase_if(rows, [&](const auto& row) {
        if (row.range.empty() || row.range.begin < end) return true;
        end = row.range.end;
        return false;
    });
}

}  // namespace

Locator::State::State(LocateContext given) : context(std::move(given)) {
    index_mappings();
    index_images();
    if (context.goroutines != nullptr) index_goroutines();
    index_threads();
}

void Locator::State::index_goroutines() {
    const auto& list = *context.goroutines;
    for (std::uint32_t i = 0; i < list.all.size(); ++i) {
        if (!list.all[i].stack.empty()) stacks.push_back({list.all[i].stack, i});
        gs.push_back({list.all[i].g, i, false});
    }
    for (std::uint32_t i = 0; i < list.machines.size(); ++i) {
        const auto& m = list.machines[i];
        // g0 of a C thread: its bounds are an estimate inside the thread's stack; the mapping knows better, see place().
        if (!m.g0_stack.empty()) systems.push_back({m.g0_stack, i, false});
        if (!m.gsignal_stack.empty()) systems.push_back({m.gsignal_stack, i, true});
        gs.push_back({m.g0, i, true});
        gs.push_back({m.gsignal, i, true});
    }
    sort_disjoint(stacks);
    sort_disjoint(systems);
    std::ranges::sort(gs, {}, &GRow::g);
    if (context.stacks.size() == list.all.size()) {
        frames_off_stack.resize(list.all.size());
        for (std::size_t i = 0; i < list.all.size(); ++i)
            frames_off_stack[i] = std::ranges::any_of(context.stacks[i].physical, [](const auto& f) { return f.owner != go::StackOwner::goroutine; });
    } else {
        context.stacks = {};
    }
    stack_sp.resize(list.all.size());
    for (std::size_t i = 0; i < list.all.size(); ++i) stack_sp[i] = find_live_sp(i);
}

Address Locator::State::find_live_sp(std::size_t index) const {
    const auto& g = context.goroutines->all[index];
    auto inside = [&](Address sp) { return sp >= g.stack.begin && sp <= g.stack.end; };
    if (!context.stacks.empty()) {
        // The lowest sp of its walked frames on this stack; frames on other stacks do not count.
        Address lowest{};
        for (const auto& frame : context.stacks[index].physical)
            if (frame.owner == go::StackOwner::goroutine && inside(frame.sp) && (lowest.is_null() || frame.sp < lowest)) lowest = frame.sp;
        if (!lowest.is_null()) return lowest;
    }
    if (g.tid) {
        for (const ThreadState& thread : context.core.threads())
            if (thread.tid == *g.tid)
                if (auto sp = thread.registers.sp(); sp && inside(*sp)) return *sp;
    }
    switch (g.status) {
        case go::Status::running:
            // On g0 or in a signal handler: sched is stale unless systemstack saved it just now; nobody says.
            return {};
        case go::Status::syscall: return inside(g.syscall_sp) && !g.syscall_sp.is_null() ? g.syscall_sp : Address{};
        default: return inside(g.sched_sp) && !g.sched_sp.is_null() ? g.sched_sp : Address{};
    }
}

void Locator::State::index_threads() {
    for (const ThreadState& thread : context.core.threads()) {
        auto sp = thread.registers.sp();
        if (!sp || (context.spans != nullptr && context.spans->in_arena(*sp))) continue;
        if (detail::find_row(stacks, *sp) != nullptr) continue;
        if (const MappingRow* mapping = mapping_at(*sp)) threads.push_back({*sp, thread.tid, mapping->range});
    }
    std::ranges::sort(threads, {}, &ThreadRow::sp);
}

void Locator::State::index_mappings() {
    for (const MappedFile& file : context.core.mapped_files()) files.push_back(&file);
    std::ranges::sort(files, {}, [](const MappedFile* file) { return file->range.begin; });
    auto vdso = context.core.aux(AT_SYSINFO_EHDR);
    for (const LoadSegment& segment : context.core.load_segments()) {
        MappingRow row;
        row.range = segment.range;
        row.permissions = segment.permissions;
        row.vdso = vdso && segment.range.contains(Address{*vdso});
        row.file = file_at(segment.range.begin) != nullptr;
        mappings.push_back(row);
    }
    sort_disjoint(mappings);

    // The program break follows the executable, at most 1 GB of random gap behind it (linux arch_randomize_brk). The core
    // does not name it; the first anonymous read-write mapping that does not touch the executable is it.
    auto phdr = context.core.aux(AT_PHDR);
    if (const MappedFile* executable = phdr ? file_at(Address{*phdr}) : nullptr) {
        Address end{};
        for (const MappedFile* file : files)
            if (file->path == executable->path) end = std::max(end, file->range.end);
        for (MappingRow& row : mappings) {
            if (row.range.begin < end) continue;
            if (row.file || row.range.begin - end > (1 << 30)) break;
            if (row.range.begin == end) {  // .bss
                end = row.range.end;
                continue;
            }
            row.brk = (row.permissions & PF_W) != 0 && !(context.spans != nullptr && context.spans->in_arena(row.range.begin));
            break;
        }
    }
    if (context.spans == nullptr) return;
    auto mark = [&](Address a) {
        if (const MappingRow* row = mapping_at(a); row != nullptr && !row->file) mappings[static_cast<std::size_t>(row - mappings.data())].runtime = true;
    };
    AddressRange last{};
    for (const go::Span& span : context.spans->all()) {
        for (Address a : {span.mspan, span.alloc_bits, span.gcmark_bits}) {
            if (a.is_null() || last.contains(a)) continue;
            mark(a);
            if (const MappingRow* row = mapping_at(a)) last = row->range;
        }
    }
}

void Locator::State::index_images() {
    for (const Image& image : context.images.all())
        for (const Section& section : image.sections())
            if (!section.range.empty() && section.name != ".tbss") sections.push_back({section.range, &image, &section});
    sort_disjoint(sections);
}

}  // namespace incident
