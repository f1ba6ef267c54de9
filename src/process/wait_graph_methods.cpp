// Objects alive one of whose methods would give back a lock that nobody is known to hold, and that something alive has
// as an interface: a transaction, a handler, a token in a queue. Who calls the method does so through the interface,
// which code alone does not tell; the value of the interface does.
//
// Surprising: only methods that interfaces or reflection can call count, for the linker leaves the others out of the
// type's list. Unlock of a struct that has the lock in it is no such method: who says x.Unlock() says x.Lock() before.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <unordered_map>

#include "base/parallel.h"
#include "go/binary/methods.h"
#include "go/heap/heap_graph.h"
#include "go/heap/heap_types.h"
#include "process/wait_graph_state.h"

namespace incident {

namespace {

using go::HoldKind;

constexpr std::size_t most_words = 1 << 16;    // that lead to such a lock, per worker
constexpr std::size_t most_of_type = 8;        // objects of one type, for one lock
constexpr std::uint64_t most_bytes = 1 << 16;  // of a variable that is looked through
constexpr unsigned deepest = 16;
constexpr std::size_t most_possible = 8;

class MethodSearch {
public:
    MethodSearch(LockFinder& finder, const Process& process)
        : finder_(finder), process_(process), types_(process.heap_types->types()) {
        for (go::TypeId id = 1; id < types_.size(); ++id)
            if (const go::Type& type = types_[id]; type.kind == go::Kind::pointer && !type.rtype.is_null())
                pointer_to_.emplace(type.elem, id);
    }

    void add_target(std::size_t lock) {
        const go::LockState& state = finder_.picture.locks[lock].state;
        AddressRange around{state.address, state.address + 1};
        if (const auto slot = process_.heap->slot_of(state.address)) {
            const go::HeapSlots& slots = process_.heap->slots();
            around = {slots.base(*slot), slots.base(*slot) + slots.size(*slot)};
            add_receivers(*slot, static_cast<std::uint64_t>(state.address - around.begin), lock);
        } else if (const go::GlobalOfType* global = types_.global_at(state.address)) {
            around = {global->address, global->address + types_[global->type].size};
            add_receivers(global->address, global->type, static_cast<std::uint64_t>(state.address - global->address),
                          lock);
        }
        targets_.push_back({around, lock});
    }

    void search() {
        std::ranges::sort(targets_, {}, [](const Target& t) { return t.object.begin; });
        for (const Word& word : words_into(targets_))
            if (word.slot != go::no_slot)
                add_receivers(word.slot, word.offset, targets_[word.target].of);
            else
                add_receivers(word.variable, word.type, word.offset, targets_[word.target].of);
        for (const Receiver& receiver : receivers_) add_calls(receiver);
        find_interfaces();
        if (cut_) finder_.picture.not_searched.push_back("some of very many words that lead to a lock's object");
    }

private:
    struct Target {
        AddressRange object;
        std::size_t of = 0;  ///< index into the picture's locks, or into calls_
    };
    struct Receiver {
        Address at;
        go::TypeId type = go::no_type;
        std::size_t lock = 0;
    };
    struct Call {
        Receiver receiver;
        std::string_view method;
    };
    /// A word that leads into a target: of an object, or of a variable and its type.
    struct Word {
        go::SlotId slot = go::no_slot;
        Address variable;
        go::TypeId type = go::no_type;
        std::uint64_t offset = 0;
        std::size_t target = 0;
    };

    /// `targets` by address. Of the heap's objects alive, and of all variables.
    std::vector<Word> words_into(std::span<const Target> targets) {
        std::vector<Word> all = words_of_heap(targets);
        std::ranges::sort(all, {}, [](const Word& word) { return std::pair(word.slot, word.offset); });
        for (const go::GlobalOfType& global : types_.globals()) add_words(global.address, global.type, targets, all);
        for (const auto& [address, type] : process_.heap_types->statics()) add_words(address, type, targets, all);
        return all;
    }

    static std::optional<std::size_t> target_of(std::span<const Target> targets, Address value) {
        auto at = std::ranges::upper_bound(targets, value, {}, [](const Target& t) { return t.object.begin; });
        if (at == targets.begin() || !(at - 1)->object.contains(value)) return std::nullopt;
        return static_cast<std::size_t>(at - targets.begin()) - 1;
    }

    std::vector<Word> words_of_heap(std::span<const Target> targets) {
        const go::HeapGraph& heap = *process_.heap;
        const AddressRange hull{targets.front().object.begin, targets.back().object.end};
        const std::span<const std::uint64_t> live = heap.live_bits().words();
        std::vector<std::vector<Word>> words(std::max(process_.jobs, 1u));
        parallel_chunks(process_.jobs, live.size(), 4096, [&](std::size_t begin, std::size_t end, unsigned worker) {
            for (std::size_t block = begin; block < end; ++block) {
                const auto first = static_cast<go::SlotId>(block * 64);
                if (live[block] == 0 || heap.slots().noscan(first)) continue;
                heap.slots().for_each_of_block(first, live[block], [&](go::SlotId slot, const go::SlotSpan& span) {
                    heap.pointers().for_each_pointer_word(
                        slot, span, 0, span.words, [&](std::uint64_t at, std::uint64_t value) {
                            if (!hull.contains(Address{value})) return;
                            const auto target = target_of(targets, Address{value});
                            if (target && words[worker].size() <= most_words)
                                words[worker].push_back({.slot = slot, .offset = at, .target = *target});
                        });
                });
            }
        });
        std::vector<Word> all;
        for (const auto& part : words) {
            cut_ |= part.size() > most_words;
            all.insert(all.end(), part.begin(), part.end());
        }
        return all;
    }

    void add_words(Address variable, go::TypeId type, std::span<const Target> targets, std::vector<Word>& out) const {
        const std::uint64_t size = std::min(types_[type].size, most_bytes);
        for (std::uint64_t offset = 0; offset + 8 <= size; offset += 8) {
            const auto value = process_.memory.load_address(variable + offset);
            const auto target = value ? target_of(targets, *value) : std::nullopt;
            if (target) out.push_back({.variable = variable, .type = type, .offset = offset, .target = *target});
        }
    }

    /// The object, and each part of it that has the word.
    void add_receivers(go::SlotId slot, std::uint64_t offset, std::size_t lock) {
        const go::ObjectType object = process_.heap_types->type_of(slot);
        const std::uint64_t size = types_[object.type].size;
        if (object.type == go::no_type || size == 0 || offset < object.offset) return;
        const std::uint64_t index = (offset - object.offset) / size;
        if (index >= object.count) return;
        add_receivers(process_.heap->slots().base(slot) + object.offset + index * size, object.type,
                      (offset - object.offset) % size, lock);
    }

    void add_receivers(Address at, go::TypeId type, std::uint64_t offset, std::size_t lock) {
        for (unsigned depth = 0; depth < deepest && type != go::no_type; ++depth) {
            const go::Type& t = types_[type];
            if (t.kind == go::Kind::array) {
                const std::uint64_t size = types_[t.elem].size;
                if (size == 0) return;
                at = at + offset / size * size;
                offset %= size;
                type = t.elem;
                continue;
            }
            if (std::size_t& n = of_type_[{type, lock}]; n < most_of_type && pointer_to_.contains(type)) {
                ++n;
                receivers_.push_back({at, type, lock});
            }
            if (t.kind != go::Kind::struct_) return;
            type = go::no_type;
            for (const go::TypeField& field : types_.fields(t))
                if (field.offset <= offset && offset - field.offset < types_[field.type].size) {
                    at = at + field.offset;
                    offset -= field.offset;
                    type = field.type;
                    break;
                }
        }
    }

    const std::vector<go::TypeMethod>& methods(go::TypeId type) {
        auto [known, fresh] = methods_.try_emplace(type);
        if (fresh) {
            known->second =
                go::read_methods(process_.memory, *process_.go, go::Kind::pointer, types_[pointer_to_.at(type)].rtype);
            std::erase_if(known->second, [&](const go::TypeMethod& method) {
                const auto func = process_.go->find_func(method.entry);
                return !func || func->entry != method.entry || !finder_.code.interesting(method.entry);
            });
        }
        return known->second;
    }

    void add_calls(const Receiver& receiver) {
        const GoLock& lock = finder_.picture.locks[receiver.lock];
        const AddressRange object{receiver.at, receiver.at + types_[receiver.type].size};
        for (const go::TypeMethod& method : methods(receiver.type)) {
            if (object.contains(lock.state.address) && (method.name == "Unlock" || method.name == "RUnlock")) continue;
            const go::Remaining remaining = finder_.code.of_function(method.entry, std::nullopt, receiver.at);
            if (std::ranges::any_of(remaining.releases, [&](const go::Release& release) {
                    return release.address == lock.state.address && LockFinder::held(lock, release.kind);
                }))
                calls_.push_back({receiver, method.name});
        }
    }

    /// An interface's words are {table or descriptor, the object's address}.
    void find_interfaces() {
        std::vector<Target> receivers;
        for (std::size_t i = 0; i < calls_.size(); ++i)
            receivers.push_back({{calls_[i].receiver.at, calls_[i].receiver.at + 1}, i});
        std::ranges::sort(receivers, {}, [](const Target& t) { return std::pair(t.object.begin, t.of); });
        if (receivers.empty()) return;
        // Several methods of one object are one target.
        std::vector<Target> objects = receivers;
        const auto same = std::ranges::unique(objects, {}, [](const Target& t) { return t.object.begin; });
        objects.erase(same.begin(), same.end());
        std::vector<std::pair<Address, Address>> interfaces;  // the object, where the interface has its address
        for (const Word& word : words_into(objects)) {
            const Address begin = word.slot != go::no_slot ? process_.heap->slots().base(word.slot) : word.variable;
            interfaces.emplace_back(objects[word.target].object.begin, begin + word.offset);
        }
        for (const go::Root& root : process_.heap->roots().all)
            if (root.kind != go::RootKind::register_ && root.target != go::no_slot)
                if (const auto value = process_.memory.load_address(root.where); value && target_of(objects, *value))
                    interfaces.emplace_back(*value, root.where);
        for (const Target& row : receivers) {
            const Call& call = calls_[row.of];
            const auto held = std::ranges::find_if(interfaces, [&](const auto& found) {
                return found.first == call.receiver.at && is_type_word(found.second - 8, call.receiver.type);
            });
            if (held != interfaces.end()) add_possible(call, held->second - 8);
        }
    }

    /// The descriptor of a T or a *T, or an interface's table of one: go1.16–1.27 src/runtime/runtime2.go, itab {inter,
    /// _type, …}.
    bool is_type_word(Address at, go::TypeId type) const {
        const auto word = process_.memory.load_address(at);
        if (!word || word->is_null()) return false;
        const auto is_descriptor = [&](Address value) {
            return !value.is_null() && (value == types_[type].rtype || value == types_[pointer_to_.at(type)].rtype);
        };
        const auto of_table = process_.memory.load_address(*word + 8);
        return is_descriptor(*word) || (of_table && is_descriptor(*of_table));
    }

    void add_possible(const Call& call, Address interface) {
        GoLock& lock = finder_.picture.locks[call.receiver.lock];
        if (lock.possible.size() >= most_possible) return;
        lock.possible.push_back(
            {fmt::format("(*{}).{} of the value at {:#x} would release it: whoever has the interface at {:#x} may call "
                         "it",
                         types_[call.receiver.type].name, call.method, call.receiver.at.value, interface.value),
             std::nullopt, true, call.receiver.at});
    }

    LockFinder& finder_;
    const Process& process_;
    const go::TypeTable& types_;
    bool cut_ = false;
    std::unordered_map<go::TypeId, go::TypeId> pointer_to_;  ///< with a descriptor
    std::vector<Target> targets_;
    std::vector<Receiver> receivers_;
    std::vector<Call> calls_;
    std::map<std::pair<go::TypeId, std::size_t>, std::size_t> of_type_;
    std::unordered_map<go::TypeId, std::vector<go::TypeMethod>> methods_;  ///< of *T, that do something to locks
};

}  // namespace

void find_releasing_methods(LockPicture& picture, const Process& process) {
    const auto orphaned = [](const GoLock& lock) {
        return !lock.waiters.empty() && lock.readable && lock.holders.empty() && lock.possible.empty() &&
               (LockFinder::held(lock, HoldKind::exclusive) || LockFinder::held(lock, HoldKind::shared) ||
                LockFinder::held(lock, HoldKind::group));
    };
    if (!process.heap_types || !process.disassembler || std::ranges::none_of(picture.locks, orphaned)) return;
    LockFinder finder(process);
    finder.picture = std::move(picture);
    MethodSearch search(finder, process);
    for (std::size_t l = 0; l < finder.picture.locks.size(); ++l)
        if (orphaned(finder.picture.locks[l])) search.add_target(l);
    search.search();
    picture = std::move(finder.picture);
}

}  // namespace incident
