// Roots outside stacks, and the joining of all. Layout facts: go1.16–1.27 src/runtime/mgcmark.go (markroot,
// markrootSpans), mheap.go (kinds of specials), mfinal.go (finptrmask).
#include "go/heap/roots.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/bounded_walk.h"
#include "base/parallel.h"
#include "base/text.h"
#include "go/heap/cleanup_queue.h"
#include "go/heap/roots_stacks.h"
#include "go/heap/specials.h"
#include "image/images.h"

namespace incident::go {

namespace {

constexpr std::uint64_t section_limit = 1ull << 33;  // bytes of one data section
constexpr std::size_t finalizer_blocks = 1 << 20;
constexpr std::uint64_t processor_limit = 1 << 16;
constexpr std::uint64_t kernel_page = 4096;  // what a core holds whole or not at all

class SharedRoots {
public:
    SharedRoots(const HeapInput& input, const HeapSlots& slots, const HeapPointers& pointers, Roots& out)
        : input_(input), slots_(slots), pointers_(pointers), out_(out), cursor_(input.memory) {}

    void globals() {
        auto modules = input_.runtime.modules();
        for (std::size_t i = 0; i < modules.size(); ++i) {
            module_ = static_cast<std::uint16_t>(i);
            section(modules[i].data, modules[i].gcdatamask, RootKind::data, "package variables (.data)");
            section(modules[i].bss, modules[i].gcbssmask, RootKind::bss, "package variables (.bss)");
        }
        module_ = 0;
        if (modules.empty())
            out_.gaps.push_back({"the package variables", "no module data was found",
                                 "objects that only they keep alive are not reached", true});
    }

    void specials() {
        auto kinds = special_kinds(input_.runtime.version());
        const auto& layout = input_.runtime.layout();
        std::size_t broken = 0;
        for (const Span& s : input_.spans.all()) {
            if (s.state != SpanState::in_use || s.specials.is_null()) continue;
            auto end = walk_chain(s.specials, special_limit, [&](Address at) -> std::optional<Address> {
                StructView special(input_.memory, at);
                auto kind = special.get(layout.special.kind);
                auto next = special.get(layout.special.next);
                if (!kind || !next) return std::nullopt;
                if (*kind == kinds.finalizer) finalizer(s, at);
                if (kinds.cleanup != 0 && *kind == kinds.cleanup)
                    for (auto field : {layout.specialCleanup.fn, layout.specialCleanup.call, layout.specialCleanup.arg})
                        if (field.present()) word(at + static_cast<std::uint64_t>(field.offset), RootKind::cleanup);
                if (kinds.weak_handle != 0 && *kind == kinds.weak_handle && layout.specialWeakHandle.handle.present())
                    word(at + static_cast<std::uint64_t>(layout.specialWeakHandle.handle.offset),
                         RootKind::weak_handle);
                return *next;
            });
            if (end != WalkEnd::done) ++broken;
        }
        if (broken != 0)
            out_.gaps.push_back({fmt::format("the specials of {}", count_of(broken, "span")), "a list is damaged",
                                 "what finalizers and cleanups keep alive", true});
    }

    void finalizer_queue() {
        for (AddressRange entries : queued_cleanups(input_.memory, input_.runtime))
            for (Address at = entries.begin; at < entries.end; at += 8) word(at, RootKind::finalizer_queue);
        const auto& f = input_.runtime.layout();
        if (!input_.runtime.globals().allfin || !f.finblock.alllink.present() || f.finalizer.size == 0) return;
        auto head = input_.memory.load_address(*input_.runtime.globals().allfin);
        if (!head) return;
        walk_chain(*head, finalizer_blocks, [&](Address at) -> std::optional<Address> {
            StructView block(input_.memory, at);
            auto count = block.get(f.finblock.cnt);
            auto next = block.get(f.finblock.alllink);
            if (!count || !next) return std::nullopt;
            Address first = at + static_cast<std::uint64_t>(f.finblock.fin.offset);
            for (std::uint32_t i = 0; i < std::min<std::uint32_t>(*count, 4096); ++i)
                for (auto field : {f.finalizer.fn, f.finalizer.arg, f.finalizer.fint, f.finalizer.ot})
                    if (field.present())
                        word(first + i * std::uint64_t{f.finalizer.size} + static_cast<std::uint64_t>(field.offset),
                             RootKind::finalizer_queue);
            return *next;
        });
    }

    void tiny_blocks() {
        const auto& f = input_.runtime.layout();
        if (!input_.runtime.globals().allp || !f.p.mcache.present() || !f.mcache.tiny.present()) return;
        auto data = input_.memory.load_address(*input_.runtime.globals().allp);
        auto count = input_.memory.load<std::uint64_t>(*input_.runtime.globals().allp + 8);
        if (!data || !count) return;
        for (std::uint64_t i = 0; i < std::min(*count, processor_limit); ++i) {
            auto p = input_.memory.load_address(*data + i * 8);
            if (!p || p->is_null()) continue;
            auto cache = StructView(input_.memory, *p).get(f.p.mcache);
            if (cache && !cache->is_null())
                word(*cache + static_cast<std::uint64_t>(f.mcache.tiny.offset), RootKind::tiny_block);
        }
    }

    std::uint64_t unreadable = 0;

private:
    bool word(Address where, RootKind kind, bool conservative = false) {
        std::uint64_t value = 0;
        if (!cursor_.load(where, value)) return ++unreadable, false;
        add(where, value, kind, conservative);
        return true;
    }
    void add(Address where, std::uint64_t value, RootKind kind, bool conservative) {
        if (value == 0) return;
        SlotId slot = slots_.find(Address{value});
        if (slot == no_slot && !conservative && (kind == RootKind::data || kind == RootKind::bss) &&
            input_.spans.in_arena(Address{value}))
            out_.strays.push_back({where, Address{value}, no_owner, no_owner, kind});
        if (slot == no_slot || (conservative && !slots_.allocated(slot))) return;
        out_.all.push_back({where, slot, no_owner, no_owner, kind, conservative, module_});
    }

    void section(AddressRange range, Address mask, RootKind kind, std::string_view what) {
        if (range.empty()) return;
        if (range.size() > section_limit) {
            out_.gaps.push_back({std::string(what), fmt::format("{} bytes cannot be", range.size()),
                                 "objects that only they keep alive are not reached", true});
            return;
        }
        std::uint64_t words = range.size() / 8, before = unreadable;
        const std::byte* bits = input_.memory.data_at(mask, (words + 7) / 8);
        if (bits == nullptr)
            out_.gaps.push_back({fmt::format("the pointer mask of the {}", what),
                                 "the executable that holds it was not given",
                                 "every word that could be a pointer was taken for one", true});
        for (std::uint64_t i = 0; i < words; ++i) {
            if (bits != nullptr) {
                auto byte = std::to_integer<unsigned>(bits[i / 8]);
                if (byte == 0) {
                    i |= 7;
                    continue;
                }
                if ((byte >> (i % 8) & 1) == 0) continue;
            }
            const Address at = range.begin + i * 8;
            if (!word(at, kind, bits == nullptr) && bits == nullptr) {  // nor the rest of its page: damage claims GBs
                const std::uint64_t rest = std::min((kernel_page - 1 - at.value % kernel_page) / 8, words - i - 1);
                unreadable += rest;
                i += rest;
            }
        }
        if (unreadable != before)
            out_.gaps.push_back({fmt::format("{} words of the {}", unreadable - before, what), "not in the core",
                                 "objects that only they keep alive are not reached", true});
    }

    /// Everything that the object refers to is kept, the object itself is not, even if it points to itself (go1.27
    /// src/runtime/mgcmark.go, scanObject).
    void finalizer(const Span& s, Address special) {
        const auto& layout = input_.runtime.layout();
        if (layout.specialfinalizer.fn.present())
            word(special + static_cast<std::uint64_t>(layout.specialfinalizer.fn.offset), RootKind::finalizer);
        const std::uint64_t offset = special_offset(StructView(input_.memory, special), input_.runtime).value_or(0);
        SlotId slot = offset < s.range.size() ? slots_.find(s.range.begin + offset) : no_slot;
        if (slot == no_slot || slots_.noscan(slot)) return;
        Address base = slots_.base(slot);
        const AddressRange object{base, base + slots_.size(slot)};
        pointers_.for_each_pointer_word(slot, [&](std::uint64_t at, std::uint64_t value) {
            if (!object.contains(Address{value})) add(base + at, value, RootKind::finalizer, false);
        });
    }

    const HeapInput& input_;
    const HeapSlots& slots_;
    const HeapPointers& pointers_;
    Roots& out_;
    MemoryCursor cursor_;
    std::uint16_t module_ = 0;
};

void collect_stacks(const HeapInput& input, const HeapSlots& slots, Roots& out) {
    if (input.goroutines == nullptr || input.stacks == nullptr ||
        input.stacks->size() != input.goroutines->all.size()) {
        out.gaps.push_back({"the goroutines' stacks", "they were not walked",
                            "objects that only locals keep alive are not reached", true});
        return;
    }
    std::size_t count = input.goroutines->all.size(), grain = 1024;
    std::vector<std::vector<Root>> parts((count + grain - 1) / grain);
    out.first_of_goroutine.assign(count + 1, 0);
    std::vector<StackRoots> workers;
    unsigned jobs = std::max(1u, input.jobs);
    workers.reserve(jobs);
    for (unsigned i = 0; i < jobs; ++i) workers.emplace_back(input, slots);
    parallel_chunks(jobs, count, grain, [&](std::size_t begin, std::size_t end, unsigned worker) {
        auto& part = parts[begin / grain];
        for (std::size_t i = begin; i < end; ++i) {
            std::size_t before = part.size();
            workers[worker].collect(static_cast<std::uint32_t>(i), part);
            out.first_of_goroutine[i + 1] = static_cast<std::uint32_t>(part.size() - before);
        }
    });
    out.first_of_goroutine[0] = static_cast<std::uint32_t>(out.all.size());
    for (std::size_t i = 0; i < count; ++i) out.first_of_goroutine[i + 1] += out.first_of_goroutine[i];
    out.all.reserve(out.first_of_goroutine[count]);
    for (auto& part : parts) {
        out.all.insert(out.all.end(), part.begin(), part.end());
        part = {};
    }
    std::uint64_t unreadable = 0, incomplete = 0;
    for (const StackRoots& worker : workers) {
        out.strays.insert(out.strays.end(), worker.strays.begin(), worker.strays.end());
        out.unmade.insert(out.unmade.end(), worker.unmade.begin(), worker.unmade.end());
        out.conservative_frames += worker.conservative_frames;
        out.frames_without_maps += worker.frames_without_maps;
        unreadable += worker.unreadable_words;
        incomplete += worker.incomplete;
    }
    // Workers took goroutines as they came.
    std::ranges::stable_sort(out.strays, {}, [](const StrayRoot& s) { return std::pair(s.goroutine + 1, s.where); });
    if (unreadable != 0)
        out.gaps.push_back({fmt::format("{} words of stacks", unreadable), "not in the core",
                            "objects that only they keep alive are not reached", true});
    if (incomplete != 0)
        out.gaps.push_back({fmt::format("the roots on {}", count_of(incomplete, "stack")),
                            "a stack could not be walked to its end",
                            "every word that could be a pointer was taken for one", false});
}

}  // namespace

std::string_view to_string(RootKind kind) {
    switch (kind) {
        case RootKind::data:
        case RootKind::bss: return "package variable";
        case RootKind::local: return "local";
        case RootKind::argument: return "argument";
        case RootKind::stack_object: return "variable on the stack";
        case RootKind::register_: return "register";
        case RootKind::context: return "saved context";
        case RootKind::defer: return "defer";
        case RootKind::panic: return "panic";
        case RootKind::finalizer_queue: return "finalizer queue";
        case RootKind::finalizer: return "finalizer";
        case RootKind::cleanup: return "cleanup";
        case RootKind::weak_handle: return "weak handle";
        case RootKind::tiny_block: return "allocator's tiny block";
    }
    return "unknown";
}

std::span<const Root> Roots::of(std::uint32_t goroutine) const {
    if (goroutine + std::size_t{1} >= first_of_goroutine.size()) return {};
    return std::span(all).subspan(first_of_goroutine[goroutine],
                                  first_of_goroutine[goroutine + 1] - first_of_goroutine[goroutine]);
}

Roots find_roots(const HeapInput& input, const HeapSlots& slots, const HeapPointers& pointers) {
    Roots out;
    SharedRoots shared(input, slots, pointers, out);
    shared.globals();
    shared.specials();
    shared.finalizer_queue();
    shared.tiny_blocks();
    collect_stacks(input, slots, out);
    return out;
}

std::string describe_root(const Root& root, const HeapInput& input, const Images* images) {
    if (root.kind == RootKind::data || root.kind == RootKind::bss) {
        const Image* image = images == nullptr ? nullptr : images->find(root.where);
        auto symbol = image == nullptr ? std::nullopt : image->symbol_at(root.where);
        if (!symbol) return fmt::format("package variable at {}", hex(root.where.value));
        std::uint64_t offset = root.where.value - symbol->address.value;
        return offset == 0 ? std::string(symbol->name) : fmt::format("{}+{}", symbol->name, hex(offset));
    }
    if (root.goroutine == no_owner || input.goroutines == nullptr || root.goroutine >= input.goroutines->all.size())
        return fmt::format("{} at {}", to_string(root.kind), hex(root.where.value));
    std::string text = fmt::format("goroutine {}", input.goroutines->all[root.goroutine].goid);
    if (input.stacks != nullptr)
        if (auto frame = input.stacks->frame(root.goroutine, root.frame); frame && !frame->name().empty())
            text += fmt::format(", {}", frame->name());
    if (root.kind == RootKind::register_) {
        auto name = input.core == nullptr || root.where.value >= input.core->machine().registers.size()
                        ? std::string_view("?")
                        : input.core->machine().registers[root.where.value].name;
        return text + fmt::format(", register {}", name);
    }
    text += fmt::format(", {} at {}", to_string(root.kind), hex(root.where.value));
    if (root.conservative) text += " (perhaps no pointer)";
    return text;
}

}  // namespace incident::go
