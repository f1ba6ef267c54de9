// Builds the picture: waiters from what goroutines wait for, holders from the code before them, edges and cycles from
// both.
#include "process/wait_graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <unordered_map>
#include <unordered_set>

#include "base/go_names.h"
#include "base/parallel.h"
#include "go/sync/releasers.h"
#include "process/process.h"
#include "process/pthread_waits.h"
#include "process/wait_graph_state.h"

namespace incident {

using go::HoldKind;
using go::WaitMode;
using go::WaitObject;

namespace {

constexpr int reference_words = 64;  // of one heap object, when looking for references

bool is_lock(WaitObject object) {
    return object == WaitObject::mutex || object == WaitObject::rwmutex || object == WaitObject::wait_group;
}

/// Frames inside the primitives themselves have nothing to release that their caller's code does not show. What else
/// package sync has is their user: the map behind sync.Map (1.24+, internal/sync.HashTrieMap) locks its nodes.
bool is_machinery(std::string_view name) {
    if (name.starts_with("runtime.") || name.starts_with("internal/runtime")) return true;
    if (name.starts_with("internal/")) name.remove_prefix(9);
    return name.starts_with("sync.runtime_") || name.starts_with("sync.(*Mutex)") ||
           name.starts_with("sync.(*RWMutex)") || name.starts_with("sync.(*WaitGroup)") ||
           name.starts_with("sync.(*rlocker)");
}

/// The lock that it takes is its caller's.
bool takes_for_another(std::string_view name) { return name == "sync.(*Cond).Wait"; }

HoldKind kind_of(WaitObject object, WaitMode mode) {
    if (object == WaitObject::wait_group) return HoldKind::group;
    return mode == WaitMode::rlock ? HoldKind::shared : HoldKind::exclusive;
}

}  // namespace

const GoLock* LockPicture::find(Address lock) const {
    auto at = std::ranges::lower_bound(locks, lock, {}, [](const GoLock& l) { return l.state.address; });
    return at != locks.end() && at->state.address == lock ? &*at : nullptr;
}

LockFinder::LockFinder(const Process& p)
    : process(p),
      code(p.memory, *p.go, *p.disassembler),
      callees(p.memory, *p.go, *p.goroutines->code, &*p.disassembler) {}

GoLock& LockFinder::lock_at(Address address, WaitObject type) {
    auto [slot, fresh] = index.try_emplace(address, picture.locks.size());
    if (fresh) {
        GoLock lock;
        auto state = go::read_lock(process.memory, process.go->layout(), type, address);
        lock.readable = state.has_value();
        if (state) lock.state = *state;
        lock.state.type = type;
        lock.state.address = address;
        picture.locks.push_back(std::move(lock));
    }
    return picture.locks[slot->second];
}

void LockFinder::read_waiters() {
    const auto& all = process.goroutines->all;
    const auto& layout = process.go->layout();
    waits.resize(all.size());
    parallel_chunks(process.jobs, all.size(), 1024, [&](std::size_t begin, std::size_t end, unsigned) {
        for (std::size_t i = begin; i < end; ++i)
            waits[i] = process.waits->of(process.memory, *process.go, all[i], process.stacks.load_physical(i));
    });
    for (std::uint32_t i = 0; i < all.size(); ++i) {
        if (waits[i].size() != 1 || !is_lock(waits[i][0].object)) continue;
        const auto& wait = waits[i][0];
        GoLock& lock = lock_at(wait.address, wait.object);
        LockWaiterRow row{.goroutine = i, .mode = wait.mode};
        if (wait.object == WaitObject::rwmutex && wait.mode == WaitMode::lock) {
            row.on_writer_semaphore =
                wait.semaphore == wait.address + static_cast<std::uint64_t>(layout.sync_RWMutex.writerSem.offset);
            row.on_mutex = !row.on_writer_semaphore;
        }
        lock.waiters.push_back(row);
        for (const auto& frame : process.stacks.shape(i).physical) {
            if (frame.func() == nullptr || is_machinery(frame.name()) || takes_for_another(frame.name())) continue;
            if (std::ranges::find(lock.locked_in, frame.name()) == lock.locked_in.end() && lock.locked_in.size() < 16)
                lock.locked_in.push_back(frame.name());
            break;
        }
    }
}

void LockFinder::note(std::uint32_t goroutine, const go::Remaining& remaining, HoldBasis basis,
                      std::optional<std::uint32_t> physical, std::string_view deferred,
                      std::vector<go::Balance>& before) {
    auto of = [](const std::vector<go::Balance>& balances, Address address, HoldKind kind) {
        for (auto& b : balances)
            if (b.address == address && b.kind == kind) return b;
        return go::Balance{address, kind};
    };
    for (const go::Release& release : remaining.releases) {
        if (!release.address) {
            unknown.push_back({goroutine, release.kind, release.function, release.standard});
            continue;
        }
        if (release.kind == HoldKind::receive || release.kind == HoldKind::send) {
            served[{*release.address, release.kind}].push_back(goroutine);
            continue;
        }
        // What it will have taken by then is no hold, unless every path gives back more than that.
        const go::Balance taken = of(before, *release.address, release.kind);
        const int net = of(remaining.balances, *release.address, release.kind).most;
        if (taken.most > 0 && taken.most + net >= 0) {
            // Unless it was deferred already, and a newer frame gives back on some path what is being taken: then this
            // one gives back what is held.
            if (basis == HoldBasis::pending_defer && taken.least + net < 0)
                deferred_before[*release.address].push_back(goroutine);
            continue;
        }
        Hold hold{goroutine,    release.kind,     basis, physical,       release.function, deferred,
                  release.site, *release.address, false, release.rwmutex};
        hold.surely = net < 0;
        holds.push_back(hold);
    }
    for (auto& b : remaining.balances) {
        auto at = std::ranges::find_if(before, [&](auto& o) { return o.address == b.address && o.kind == b.kind; });
        if (at == before.end()) {
            before.push_back({b.address, b.kind, 0, 0});
            at = before.end() - 1;
        }
        at->least += b.least;
        at->most += b.most;
    }
    if (!remaining.unresolved.empty() || remaining.incomplete) unresolved.insert(goroutine);
}

void LockFinder::follow(std::uint32_t i) {
    const auto& g = process.goroutines->all[i];
    const go::GoStack stack = process.stacks.load_physical(i);
    ++picture.goroutines;
    note_release_under_way(i, stack);
    std::vector<go::Balance> balances;
    if (waits[i].size() == 1 && (waits[i][0].object == WaitObject::mutex || waits[i][0].object == WaitObject::rwmutex))
        balances.push_back({waits[i][0].address, kind_of(waits[i][0].object, waits[i][0].mode), 1, 1});
    const bool unborn = (g.status == go::Status::runnable || g.status == go::Status::running) &&
                        g.sched_pc == g.startpc && g.status == go::Status::runnable;
    if (unborn) {
        note(i, code.of_unborn(g), HoldBasis::frame, std::nullopt, {}, balances);
        unborn_goroutines.insert(i);
        return;
    }
    go::Defers defers = go::read_defers(process.memory, *process.go, g, stack, callees);
    picture.defers += defers.pending.size();
    std::size_t next_defer = 0;
    auto run_defers = [&](std::optional<std::uint32_t> up_to) {
        for (; next_defer < defers.pending.size(); ++next_defer) {
            const auto& pending = defers.pending[next_defer];
            if (up_to && pending.physical && *pending.physical > *up_to) break;
            if (pending.running) continue;
            const std::size_t first = holds.size();
            // Its effect on the balances comes with its frame's own code when that is open-coded; here only who holds
            // what.
            std::vector<go::Balance> own = balances;
            note(i, code.of_defer(pending), HoldBasis::pending_defer, pending.physical,
                 pending.function.empty() ? pending.wrapper : pending.function, own);
            if (pending.kind != go::DeferKind::open_coded || !pending.physical) balances = own;
            for (std::size_t h = first; h < holds.size(); ++h) holds[h].deferred_in = pending.deferred_in;
        }
    };
    bool searched_all = stack.complete || g.system;
    for (std::uint32_t f = 0; f < stack.physical.size(); ++f) {
        const auto& frame = stack.physical[f];
        if (frame.func() == nullptr || frame.owner != go::StackOwner::goroutine) continue;
        run_defers(f);
        if (is_machinery(frame.name())) continue;
        ++picture.frames;
        if (!code.interesting(frame.pc)) continue;
        const std::size_t first = holds.size();
        note(i, code.of_frame(g, stack, f, running_closure(g, frame)), HoldBasis::frame, f, {}, balances);
        for (std::size_t h = first; h < holds.size(); ++h) holds[h].in = frame.name();
    }
    run_defers(std::nullopt);
    final_balances[i] = std::move(balances);
    if (!searched_all && !defers.complete) unresolved.insert(i);
}

bool LockFinder::held(const GoLock& lock, HoldKind kind) {
    if (!lock.readable) return false;
    switch (kind) {
        case HoldKind::exclusive:
            return lock.state.type == WaitObject::rwmutex ? lock.state.locked || lock.state.writer : lock.state.locked;
        case HoldKind::shared:
            return lock.state.type == WaitObject::rwmutex &&
                   (lock.state.writer ? lock.state.reader_wait > 0 : lock.state.readers > 0);
        case HoldKind::group: return lock.state.counter > 0;
        default: return false;
    }
}

void LockFinder::assign_holders() {
    for (const Hold& hold : holds) {
        auto known = index.find(hold.address);
        WaitObject type = hold.kind == HoldKind::group                    ? WaitObject::wait_group
                          : hold.kind == HoldKind::shared || hold.rwmutex ? WaitObject::rwmutex
                                                                          : WaitObject::mutex;
        if (known == index.end()) {
            // Held and not waited for: only the release says of which type the lock is.
            auto state = go::read_lock(process.memory, process.go->layout(), type, hold.address);
            if (!state) continue;
            GoLock probe;
            probe.state = *state;
            if (!held(probe, hold.kind)) continue;
        }
        GoLock& lock = lock_at(hold.address, type);
        if (!held(lock, hold.kind)) continue;
        if ((lock.state.type == WaitObject::wait_group) != (hold.kind == HoldKind::group)) continue;
        const bool waits_for_it = waits[hold.goroutine].size() == 1 && waits[hold.goroutine][0].address == hold.address;
        LockHolderRow row{hold.goroutine, hold.kind,     hold.basis,    hold.surely, waits_for_it,
                          hold.physical,  hold.function, hold.deferred, hold.site};
        auto same = std::ranges::find_if(lock.holders,
                                         [&](auto& h) { return h.goroutine == row.goroutine && h.kind == row.kind; });
        if (same == lock.holders.end()) {
            if (lock.holders.size() < 10000) lock.holders.push_back(row);
        } else if (row.basis == HoldBasis::pending_defer && same->basis == HoldBasis::frame) {
            *same = row;
        }
    }
    // Only one can hold it: where one is known to give it back, those who would on some path have yet to take it. And a
    // writer that waits for readers has got it from the other writers.
    for (GoLock& lock : picture.locks) {
        const auto exclusive = [](const LockHolderRow& h) { return h.kind == HoldKind::exclusive; };
        if (std::ranges::any_of(lock.holders, [&](const LockHolderRow& h) { return exclusive(h) && h.certain(); }) ||
            std::ranges::any_of(lock.waiters, &LockWaiterRow::on_writer_semaphore))
            std::erase_if(lock.holders, [&](const LockHolderRow& h) { return exclusive(h) && !h.certain(); });
    }
}

/// All finalizers run on one goroutine, one after the other. go1.27 src/runtime/mfinal.go, runFinalizers
std::optional<std::uint32_t> LockFinder::stuck_finalizer_goroutine() const {
    const auto& all = process.goroutines->all;
    for (std::uint32_t i = 0; i < all.size(); ++i) {
        if (all[i].status != go::Status::waiting || all[i].wait_reason == "finalizer wait") continue;
        const auto& frames = process.stacks.shape(i).physical;
        if (std::ranges::any_of(frames, [](const auto& frame) {
                return frame.name() == "runtime.runfinq" || frame.name() == "runtime.runFinalizers";
            }))
            return i;
    }
    return std::nullopt;
}

void LockFinder::read_callbacks() {
    auto callbacks = go::read_callbacks(process.memory, *process.go, process.spans ? &*process.spans : nullptr);
    picture.timers = callbacks.timers;
    picture.finalizers = callbacks.finalizers;
    picture.exported = callbacks.exported;
    if (!callbacks.timers_read) picture.not_searched.push_back("timers");
    if (!callbacks.finalizers_read) picture.not_searched.push_back("finalizers and cleanups");
    if (!callbacks.exported_read) picture.not_searched.push_back("some functions that C may call");
    const auto finalizing = stuck_finalizer_goroutine();
    for (auto& callback : callbacks.all) {
        auto remaining = code.of_function(callback.entry, callback.closure, callback.argument);
        if (finalizing && callback.kind == go::CallbackKind::finalizer) {
            // It comes after the one that does not end.
            for (auto& release : remaining.releases)
                if (release.address && (release.kind == HoldKind::send || release.kind == HoldKind::receive))
                    served[{*release.address, release.kind}].push_back(*finalizing);
            std::erase_if(remaining.releases, [](auto& r) {
                return r.address && (r.kind == HoldKind::send || r.kind == HoldKind::receive);
            });
        }
        for (auto& release : remaining.releases) {
            if (release.kind == HoldKind::send || release.kind == HoldKind::receive) {
                if (release.address) served_by_callbacks.insert(*release.address);
                continue;
            }
            const std::string_view runs = callback.name.empty() ? release.function : callback.name;
            std::string what = fmt::format("{} that runs {}", to_string(callback.kind), runs);
            if (!release.address) {
                unknown_callbacks.push_back({what, release.kind});
                continue;
            }
            auto known = index.find(*release.address);
            if (known != index.end()) picture.locks[known->second].possible.push_back({what, std::nullopt, true});
        }
    }
}

/// Ranges of the locks that nobody is known to hold, with the objects around them.
void LockFinder::find_references() {
    struct Target {
        AddressRange range;
        std::size_t lock;
    };
    std::vector<Target> targets;
    for (std::size_t l = 0; l < picture.locks.size(); ++l) {
        const GoLock& lock = picture.locks[l];
        if (lock.waiters.empty() || !lock.readable) continue;
        AddressRange range{lock.state.address - 256, lock.state.address + 24};
        if (process.spans)
            if (auto object = process.spans->find_object(lock.state.address))
                range = {object->base, object->base + object->size};
        targets.push_back({range, l});
    }
    if (targets.empty()) return;
    std::ranges::sort(targets, {}, [](const Target& t) { return t.range.begin; });
    auto visit = [&](Address word, auto&& found) {
        auto at = std::ranges::upper_bound(targets, word, {}, [](const Target& t) { return t.range.begin; });
        for (int back = 0; at != targets.begin() && back < 4; ++back) {
            --at;
            if (at->range.contains(word)) found(at->lock);
        }
    };
    for (std::uint32_t i : unresolved) {
        const auto& g = process.goroutines->all[i];
        if (g.system) continue;
        std::unordered_set<std::size_t> reached;
        const auto frames = process.stacks.physical(i);
        Address sp = frames.empty() ? g.sched_sp : frames.front().sp;
        Address end = std::min(g.stack.end, sp + 16384);
        std::unordered_set<std::uint64_t> objects;
        for (Address at = sp.align_down(8); at < end; at += 8) {
            auto word = process.memory.load_address(at);
            if (!word) break;
            visit(*word, [&](std::size_t l) { reached.insert(l); });
            if (!process.spans) continue;
            auto object = process.spans->find_object(*word);
            if (!object || object->span->noscan() || !objects.insert(object->base.value).second || objects.size() > 512)
                continue;
            for (int w = 0; w < reference_words && static_cast<std::uint64_t>(w) * 8 < object->size; ++w)
                if (auto inner = process.memory.load_address(object->base + static_cast<std::uint64_t>(w) * 8))
                    visit(*inner, [&](std::size_t l) { reached.insert(l); });
        }
        for (std::size_t l : reached) {
            GoLock& lock = picture.locks[l];
            if (waits[i].size() == 1 && waits[i][0].address == lock.state.address) continue;
            lock.possible_cut |= lock.possible.size() >= 16;
            if (lock.possible.size() < 16)
                lock.possible.push_back(
                    {fmt::format("goroutine {} refers to it, and what it will call is not all known", g.goid), i,
                     false});
        }
    }
}

void LockFinder::add_possible() {
    std::map<std::pair<HoldKind, bool>, std::vector<const Unknown*>> by_kind;
    for (const Unknown& u : unknown) by_kind[{u.kind, u.standard}].push_back(&u);
    for (GoLock& lock : picture.locks) {
        if (lock.waiters.empty()) continue;
        const bool standard_lock =
            std::ranges::any_of(lock.locked_in, [](std::string_view f) { return is_standard_library(f); });
        std::vector<HoldKind> kinds;
        if (lock.state.type == WaitObject::wait_group)
            kinds = {HoldKind::group};
        else if (lock.state.type == WaitObject::mutex)
            kinds = {HoldKind::exclusive};
        else
            kinds = {HoldKind::exclusive, HoldKind::shared};
        if (const auto waiters = deferred_before.find(lock.state.address);
            waiters != deferred_before.end() && lock.holders.empty()) {
            lock.possible_cut |= waiters->second.size() + lock.possible.size() > 8;
            for (std::uint32_t g : waiters->second)
                if (lock.possible.size() < 8)
                    lock.possible.push_back({fmt::format("goroutine {} waits for it, and has its release deferred "
                                                         "already: it may hold it itself",
                                                         process.goroutines->all[g].goid),
                                             g, true});
        }
        for (HoldKind kind : kinds) {
            for (bool standard : {false, true}) {
                if (standard && !standard_lock) continue;
                for (const Unknown* u : by_kind[{kind, standard}]) {
                    if (waits[u->goroutine].size() == 1 && waits[u->goroutine][0].address == lock.state.address)
                        continue;
                    if (lock.possible.size() >= 8) {
                        lock.possible_cut = true;
                        break;
                    }
                    lock.possible.push_back(
                        {fmt::format("goroutine {} will release a lock in {} whose address is not known yet",
                                     process.goroutines->all[u->goroutine].goid, u->function),
                         u->goroutine, false});
                }
            }
            for (auto& [what, of] : unknown_callbacks) {
                if (of != kind) continue;
                lock.possible_cut |= lock.possible.size() >= 8;
                if (lock.possible.size() < 8) lock.possible.push_back({what, std::nullopt, false});
            }
        }
    }
}

LockPicture find_locks(const Process& process) {
    if (!process.go || !process.goroutines || process.stacks.empty()) {
        LockPicture picture;
        const WaitNodes nodes(process);
        add_pthread_edges(process, nodes, picture.edges);
        picture.cycles = find_cycles(nodes.count(), picture.edges);
        return picture;
    }
    LockFinder finder(process);
    finder.read_waiters();
    const auto& all = process.goroutines->all;
    for (std::uint32_t i = 0; i < all.size(); ++i) finder.follow(i);
    finder.assign_holders();
    finder.read_callbacks();
    finder.find_references();
    finder.find_function_values();
    finder.add_possible();
    finder.connect();
    finder.find_cycles();
    finder.sort();
    return std::move(finder.picture);
}

}  // namespace incident
