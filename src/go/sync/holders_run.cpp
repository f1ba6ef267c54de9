// Following code: see holders.h.
#include "go/sync/holders_run.h"

#include <algorithm>
#include <unordered_map>

namespace incident::go {

namespace {

constexpr std::size_t max_cells = 256;
constexpr std::size_t max_unresolved = 8;
constexpr std::uint8_t max_visits = 2;  // of one jump target: loops are followed twice
constexpr int max_rounds = 6;           // of a loop: the first with what is known, the others with what any round has
constexpr int max_depth = 5;
constexpr std::size_t max_exits = 3;

struct Names {
    unsigned rax, rbx, rcx, rdx, rdi, rsi, r8, r9, r10, r11, r12, r13, r14, sp, bp;
    Names() {
        auto index = [](std::string_view name) {
            const auto& rows = x86_64().registers;
            for (unsigned i = 0; i < rows.size(); ++i)
                if (rows[i].name == name) return i;
            return 0u;
        };
        rax = index("rax");
        rbx = index("rbx");
        rcx = index("rcx");
        rdx = index("rdx");
        rdi = index("rdi");
        rsi = index("rsi");
        r8 = index("r8");
        r9 = index("r9");
        r10 = index("r10");
        r11 = index("r11");
        r12 = index("r12");
        r13 = index("r13");
        r14 = index("r14");
        sp = index("rsp");
        bp = index("rbp");
    }
};
const Names& names() {
    static const Names table;
    return table;
}

bool overlaps(const Cell& cell, Symbolic at, unsigned size) {
    if (cell.at.base != at.base) return false;
    const auto distance = static_cast<std::int64_t>(cell.at.offset - at.offset);
    return distance < static_cast<std::int64_t>(size) && -distance < static_cast<std::int64_t>(cell.size);
}

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

}  // namespace

void CodeRun::set(CpuState& state, std::string_view name, std::uint64_t value) const {
    const auto& rows = x86_64().registers;
    for (unsigned i = 0; i < rows.size() && i < state.registers.size(); ++i)
        if (rows[i].name == name) state.registers[i] = {0, value};
}

Symbolic CodeRun::load(CpuState& state, Symbolic at, unsigned size) {
    for (std::size_t i = state.memory.size(); i-- > 0;) {
        const Cell& cell = state.memory[i];
        if (!overlaps(cell, at, size)) continue;
        return cell.at == at && cell.size == size ? cell.value : fresh();
    }
    if (at.known()) {
        std::uint64_t value = 0;
        const std::byte* bytes = size <= 8 ? book_.memory().data_at(Address{at.offset}, size) : nullptr;
        if (bytes == nullptr) return fresh();
        std::memcpy(&value, bytes, size);
        return {0, value};
    }
    // The same unknown place twice holds the same unknown value.
    Symbolic value =
        size == 8 ? Symbolic{(at.base * 0x9e3779b97f4a7c15ull ^ at.offset * 0xc2b2ae3d27d4eb4full) | 1ull << 63, 0}
                  : fresh();
    return value;
}

void CodeRun::store(CpuState& state, Symbolic at, unsigned size, Symbolic value) {
    std::erase_if(state.memory,
                  [&](const Cell& cell) { return overlaps(cell, at, size) && cell.at == at && cell.size <= size; });
    if (state.memory.size() >= max_cells) {
        state.memory.erase(state.memory.begin());
        result_.incomplete = true;
    }
    state.memory.push_back({at, value, static_cast<std::uint8_t>(std::min(size, 64u))});
}

Symbolic CodeRun::operand(const CpuState& state, const CodeStep& step) {
    if (step.has_absolute) return {0, step.absolute.value};
    if (step.tls) return {~0ull, static_cast<std::uint64_t>(step.displacement)};
    Symbolic sum{0, static_cast<std::uint64_t>(step.displacement)};
    if (step.base >= 0 && step.base < 24) {
        const Symbolic& base = state.registers[static_cast<unsigned>(step.base)];
        sum = {base.base, base.offset + sum.offset};
    }
    if (step.index >= 0) {
        const Symbolic index = step.index < 24 ? state.registers[static_cast<unsigned>(step.index)] : Symbolic{1, 0};
        if (!index.known() || !sum.known()) {
            if (!index.known()) return fresh();
            sum.offset += index.offset * static_cast<unsigned>(step.scale);
        } else {
            sum.offset += index.offset * static_cast<unsigned>(step.scale);
        }
    }
    return sum;
}

void CodeRun::apply(CpuState& state, const CodeStep& step) {
    auto& r = state.registers;
    auto put = [&](int index, Symbolic value, unsigned width) {
        if (index < 0 || index >= 24) return;
        if (width == 4 && value.known())
            value.offset &= 0xffffffffu;
        else if (width == 4)
            value = value.offset == 0 ? value : fresh();
        else if (width < 4)
            value = fresh();
        r[static_cast<unsigned>(index)] = value;
    };
    const auto source = [&]() -> Symbolic {
        if (step.has_immediate) return {0, static_cast<std::uint64_t>(step.immediate)};
        if (step.source >= 0 && step.source < 24) return r[static_cast<unsigned>(step.source)];
        return fresh();
    };
    switch (step.kind) {
        case StepKind::nothing: return;
        case StepKind::move:
            if (step.has_memory && step.destination < 0) {
                Symbolic value = source();
                if (value.known() && step.memory_size < 8) value.offset &= (1ull << step.memory_size * 8) - 1;
                store(state, operand(state, step), step.memory_size, value);
            } else if (step.has_memory) {
                Symbolic value = step.tls ? fresh() : load(state, operand(state, step), step.memory_size);
                put(step.destination, value, std::max<unsigned>(step.width, value.known() ? 4u : step.width));
            } else {
                put(step.destination, source(), step.width);
            }
            return;
        case StepKind::lea: put(step.destination, operand(state, step), step.width); return;
        case StepKind::zero: put(step.destination, {0, 0}, 8); return;
        case StepKind::add:
        case StepKind::subtract: {
            if (step.has_memory && step.memory_written) {
                store(state, operand(state, step), step.memory_size, fresh());
                return;
            }
            if (step.destination < 0) return;
            Symbolic value = r[static_cast<unsigned>(step.destination) % 24];
            Symbolic by = step.has_memory ? fresh() : source();
            if (!by.known() && value.known() && step.kind == StepKind::add) std::swap(by, value);
            if (!by.known())
                value = fresh();
            else
                value.offset = step.kind == StepKind::add ? value.offset + by.offset : value.offset - by.offset;
            put(step.destination, value, step.width);
            return;
        }
        case StepKind::push: {
            Symbolic value = source();
            r[names().sp].offset -= 8;
            store(state, r[names().sp], 8, value);
            return;
        }
        case StepKind::pop: {
            Symbolic value = load(state, r[names().sp], 8);
            r[names().sp].offset += 8;
            put(step.destination, value, 8);
            return;
        }
        case StepKind::wide_move:
            if (step.has_memory && step.memory_written) {
                Symbolic at = operand(state, step);
                store(state, at, 8, step.zero_vector ? Symbolic{} : fresh());
                store(state, {at.base, at.offset + 8}, 8, step.zero_vector ? Symbolic{} : fresh());
            } else if (step.destination >= 0) {
                put(step.destination, fresh(), 8);
            }
            return;
        case StepKind::arithmetic_pair:
            r[names().rax] = fresh();
            r[names().rdx] = fresh();
            break;
        case StepKind::string_move:
            r[names().rdi] = fresh();
            r[names().rsi] = fresh();
            r[names().rcx] = fresh();
            return;
        case StepKind::other: break;
    }
    // xadd and xchg write their register too.
    if (step.has_memory && step.memory_written) {
        store(state, operand(state, step), step.memory_size, fresh());
        if (step.source >= 0 && step.source < 24) r[static_cast<unsigned>(step.source)] = fresh();
    }
    if (step.destination >= 0 && step.destination < 24 && step.destination != static_cast<int>(names().sp))
        r[static_cast<unsigned>(step.destination)] = fresh();
}

Symbolic CodeRun::argument(CpuState& state, unsigned number) {
    if (register_arguments()) return state.registers[number == 0 ? names().rax : names().rbx];
    Symbolic sp = state.registers[names().sp];
    return load(state, {sp.base, sp.offset + number * 8}, 8);
}

void CodeRun::count(CpuState& state, LockOp op, Symbolic lock, Symbolic delta, const CodeStep& step,
                    const FunctionCode& code, bool rwmutex) {
    const HoldKind kind = hold_kind(op);
    bool takes = op == LockOp::lock || op == LockOp::rlock;
    if (op == LockOp::group_add) {
        if (!delta.known()) return;  // the usual Add(n) of a starter
        takes = static_cast<std::int64_t>(delta.offset) > 0;
        if (delta.offset == 0) return;
    }
    const bool channel = kind == HoldKind::receive || kind == HoldKind::send;
    auto at = std::ranges::find_if(state.counts, [&](const Count& c) { return c.lock == lock && c.kind == kind; });
    if (at == state.counts.end()) {
        state.counts.push_back({lock, kind, 0});
        at = state.counts.end() - 1;
    }
    if (takes) {
        if (at->net < 100) ++at->net;
        return;
    }
    if (at->net > -100) --at->net;
    if (at->net >= 0 && !channel) return;
    // An address in the first page is a slot that nobody has filled yet: as good as unknown.
    auto address = lock.known() && lock.offset >= 4096 ? std::optional(Address{lock.offset}) : std::nullopt;
    bool listed = std::ranges::any_of(result_.releases, [&](const Release& r) {
        return r.kind == kind && r.address == address && (address || r.site == step.pc);
    });
    if (!listed && result_.releases.size() < 256)
        result_.releases.push_back({kind, address, step.pc, code.func.name, code.facts.standard, rwmutex});
}

void CodeRun::forget_passed(CpuState& state, Symbolic value, bool deep) {
    if (!value.known() || !stack.contains(Address{value.offset})) return;
    Address at{value.offset};
    AddressRange range{at, at + 8};
    for (const AddressRange& object : objects)
        if (object.contains(at)) range = object;
    for (Address word = range.begin.align_down(8); word < range.end && word < range.begin + 2048; word += 8) {
        if (deep) {
            Symbolic inner = load(state, {0, word.value}, 8);
            if (inner.known() && inner.offset != value.offset) forget_passed(state, inner, false);
        }
        store(state, {0, word.value}, 8, fresh());
    }
}

void CodeRun::clobber(CpuState& state, Address callee) {
    auto& r = state.registers;
    const Symbolic sp = r[names().sp], bp = r[names().bp], g = r[names().r14];
    for (unsigned i : {names().rax, names().rbx, names().rcx, names().rdi, names().rsi, names().r8, names().r9,
                       names().r10, names().r11})
        forget_passed(state, r[i], true);
    if (!register_arguments() && sp.known()) {
        // Arguments and results lie above sp; results are new.
        auto func = book_.runtime().find_func(callee);
        const std::uint64_t bytes =
            func && func->args > 0 && func->args < 512 ? static_cast<std::uint64_t>(func->args) : 64;
        for (std::uint64_t i = 0; i < bytes; i += 8) forget_passed(state, load(state, {0, sp.offset + i}, 8), true);
        for (std::uint64_t i = 0; i < bytes; i += 8) store(state, {0, sp.offset + i}, 8, fresh());
    }
    for (auto& value : r) value = fresh();
    r[names().sp] = sp;
    r[names().bp] = bp;
    r[names().r14] = g;
}

std::vector<CpuState> CodeRun::call_closure(FunctionCode& code, const CodeStep& step, CpuState state, Symbolic closure,
                                            int depth) {
    if (!closure.known()) {
        if (result_.unresolved.size() < max_unresolved) result_.unresolved.push_back(step.pc);
        return {std::move(state)};
    }
    auto entry = book_.memory().load_address(Address{closure.offset});
    if (!entry) return {std::move(state)};
    state.registers[names().rdx] = closure;
    return call(code, step, std::move(state), *entry, depth);
}

std::vector<CpuState> CodeRun::call(FunctionCode& code, const CodeStep& step, CpuState state, Address target,
                                    int depth) {
    const CalleeFacts& facts = book_.facts(target);
    std::vector<CpuState> after;
    switch (facts.kind) {
        case CalleeKind::never_returns: return after;
        case CalleeKind::spares_registers:
            state.registers[names().rdi] = fresh();
            state.registers[names().rsi] = fresh();
            state.registers[names().r11] = fresh();
            state.registers[names().r12] = fresh();
            after.push_back(std::move(state));
            return after;
        case CalleeKind::primitive:
            count(state, facts.op, argument(state, 0), argument(state, 1), step, code, facts.rwmutex);
            break;
        case CalleeKind::spawns: {
            // What a new goroutine releases counts as this one's: it is certain to come.
            Symbolic closure = argument(state, register_arguments() ? 0 : 1);
            CpuState other = state;
            other.registers[names().sp] = {0, 0x10};  // nothing of ours is on its stack
            call_closure(code, step, std::move(other), closure, depth + 1);
            break;
        }
        case CalleeKind::deferreturn: {
            for (auto& pending : records)
                if (depth == 0 && !pending.closure.is_null()) {
                    auto states = call_closure(code, step, state, {0, pending.closure.value}, depth + 1);
                    if (!states.empty()) state.counts = std::move(states.front().counts);
                }
            auto deferred = std::move(state.deferred);
            state.deferred.clear();
            for (auto& closure : deferred) {
                auto states = call_closure(code, step, state, closure, depth + 1);
                if (!states.empty()) state.counts = std::move(states.front().counts);
            }
            break;
        }
        case CalleeKind::opaque: break;
        case CalleeKind::ordinary: {
            FunctionCode* callee = book_.function(target);
            if (callee == nullptr || depth >= max_depth || !book_.reaches_release(*callee, max_depth - depth - 1))
                break;
            const Symbolic sp = state.registers[names().sp], bp = state.registers[names().bp],
                           g = state.registers[names().r14];
            CpuState inside = state;
            inside.registers[names().sp].offset -= 8;
            store(inside, inside.registers[names().sp], 8, {0, step.pc.value + step.size});
            inside.deferred.clear();
            const std::int32_t first = callee->step_at(target);
            // A callee gets half of what is left: a database's commit, followed to the last path, must not cost us the
            // Unlock right after it. One that needs more is passed by as something that may do anything.
            const std::size_t limit = limit_;
            limit_ = steps_ + (limit - std::min(limit, steps_)) / 2;
            after = follow(*callee, std::max(first, 0), std::move(inside), depth + 1);
            const bool starved = steps_ > limit_;
            limit_ = limit;
            if (after.empty() && starved) break;
            for (CpuState& exit : after) {
                exit.registers[names().sp] = sp;
                exit.registers[names().bp] = bp;
                exit.registers[names().r14] = g;
                exit.deferred = state.deferred;
            }
            return after;
        }
    }
    clobber(state, target);
    after.push_back(std::move(state));
    return after;
}

void CodeRun::widen(CpuState& state, const CpuState& before) {
    for (unsigned i = 0; i < state.registers.size(); ++i)
        if (i != names().sp && i != names().bp && !(state.registers[i] == before.registers[i]))
            state.registers[i] = fresh();
    CpuState earlier = before;
    for (Cell& cell : state.memory)
        if (!(load(earlier, cell.at, cell.size) == cell.value)) cell.value = fresh();
}

std::vector<CpuState> CodeRun::follow(FunctionCode& code, std::int32_t first, CpuState start, int depth) {
    std::vector<CpuState> exits;
    std::vector<std::pair<std::int32_t, CpuState>> open;
    std::vector<std::uint8_t> visits(code.steps.size());
    std::unordered_map<std::int32_t, std::pair<CpuState, int>> heads;
    open.emplace_back(first, std::move(start));
    auto branch = [&](std::int32_t to, CpuState state) {
        // Loops have a bound of their own, below: cut here, their second round would never be seen as "any round".
        if (to >= 0 &&
            (code.loop_head[static_cast<std::size_t>(to)] || visits[static_cast<std::size_t>(to)]++ < max_visits))
            open.emplace_back(to, std::move(state));
    };
    auto leave = [&](CpuState&& state) {
        auto same = [&](const CpuState& other) {
            return std::ranges::equal(other.counts, state.counts, [](const Count& a, const Count& b) {
                return a.lock == b.lock && a.kind == b.kind && a.net == b.net;
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
                    widen(state, head->second.first);
                }
            }
            if (++steps_ > limit_) {
                result_.incomplete = true;
                return exits;
            }
            const CodeStep& step = code.steps[static_cast<std::size_t>(at)];
            if (step.op != LockOp::none) {
                Symbolic lock = operand(state, step);
                lock.offset -= static_cast<std::uint64_t>(step.op_offset);
                count(state, step.op, lock, {}, step, code);
            }
            if (step.flow == Flow::next) {
                apply(state, step);
                continue;
            }
            if (step.flow == Flow::ret) {
                leave(std::move(state));
                break;
            }
            if (step.flow == Flow::trap) break;
            if (step.flow == Flow::conditional_jump) {
                branch(step.target_step, state);
                continue;
            }
            if (step.flow == Flow::jump && step.target_step >= 0) {
                branch(step.target_step, std::move(state));
                break;
            }
            // A call, or a jump out of the function: a tail call.
            std::optional<Address> target;
            if (step.flow == Flow::call || step.flow == Flow::jump)
                target = step.target;
            else {
                Symbolic value = step.has_memory ? load(state, operand(state, step), 8)
                                 : step.source >= 0 && step.source < 24
                                     ? state.registers[static_cast<unsigned>(step.source)]
                                     : fresh();
                if (value.known() && value.offset != 0) target = Address{value.offset};
            }
            const bool tail = step.flow == Flow::jump || step.flow == Flow::indirect_jump;
            if (!target) {
                if (step.flow == Flow::indirect_jump) {
                    result_.incomplete = true;
                    break;
                }  // a switch's table
                if (result_.unresolved.size() < max_unresolved) result_.unresolved.push_back(step.pc);
                clobber(state, {});
                continue;
            }
            if (book_.facts(*target).kind == CalleeKind::opaque && step.flow == Flow::call) {
                std::string_view name;
                if (auto func = book_.runtime().find_func(*target)) name = func->name;
                if (name == "runtime.deferproc" || name == "runtime.deferprocStack") {
                    // deferproc(closure), deferprocStack(*_defer) with fn in it; its frame's deferreturn will run it.
                    Symbolic value = argument(state, register_arguments() || name == "runtime.deferprocStack" ? 0 : 1);
                    const auto& layout = book_.runtime().layout();
                    if (name == "runtime.deferprocStack")
                        value = load(state,
                                     {value.base,
                                      value.offset + static_cast<std::uint64_t>(std::max(layout._defer.fn.offset, 0))},
                                     8);
                    if (state.deferred.size() < 16) state.deferred.insert(state.deferred.begin(), value);
                }
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

void CodeRun::finish(const std::vector<CpuState>& exits) {
    result_.returns = !exits.empty();
    for (const CpuState& exit : exits)
        for (const Count& c : exit.counts) {
            if (!c.lock.known()) continue;
            auto same = [&](const Balance& b) { return b.address.value == c.lock.offset && b.kind == c.kind; };
            if (std::ranges::any_of(result_.balances, same)) continue;
            Balance balance{Address{c.lock.offset}, c.kind, 1000, -1000};
            for (const CpuState& other : exits) {
                auto found = std::ranges::find_if(other.counts,
                                                  [&](const Count& o) { return o.lock == c.lock && o.kind == c.kind; });
                const int net = found == other.counts.end() ? 0 : found->net;
                balance.least = std::min(balance.least, net);
                balance.most = std::max(balance.most, net);
            }
            result_.balances.push_back(balance);
        }
}

}  // namespace incident::go
