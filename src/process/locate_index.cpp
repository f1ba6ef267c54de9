// Locator: the tables. All of them are sorted by address; overlaps (damaged goroutines, sections of TLS templates) are
// left to whoever comes first, since an address gets one answer.
#include <elf.h>
#include <algorithm>

#include "process/locate_state.h"
#include "process/runtime_tables.h"

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
    if (context.spans == nullptr && context.runtime != nullptr)
        if (auto created = go::SpanLookup::create(context.memory, *context.runtime)) lookup = std::move(*created);
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
        // g0 of a C thread: its bounds are an estimate inside the thread's stack; the mapping knows better, see
        // place().
        if (!m.g0_stack.empty()) systems.push_back({m.g0_stack, i, false});
        if (!m.gsignal_stack.empty()) systems.push_back({m.gsignal_stack, i, true});
        gs.push_back({m.g0, i, true});
        gs.push_back({m.gsignal, i, true});
    }
    sort_disjoint(stacks);
    sort_disjoint(systems);
    std::ranges::sort(gs, {}, &GRow::g);
    if (context.stacks != nullptr && context.stacks->size() == list.all.size()) {
        frames_off_stack.resize(list.all.size());
        for (std::size_t i = 0; i < list.all.size(); ++i)
            frames_off_stack[i] = std::ranges::any_of(
                context.stacks->shape(i).physical, [](const auto& f) { return f.owner != go::StackOwner::goroutine; });
    } else {
        context.stacks = nullptr;
    }
    stack_sp.resize(list.all.size());
    for (std::size_t i = 0; i < list.all.size(); ++i) stack_sp[i] = find_live_sp(i);
}

Address Locator::State::find_live_sp(std::size_t index) const {
    const auto& g = context.goroutines->all[index];
    auto inside = [&](Address sp) { return sp >= g.stack.begin && sp <= g.stack.end; };
    if (context.stacks != nullptr) {
        // The lowest sp of its walked frames on this stack; frames on other stacks do not count.
        Address lowest{};
        for (const auto& frame : context.stacks->physical(index))
            if (frame.owner == go::StackOwner::goroutine && inside(frame.sp) && (lowest.is_null() || frame.sp < lowest))
                lowest = frame.sp;
        if (!lowest.is_null()) return lowest;
    }
    if (g.tid) {
        for (const ThreadState& thread : context.core.threads())
            if (thread.tid == *g.tid)
                if (auto sp = own_sp(thread); sp && inside(*sp)) return *sp;
    }
    switch (g.status) {
        case go::Status::running:
            // On g0 or in a signal handler: sched is stale unless systemstack saved it just now; nobody says.
            return {};
        case go::Status::syscall: {
            // Below the frame that entered the system call lie cgocall's and asmcgocall's own; asmcgocall notes its sp
            // in sched.
            bool syscall = inside(g.syscall_sp) && !g.syscall_sp.is_null(),
                 sched = inside(g.sched_sp) && !g.sched_sp.is_null();
            if (syscall && sched) return std::min(g.syscall_sp, g.sched_sp);
            return syscall ? g.syscall_sp : Address{};
        }
        default: return inside(g.sched_sp) && !g.sched_sp.is_null() ? g.sched_sp : Address{};
    }
}

/// Where a thread stands on its own stack: its sp, or, while it handles a signal on another stack, the sp that it had
/// before.
std::optional<Address> Locator::State::own_sp(const ThreadState& thread) const {
    auto sp = thread.registers.sp();
    if (context.runtime == nullptr || context.goroutines == nullptr) return sp;
    const go::Machine_m* machine = context.goroutines->machine_of_thread(thread.tid);
    if (machine == nullptr || !sp || !machine->gsignal_stack.contains(*sp)) return sp;
    auto interrupted = go::interrupted_context(context.core, context.memory, *context.runtime, *machine, thread);
    auto before = interrupted ? interrupted->registers.sp() : std::nullopt;
    return before && !machine->gsignal_stack.contains(*before) ? before : std::nullopt;
}

void Locator::State::index_threads() {
    auto add = [&](Address at, Address sp, bool known, std::int32_t tid) {
        if (in_arena(at)) return false;
        if (detail::find_row(stacks, at) != nullptr) return false;
        // A signal stack lies in the Go heap: its mapping is no thread's stack.
        if (const SystemRow* row = detail::find_row(systems, at); row != nullptr && row->signal) return false;
        const MappingRow* mapping = mapping_at(at);
        if (mapping == nullptr || mapping->file) return false;
        for (ThreadRow& row : threads) {
            if (row.mapping != mapping->range) continue;
            row.shared = true;
            threads.push_back({sp, known, tid, mapping->range, true});
            return true;
        }
        threads.push_back({known ? sp : mapping->range.end, known, tid, mapping->range});
        return true;
    };
    for (const ThreadState& thread : context.core.threads()) {
        auto sp = own_sp(thread);
        const go::Machine_m* machine =
            context.goroutines == nullptr ? nullptr : context.goroutines->machine_of_thread(thread.tid);
        // Without cgo, g0 has 16 KiB of the Go heap: then the mapping is no thread's stack, though we may not know the
        // arenas.
        constexpr std::uint64_t carved = 32 << 10;
        if (machine != nullptr && !machine->g0_stack.empty() && machine->g0_stack.size() <= carved) continue;
        if (sp && add(*sp, *sp, true, thread.tid)) continue;
        // On a goroutine's stack, or nobody says: with cgo, the system stack (g0) lies in the thread's own.
        if (machine == nullptr || machine->g0_stack.empty()) continue;
        Address at = machine->g0_stack.end - 8, saved = machine->g0_sched_sp;
        const MappingRow* mapping = mapping_at(at);
        bool known = mapping != nullptr && mapping->range.contains(saved);
        add(at, saved, known, thread.tid);
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

    // The program break follows the executable, at most 1 GB of random gap behind it (linux arch_randomize_brk). The
    // core does not name it; the first anonymous read-write mapping that does not touch the executable is it.
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
            row.brk = (row.permissions & PF_W) != 0 && !in_arena(row.range.begin);
            break;
        }
    }
    tables = find_runtime_tables(context, arenas());
}

void Locator::State::index_images() {
    for (const Image& image : context.images.all())
        for (const Section& section : image.sections())
            if (!section.range.empty() && section.name != ".tbss")
                sections.push_back({section.range, &image, &section});
    sort_disjoint(sections);
    if (const Image* executable = context.images.executable()) index_references(*executable);
}

/// `var book = &ledger{}` makes a variable without a symbol, which only `book` can name: main.book points to it. So
/// remember which words of .data point where. Pointers live in .data alone: .noptrdata has none, and .bss is filled at
/// run time.
void Locator::State::index_references(const Image& image) {
    constexpr std::uint64_t most = 64 << 20;  // bytes of .data looked through
    const Section* data = image.find_section(".data");
    if (data == nullptr) return;
    MemoryCursor cursor(context.memory);
    Address end = data->range.begin + std::min(data->range.size(), most);
    for (Address a = data->range.begin; a + 8 <= end; a += 8) {
        Address value;
        if (!cursor.load(a, value.value) || !image.range().contains(value)) continue;
        const SectionRow* row = section_at(value);
        if (row != nullptr && row->image == &image && row->section->writable) references.push_back({value, a});
    }
    std::ranges::stable_sort(references, {}, &Reference::value);
}

const Locator::State::Reference* Locator::State::reference_to(Address a) const {
    constexpr std::uint64_t farthest = 4096;  // of one unnamed variable
    auto after = std::ranges::upper_bound(references, a, {}, &Reference::value);
    if (after == references.begin() || (after - 1)->value + farthest <= a) return nullptr;
    return std::ranges::lower_bound(references, (after - 1)->value, {}, &Reference::value).operator->();
}

}  // namespace incident
