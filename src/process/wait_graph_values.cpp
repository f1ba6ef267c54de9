// Function values in the heap that would give back a lock which nobody is known to hold: `acquire()` returned
// mu.Unlock, and it waits in a channel, a queue or a field for whoever will call it.
//
// Surprising: a function value that takes the lock before it gives it back is none of these; so each is followed, not
// only looked at. Those that only garbage leads to will never be called; they are told apart when the heap is marked,
// which goes on meanwhile.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/parallel.h"
#include "go/heap/heap_graph.h"
#include "process/wait_graph_state.h"

namespace incident {

using go::HoldKind;
using go::WaitObject;

namespace {

constexpr std::uint64_t largest_value = 256;  // bytes: a function value that has captured some thirty words
constexpr std::size_t most_followed = 10000;

struct Target {
    AddressRange object;  ///< what the lock lies in
    std::size_t lock;
};

}  // namespace

void LockFinder::find_function_values() {
    if (!process.spans) return;
    std::vector<Target> targets;
    for (std::size_t l = 0; l < picture.locks.size(); ++l) {
        const GoLock& lock = picture.locks[l];
        if (lock.waiters.empty() || !lock.readable || !lock.possible.empty()) continue;
        if (!std::ranges::all_of(lock.holders, &LockHolderRow::waits_for_it)) continue;
        if (!held(lock, HoldKind::exclusive) && !held(lock, HoldKind::shared) && !held(lock, HoldKind::group)) continue;
        AddressRange around{lock.state.address, lock.state.address + 24};
        if (const auto object = process.spans->find_object(lock.state.address))
            around = {object->base, object->base + object->size};
        targets.push_back({around, l});
    }
    if (targets.empty()) return;
    std::ranges::sort(targets, {}, [](const Target& t) { return t.object.begin; });
    auto names_a_lock = [&](Address value) {
        auto at = std::ranges::upper_bound(targets, value, {}, [](const Target& t) { return t.object.begin; });
        return at != targets.begin() && (at - 1)->object.contains(value);
    };
    // A captured variable that changes is a box of its own.
    auto leads_to_a_lock = [&](Address value) {
        if (names_a_lock(value)) return true;
        const auto box = process.spans->find_object(value);
        if (!box || box->size > largest_value || box->span->noscan()) return false;
        const auto inner = process.memory.load_address(value);
        return inner && names_a_lock(*inner);
    };
    std::vector<AddressRange> code_of_go;
    for (const go::ModuleData& module : process.go->modules()) code_of_go.push_back(module.text);
    auto may_be_code = [&](Address entry) {
        if (code_of_go.empty()) return !entry.is_null() && !process.spans->in_arena(entry);
        return std::ranges::any_of(code_of_go, [&](const AddressRange& text) { return text.contains(entry); });
    };
    // Every object's first word is looked at; following what is found is for one thread.
    const std::span<const go::Span> spans = process.spans->all();
    std::vector<std::vector<Address>> values(std::max(process.jobs, 1u));
    parallel_chunks(process.jobs, spans.size(), 256, [&](std::size_t begin, std::size_t end, unsigned worker) {
        for (const go::Span& span : spans.subspan(begin, end - begin)) {
            if (span.state != go::SpanState::in_use || span.noscan() || span.elem_size < 16 ||
                span.elem_size > largest_value)
                continue;
            const std::byte* data = process.memory.data_at(span.range.begin, span.elem_count * span.elem_size);
            if (data == nullptr) continue;
            for (std::uint32_t i = 0; i < span.elem_count; ++i) {
                const std::byte* object = data + i * span.elem_size;
                auto word = [&](std::uint64_t at) {
                    Address value;
                    std::memcpy(&value.value, object + at, 8);
                    return value;
                };
                const Address entry = word(0);
                if (!may_be_code(entry) || go::Spans::slot_state(span, i) != go::SlotState::allocated) continue;
                bool leads = false;
                for (std::uint64_t at = 8; at + 8 <= span.elem_size && !leads; at += 8)
                    leads = leads_to_a_lock(word(at));
                if (leads && values[worker].size() <= most_followed) values[worker].push_back(span.slot(i));
            }
        }
    });
    std::vector<Address> all;
    for (const std::vector<Address>& part : values) all.insert(all.end(), part.begin(), part.end());
    std::ranges::sort(all);
    if (all.size() > most_followed) {
        picture.not_searched.push_back("some function values in the heap");
        all.resize(most_followed);
    }
    for (const Address value : all) follow_function_value(value);
}

void LockFinder::follow_function_value(Address value) {
    const auto entry = process.memory.load_address(value);
    const auto func = entry ? process.go->find_func(*entry) : std::nullopt;
    if (!func || func->entry != *entry) return;
    for (const go::Release& release : code.of_closure(value).releases) {
        if (!release.address || release.kind == HoldKind::send || release.kind == HoldKind::receive) continue;
        const auto known = index.find(*release.address);
        if (known == index.end()) continue;
        GoLock& lock = picture.locks[known->second];
        if (held(lock, release.kind) && lock.possible.size() < 8)
            lock.possible.push_back(
                {fmt::format("the function value at {:#x} ({}) would release it: whoever holds that may call it",
                             value.value, func->name),
                 std::nullopt, true, value});
    }
}

void LockFinder::adopt(LockPicture& from) {
    picture = std::move(from);
    for (std::size_t l = 0; l < picture.locks.size(); ++l) index.emplace(picture.locks[l].state.address, l);
}

namespace {

void forget_garbage(LockPicture& picture, const go::HeapGraph& heap) {
    for (GoLock& lock : picture.locks)
        std::erase_if(lock.possible, [&](const PossibleReleaser& releaser) {
            const auto slot = releaser.value.is_null() ? std::nullopt : heap.slot_of(releaser.value);
            return slot && !heap.live(*slot);
        });
}

}  // namespace

void forget_unable(LockPicture& picture, const Process& process) {
    forget_garbage(picture, *process.heap);
    if (!process.leaks || !process.leaks->complete || process.leaks->left.empty() || !process.heap->gaps().empty())
        return;
    std::unordered_set<std::uint32_t> stuck;
    for (const BlockedForever& b : process.leaks->left) stuck.insert(b.goroutine);
    bool values = false;
    for (GoLock& lock : picture.locks) {
        if (lock.possible.empty() || lock.waiters.empty()) continue;
        const bool unreached = stuck.contains(lock.waiters.front().goroutine);
        if (!unreached && lock.possible_cut) continue;
        const auto waits = [&](const PossibleReleaser& p) { return p.goroutine && stuck.contains(*p.goroutine); };
        std::ranges::copy_if(lock.possible, std::back_inserter(lock.unable), waits);
        std::erase_if(lock.possible, [&](const PossibleReleaser& p) { return unreached || waits(p); });
        if (unreached) continue;
        values |= lock.possible.empty();  // they were not asked for while there was somebody
    }
    if (!values) return;
    LockFinder again(process);
    again.adopt(picture);
    again.find_function_values();
    picture = std::move(again.picture);
    forget_garbage(picture, *process.heap);
}

}  // namespace incident
