// Following code: see holders.h.
#include "go/sync/holders_run.h"

#include <algorithm>
#include <unordered_map>

namespace incident::go {

namespace {

constexpr std::size_t max_unresolved = 8;
constexpr std::uint8_t max_visits = 2;  // of one jump target: loops are followed twice
constexpr std::size_t max_ways = 8;     // of one jump target: those that took, gave back or deferred something else
constexpr int max_rounds = 6;           // of a loop: the first with what is known, the others with what any round has
constexpr int max_depth = 5;
constexpr std::size_t max_exits = 3;
constexpr std::size_t max_deferred = 16;
constexpr std::uint64_t max_deferred_bytes = 64;  // of one deferred call's arguments

HoldKind hold_kind(LockOp op) {
    switch (op) {
        case LockOp::rlock:
        case LockOp::runlock: return HoldKind::shared;
        case LockOp::group_add:
        case LockOp::group_done: return HoldKind::group;
        case LockOp::receive: return HoldKind::receive;
        case LockOp::send: return HoldKind::send;
        default: return HoldKind::exclusive;
    }
}

/// What a path has done with locks, and the bits of open-coded defers (bytes that the code itself set): by this the
/// cases of a switch differ where they join.
std::uint64_t way_of(const PathState& state) {
    std::uint64_t way = state.deferred.size();
    const auto add = [&way](std::uint64_t word) { way = (way ^ word) * 0x9e3779b97f4a7c15 + (way >> 29); };
    for (const Count& c : state.counts) {
        add(c.lock.base ^ c.lock.offset);
        add(static_cast<std::uint64_t>(c.kind) << 32 ^ static_cast<std::uint32_t>(c.net));
    }
    for (const Cell& cell : state.memory)
        if (cell.size == 1 && cell.value.literal) add(cell.at.base ^ cell.at.offset << 8 ^ cell.value.offset);
    return way;
}

}  // namespace

Symbolic CodeRun::argument(PathState& state, unsigned number) {
    if (register_arguments()) return state[number == 0 ? rows().rax : rows().rbx];
    return cpu_.load(state, state[rows().sp].plus(number * 8), 8);
}

bool CodeRun::count(PathState& state, LockOp op, Symbolic lock, Symbolic delta, const CodeStep& step,
                    const FunctionCode& code, bool rwmutex) {
    const HoldKind kind = hold_kind(op);
    cpu_.touch(lock, 1);  // way_of compares it with those of other paths
    bool takes = op == LockOp::lock || op == LockOp::try_lock || op == LockOp::rlock;
    if (op == LockOp::group_add) {
        if (!delta.known()) return true;  // the usual Add(n) of a starter
        cpu_.needs(delta);
        takes = static_cast<std::int64_t>(delta.offset) > 0;
        if (delta.offset == 0) return true;
    }
    const bool channel = kind == HoldKind::receive || kind == HoldKind::send;
    auto at =
        std::ranges::find_if(state.counts, [&](const Count& c) { return c.kind == kind && cpu_.equal(c.lock, lock); });
    if (at == state.counts.end()) {
        state.counts.push_back({lock, kind, 0});
        at = state.counts.end() - 1;
    }
    if (takes) {
        if (op == LockOp::lock && lock.known() && at->net > 0) return false;
        if (at->net < 100) ++at->net;
        return true;
    }
    if (at->net > -100) --at->net;
    if (at->net >= 0 && !channel) return true;
    // An address in the first page is a slot that nobody has filled yet: as good as unknown.
    auto address = lock.known() && lock.offset >= 4096 ? std::optional(Address{lock.offset}) : std::nullopt;
    bool listed = false;
    for (std::size_t i = 0; i < result_.releases.size() && !listed; ++i) {
        const Release& r = result_.releases[i];
        if (r.kind != kind || r.address.has_value() != address.has_value()) continue;
        listed = address ? cpu_.equal(released[i], lock) : r.site == step.pc;
    }
    if (!listed && result_.releases.size() < 256) {
        result_.releases.push_back({kind, address, step.pc, code.func.name, code.facts.standard, rwmutex});
        released.push_back(lock);
    }
    return true;
}

void CodeRun::forget_passed(PathState& state, Symbolic value, bool deep) {
    if (!value.known() || value.offset < Symbolic::first_place) return;
    cpu_.touch(value, 1);
    if (!stack.contains(Address{value.offset})) return;
    Address at{value.offset};
    AddressRange range{at, at + 8};
    for (const AddressRange& object : objects)
        if (object.contains(at)) range = object;
    const bool closure = made_closure(state, range.begin);
    for (Address word = range.begin.align_down(8); word < range.end && word < range.begin + 2048; word += 8) {
        if (deep) {
            Symbolic inner = cpu_.load(state, on_stack(word), 8);
            if (inner.known() && !cpu_.equal(inner, value)) forget_passed(state, inner, false);
        }
        if (!closure) cpu_.store(state, on_stack(word), 8, cpu_.fresh());
    }
}

bool CodeRun::made_closure(const PathState& state, Address at) {
    cpu_.touch(on_stack(at), 8);
    const auto made = std::ranges::find_if(
        state.memory, [&](const Cell& cell) { return cell.size == 8 && cell.at == Symbolic{0, at.value}; });
    if (made == state.memory.end() || !made->value.known() || made->value.offset == 0) return false;
    const Address entry{made->value.offset};
    const auto func = book_.runtime().find_func(entry);
    return func && func->entry == entry;
}

void CodeRun::clobber_registers(PathState& state) {
    const GeneralRows& r = rows();
    const Symbolic sp = state[r.sp], bp = state[r.bp], g = state[r.r14];
    for (Symbolic& value : state.registers) value = cpu_.fresh();
    state[r.sp] = sp;
    state[r.bp] = bp;
    state[r.r14] = g;
}

void CodeRun::clobber(PathState& state, Address callee) {
    const GeneralRows& r = rows();
    const Symbolic sp = state[r.sp];
    for (unsigned row : {r.rax, r.rbx, r.rcx, r.rdi, r.rsi, r.r8, r.r9, r.r10, r.r11})
        forget_passed(state, state[row], true);
    if (!register_arguments() && sp.known()) {
        // Arguments and results lie above sp; results are new.
        const std::uint64_t bytes = book_.argument_bytes(callee);
        for (std::uint64_t i = 0; i < bytes; i += 8)
            forget_passed(state, cpu_.load(state, {0, sp.offset + i}, 8), true);
        for (std::uint64_t i = 0; i < bytes; i += 8) cpu_.store(state, {0, sp.offset + i}, 8, cpu_.fresh());
    }
    clobber_registers(state);
}

std::vector<PathState> CodeRun::call_closure(FunctionCode& code, const CodeStep& step, PathState state,
                                             Symbolic closure, int depth) {
    // A closure that the code itself has made is in no core yet: on the stack, or where newobject will have put it.
    const Symbolic entry = cpu_.load(state, closure, 8);
    if (!closure.known() && !entry.known() && result_.unresolved.size() < max_unresolved)
        result_.unresolved.push_back(step.pc);
    if (!entry.known()) return {std::move(state)};
    state[rows().rdx] = closure;
    return call(code, step, std::move(state), Address{entry.offset}, depth);
}

std::vector<PathState> CodeRun::call(FunctionCode& code, const CodeStep& step, PathState state, Address target,
                                     int depth) {
    const CalleeFacts& facts = book_.facts(target);
    std::vector<PathState> after;
    switch (facts.kind) {
        case CalleeKind::never_returns: return after;
        case CalleeKind::spares_registers:
            state[rows().r11] = cpu_.fresh();
            if (!facts.write_barrier)
                for (unsigned row : {rows().rdi, rows().rsi, rows().r12}) state[row] = cpu_.fresh();
            after.push_back(std::move(state));
            return after;
        case CalleeKind::primitive:
            if (!count(state, facts.op, argument(state, 0), argument(state, 1), step, code, facts.rwmutex))
                return after;
            break;
        case CalleeKind::spawns: {
            // What a new goroutine releases counts as this one's: it is certain to come.
            Symbolic closure = argument(state, register_arguments() ? 0 : 1);
            PathState other = state;
            other[rows().sp] = {0, 1ull << 61};  // nothing of ours is on its stack, and no slice of nothing leads there
            call_closure(code, step, std::move(other), closure, depth + 1);
            break;
        }
        case CalleeKind::deferreturn: {
            auto deferred = std::move(state.deferred);
            state.deferred.clear();
            for (const DeferredCall& pending : deferred) {
                PathState before = state;
                for (std::size_t i = 0; i < pending.arguments.size(); ++i)
                    cpu_.store(before, state[rows().sp].plus(8 * i), 8, pending.arguments[i]);
                // A closure on the stack may have been forgotten with what was passed to a call since.
                if (pending.entry.known()) cpu_.store(before, pending.closure, 8, pending.entry);
                if (pending.captured.known()) cpu_.store(before, pending.closure.plus(8), 8, pending.captured);
                auto states = call_closure(code, step, std::move(before), pending.closure, depth);
                if (!states.empty()) state.counts = std::move(states.front().counts);
            }
            break;
        }
        case CalleeKind::defers:
            note_defer(state, target);
            clobber_registers(state);
            after.push_back(std::move(state));
            return after;
        case CalleeKind::opaque: break;
        case CalleeKind::ordinary: {
            FunctionCode* callee = book_.function(target);
            // The compiler's wrappers are no level of their own: a Lock that counts needs its deferred Unlock.
            const int inside_depth = callee != nullptr && callee->func.wrapper ? depth : depth + 1;
            if (callee == nullptr || inside_depth > max_depth ||
                (!book_.reaches_release(*callee, max_depth - inside_depth) && !book_.takes_lock(*callee)))
                break;
            const Symbolic sp = state[rows().sp], bp = state[rows().bp], g = state[rows().r14];
            PathState inside = state;
            inside[rows().sp].offset -= 8;
            cpu_.store(inside, inside[rows().sp], 8, {0, step.pc.value + step.size});
            inside.deferred.clear();
            const std::int32_t first = callee->step_at(target);
            // A callee gets half of what is left: a database's commit, followed to the last path, must not cost us the
            // Unlock right after it. One that needs more is passed by as something that may do anything.
            const std::size_t limit = limit_;
            limit_ = steps_ + (limit - std::min(limit, steps_)) / 2;
            after = follow(*callee, std::max(first, 0), std::move(inside), inside_depth);
            const bool starved = steps_ > limit_;
            limit_ = limit;
            if (after.empty() && starved) break;
            for (PathState& exit : after) {
                exit[rows().sp] = sp;
                exit[rows().bp] = bp;
                exit[rows().r14] = g;
                exit.deferred = state.deferred;
            }
            return after;
        }
    }
    clobber(state, target);
    after.push_back(std::move(state));
    return after;
}

std::optional<Address> CodeRun::target_of(const PathState& state, const CodeStep& step) {
    if (step.flow == Flow::call || step.flow == Flow::jump) return step.target;
    Symbolic value;
    if (step.has_memory)
        value = cpu_.load(state, cpu_.operand(state, step), 8);
    else if (const Symbolic* source = state.find(step.source))
        value = *source;
    if (value.offset < Symbolic::first_place) cpu_.needs(value);  // a nil function's call is no call
    return value.known() && value.offset != 0 ? std::optional(Address{value.offset}) : std::nullopt;
}

void CodeRun::note_defer(PathState& state, Address target) {
    const auto func = book_.runtime().find_func(target);
    if (!func || state.deferred.size() >= max_deferred) return;
    const auto& layout = book_.runtime().layout()._defer;
    const bool record = func->name == "runtime.deferprocStack";
    const Symbolic first = argument(state, 0);
    auto field = [&](std::int32_t offset, unsigned size) {
        return cpu_.load(state, first.plus(static_cast<std::uint64_t>(std::max(offset, 0))), size);
    };
    DeferredCall call;
    if (record)
        call.closure = field(layout.fn.offset, 8);
    else
        call.closure = register_arguments() ? first : argument(state, 1);
    // Every closure in memory that can be written has captured a word at least.
    call.entry = cpu_.load(state, call.closure, 8);
    call.captured = cpu_.load(state, call.closure.plus(8), 8);
    if (!register_arguments()) {
        const Symbolic size = record ? field(layout.siz.offset, 4) : cpu_.load(state, state[rows().sp], 4);
        cpu_.needs(size);
        const Symbolic from = record ? first.plus(layout.size) : state[rows().sp].plus(16);
        for (std::uint64_t at = 0; size.known() && at < std::min(size.offset, max_deferred_bytes); at += 8)
            call.arguments.push_back(cpu_.load(state, from.plus(at), 8));
    }
    state.deferred.insert(state.deferred.begin(), std::move(call));
}

std::vector<PathState> CodeRun::follow(FunctionCode& code, std::int32_t first, PathState start, int depth) {
    std::vector<PathState> exits;
    std::vector<std::pair<std::int32_t, PathState>> open;
    std::vector<std::uint8_t> visits(code.steps.size());
    std::unordered_map<std::int32_t, std::pair<CpuState, int>> heads;
    std::unordered_map<std::int32_t, std::vector<std::uint64_t>> ways;
    open.emplace_back(first, std::move(start));
    auto branch = [&](std::int32_t to, PathState state) {
        // Loops have a bound of their own, below: cut here, their second round would never be seen as "any round".
        if (to < 0) return;
        const auto at = static_cast<std::size_t>(to);
        if (!code.loop_head[at]) {
            std::vector<std::uint64_t>& known = ways[to];
            const std::uint64_t way = way_of(state);
            const bool another = std::ranges::find(known, way) == known.end();
            if (another && known.size() < max_ways) {
                known.push_back(way);
            } else if (visits[at] >= (code.joined_from_below[at] ? max_rounds : max_visits)) {
                result_.incomplete |= another;
                return;
            }
            if (visits[at] < UINT8_MAX) ++visits[at];
        }
        open.emplace_back(to, std::move(state));
    };
    auto leave = [&](PathState&& state) {
        auto same = [&](const PathState& other) {
            return std::ranges::equal(other.counts, state.counts, [this](const Count& a, const Count& b) {
                return a.kind == b.kind && a.net == b.net && cpu_.equal(a.lock, b.lock);
            });
        };
        if (exits.size() < max_exits + (depth == 0 ? 29 : 0) && std::ranges::none_of(exits, same))
            exits.push_back(std::move(state));
    };
    while (!open.empty()) {
        auto [at, state] = std::move(open.back());
        open.pop_back();
        for (;; ++at) {
            if (at < 0 || static_cast<std::size_t>(at) >= code.steps.size()) {
                result_.incomplete |= !code.complete;
                break;
            }
            if (code.loop_head[static_cast<std::size_t>(at)]) {
                auto [head, fresh_head] = heads.try_emplace(at, state, 0);
                if (!fresh_head) {
                    if (++head->second.second >= max_rounds) break;
                    cpu_.widen(state, head->second.first);
                }
            }
            if (++steps_ > limit_) {
                result_.incomplete = true;
                return exits;
            }
            const CodeStep& step = code.steps[static_cast<std::size_t>(at)];
            if (step.op != LockOp::none) {
                Symbolic lock = cpu_.operand(state, step);
                lock.offset -= static_cast<std::uint64_t>(step.op_offset);
                if (!count(state, step.op, lock, {}, step, code)) break;
            }
            if (step.flow == Flow::next) {
                cpu_.apply(state, step);
                continue;
            }
            if (step.flow == Flow::ret) {
                leave(std::move(state));
                break;
            }
            if (step.flow == Flow::trap) break;
            if (step.flow == Flow::conditional_jump) {
                const auto jumps = at > 0
                                       ? SymbolicCpu::jumps(state, code.steps[static_cast<std::size_t>(at) - 1], step)
                                       : std::nullopt;
                if (jumps == false) continue;
                branch(step.target_step, state);
                if (jumps == true) break;
                continue;
            }
            if (step.flow == Flow::jump && step.target_step >= 0) {
                branch(step.target_step, std::move(state));
                break;
            }
            // A call, or a jump out of the function: a tail call.
            const std::optional<Address> target = target_of(state, step);
            const bool tail = step.flow == Flow::jump || step.flow == Flow::indirect_jump;
            if (!target) {
                if (tail) {  // a switch's table
                    result_.incomplete = true;
                    break;
                }
                if (result_.unresolved.size() < max_unresolved) result_.unresolved.push_back(step.pc);
                clobber(state, {});
                continue;
            }
            auto after = call(code, step, std::move(state), *target, depth);
            if (tail) {
                for (auto& s : after) leave(std::move(s));
                break;
            }
            if (after.empty()) break;
            for (std::size_t i = 1; i < after.size(); ++i) open.emplace_back(at + 1, std::move(after[i]));
            state = std::move(after.front());
        }
    }
    return exits;
}

void CodeRun::finish(const std::vector<PathState>& exits) {
    result_.returns = !exits.empty();
    result_.incomplete |= cpu_.dropped_cells();
    for (const PathState& exit : exits)
        for (const Count& c : exit.counts) {
            if (!c.lock.known()) continue;
            bool listed = false;
            for (std::size_t i = 0; i < result_.balances.size() && !listed; ++i)
                listed = result_.balances[i].kind == c.kind && cpu_.equal(balanced[i], c.lock);
            if (listed) continue;
            Balance balance{Address{c.lock.offset}, c.kind, 1000, -1000};
            for (const PathState& other : exits) {
                auto found = std::ranges::find_if(
                    other.counts, [&](const Count& o) { return o.kind == c.kind && cpu_.equal(o.lock, c.lock); });
                const int net = found == other.counts.end() ? 0 : found->net;
                balance.least = std::min(balance.least, net);
                balance.most = std::max(balance.most, net);
            }
            result_.balances.push_back(balance);
            balanced.push_back(c.lock);
        }
}

}  // namespace incident::go
