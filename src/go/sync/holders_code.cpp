// Decoding for holders.h.
#include "go/sync/holders_code.h"

#include <algorithm>

#include "base/go_names.h"

namespace incident::go {

namespace {

constexpr std::size_t max_steps = 20000;  // of one function; longer ones are cut and count as undecodable
constexpr int reach_levels = 4;

bool starts_with_any(std::string_view name, std::initializer_list<std::string_view> prefixes) {
    return std::ranges::any_of(prefixes, [&](std::string_view p) { return name.starts_with(p); });
}

LockOp sync_operation(std::string_view name) {
    if (name.starts_with("internal/")) name.remove_prefix(9);
    if (!name.starts_with("sync.(*")) return LockOp::none;
    name.remove_prefix(7);
    if (name == "Mutex).Lock" || name == "RWMutex).Lock") return LockOp::lock;
    if (name == "Mutex).TryLock" || name == "RWMutex).TryLock") return LockOp::try_lock;
    if (name == "Mutex).Unlock" || name == "RWMutex).Unlock") return LockOp::unlock;
    if (name == "RWMutex).RLock" || name == "RWMutex).TryRLock" || name == "rlocker).Lock") return LockOp::rlock;
    if (name == "RWMutex).RUnlock" || name == "rlocker).Unlock") return LockOp::runlock;
    if (name == "WaitGroup).Add") return LockOp::group_add;
    if (name == "WaitGroup).Done") return LockOp::group_done;
    return LockOp::none;
}

std::uint8_t width_of(std::string_view operands) {
    std::string_view first = operands.substr(0, operands.find(','));
    if (first.size() < 2) return 8;
    if (first[0] == 'e') return 4;
    if (first[0] != 'r') return 1;
    switch (first.back()) {
        case 'd': return 4;
        case 'w': return 2;
        case 'b': return 1;
        default: return 8;
    }
}

/// The second operand of "[rsp + 8], ecx".
std::uint8_t source_width(std::string_view operands) {
    auto comma = operands.rfind(", ");
    return comma == std::string_view::npos ? width_of(operands) : width_of(operands.substr(comma + 2));
}

StepKind kind_of(const Instruction& i) {
    const std::string& m = i.mnemonic;
    if (i.lea) return StepKind::lea;
    if (m == "mov" || m == "movabs" || m == "movzx") return StepKind::move;
    if (m == "add" || m == "inc") return StepKind::add;
    if (m == "sub" || m == "dec") return StepKind::subtract;
    if (m == "xor" && i.memory.empty()) {
        auto comma = i.operands.find(", ");
        if (comma != std::string::npos && i.operands.compare(0, comma, i.operands, comma + 2) == 0)
            return StepKind::zero;
    }
    if (m == "push") return StepKind::push;
    if (m == "pop") return StepKind::pop;
    if (m == "test" && i.immediate && i.memory.empty() && (i.destination || i.source)) return StepKind::test;
    if (m == "and") return StepKind::bit_and;
    if (m == "cmp" || m == "test" || m == "nop" || m == "bt" || m == "ucomisd" || m == "ucomiss")
        return StepKind::nothing;
    if (m.starts_with("movup") || m.starts_with("movap") || m.starts_with("movdq")) return StepKind::wide_move;
    if (m == "mul" || m == "imul" || m == "div" || m == "idiv" || m == "cqo" || m == "cdq" || m == "cdqe" ||
        m == "cpuid" || m == "rdtsc" || m == "xgetbv" || m.find("cmpxchg8b") != std::string::npos ||
        m.find("cmpxchg16b") != std::string::npos)
        return StepKind::arithmetic_pair;
    if (m.find("cmpxchg") != std::string::npos) return StepKind::compare_exchange;
    if (m.starts_with("rep") || m.starts_with("movs") || m.starts_with("stos")) return StepKind::string_move;
    return StepKind::other;
}

CodeStep boil(const Instruction& i) {
    CodeStep step;
    step.pc = i.pc;
    step.size = static_cast<std::uint8_t>(i.size);
    step.flow = i.flow;
    step.kind = kind_of(i);
    if (i.destination) step.destination = static_cast<std::int8_t>(*i.destination);
    if (i.source) step.source = static_cast<std::int8_t>(*i.source);
    if (i.immediate) {
        step.has_immediate = true;
        step.immediate = *i.immediate;
    }
    if (!i.immediate && i.mnemonic.size() == 3 && (i.mnemonic == "inc" || i.mnemonic == "dec")) {
        step.has_immediate = true;
        step.immediate = 1;
    }
    if (i.target) step.target = *i.target;
    if (!i.memory.empty()) {
        const MemoryOperand& m = i.memory.front();
        step.has_memory = true;
        step.memory_written = m.written;
        step.memory_size = static_cast<std::uint8_t>(m.size);
        step.tls = m.fs_relative || m.gs_relative;
        if (m.base) step.base = static_cast<std::int8_t>(*m.base);
        if (m.index) step.index = static_cast<std::int8_t>(*m.index);
        step.scale = static_cast<std::int8_t>(m.scale);
        step.displacement = m.displacement;
        if (m.absolute) {
            step.has_absolute = true;
            step.absolute = *m.absolute;
        }
    }
    if (step.kind == StepKind::test && step.destination < 0) step.destination = step.source;
    if (i.flow == Flow::conditional_jump) step.on_zero = i.mnemonic == "je" ? 1 : i.mnemonic == "jne" ? -1 : 0;
    step.zero_vector = step.kind == StepKind::wide_move && i.operands.ends_with("xmm15");
    step.width = step.has_memory && step.memory_written ? source_width(i.operands) : width_of(i.operands);
    // An indirect call names its register as an operand that is read only.
    if ((i.flow == Flow::indirect_call || i.flow == Flow::indirect_jump) && step.source < 0 && i.destination)
        step.source = step.destination;
    return step;
}

/// Made inside a function of the standard library and deferred there: log.(*Logger).output holds its lock by one while
/// it writes to a pipe that nobody empties. The runtime's own take no such lock, except that which runs a cleanup.
/// go1.24, 1.25 src/runtime/mcleanup.go
bool is_local_closure(std::string_view name) {
    return (!name.starts_with("runtime.") || name.starts_with("runtime.AddCleanup[")) &&
           (name.find(".deferwrap") != std::string_view::npos || name.find("·dwrap·") != std::string_view::npos ||
            name.find(".func") != std::string_view::npos);
}

/// Runs a function that the program gave it, when a connection ends: httptest.Server's ConnState counts its connections
/// down, and Close waits for that.
bool runs_hooks(std::string_view name) { return name == "net/http.(*conn).setState"; }

/// The method value mu.Unlock: what it does is in its own code, to the lock that it was made of.
bool is_method_value(std::string_view name) { return name.starts_with("sync.(*") && name.ends_with("-fm"); }

}  // namespace

CalleeFacts facts_of(std::string_view name) {
    CalleeFacts facts{.standard = is_standard_library(name)};
    facts.op = sync_operation(name);
    if (facts.op != LockOp::none) {
        facts.kind = CalleeKind::primitive;
        facts.rwmutex = name.find("RWMutex).") != std::string_view::npos;
        return facts;
    }
    if (!facts.standard) return facts;
    if (name == "runtime.chanrecv1" || name == "runtime.chanrecv2" || name == "runtime.selectnbrecv")
        facts.op = LockOp::receive;
    if (name == "runtime.chansend1" || name == "runtime.closechan" || name == "runtime.selectnbsend")
        facts.op = LockOp::send;
    if (facts.op != LockOp::none)
        facts.kind = CalleeKind::primitive;
    else if (name.starts_with("runtime.duff") || name.starts_with("runtime.gcWriteBarrier") ||
             name.starts_with("runtime.wb")) {
        facts.kind = CalleeKind::spares_registers;
        facts.write_barrier = name.starts_with("runtime.gcWriteBarrier");
    } else if (starts_with_any(name,
                               {"runtime.panic", "runtime.goPanic", "runtime.gopanic", "runtime.throw", "runtime.fatal",
                                "runtime.morestack", "runtime.Goexit", "runtime.goexit", "os.Exit"}))
        facts.kind = CalleeKind::never_returns;
    else if (name == "runtime.newproc")
        facts.kind = CalleeKind::spawns;
    else if (name == "runtime.deferproc" || name == "runtime.deferprocStack")
        facts.kind = CalleeKind::defers;
    else if (name == "runtime.deferreturn")
        facts.kind = CalleeKind::deferreturn;
    else if (name.starts_with("sync.(*Once") || name.starts_with("sync.OnceFunc") || is_local_closure(name) ||
             is_method_value(name) || runs_hooks(name))
        facts.kind = CalleeKind::ordinary;
    else
        facts.kind = CalleeKind::opaque;
    return facts;
}

std::int32_t FunctionCode::step_at(Address pc) const {
    auto at = std::ranges::lower_bound(steps, pc, {}, &CodeStep::pc);
    return at != steps.end() && at->pc == pc ? static_cast<std::int32_t>(at - steps.begin()) : -1;
}

FunctionCode* CodeBook::function(Address pc) {
    auto [known, fresh] = by_pc_.try_emplace(pc.value, nullptr);
    if (!fresh) return known->second;
    auto func = runtime_.find_func(pc);
    if (!func || func->end <= func->entry) return nullptr;
    auto& code = by_entry_[func->entry.value];
    if (!code) {
        code = std::make_unique<FunctionCode>();
        code->func = *func;
        code->facts = facts_of(func->name);
        decode(*code);
    }
    return by_pc_[pc.value] = code.get();
}

const CalleeFacts& CodeBook::facts(Address target, Address* true_entry) {
    auto [slot, fresh] = facts_.try_emplace(target.value);
    if (fresh) {
        auto func = runtime_.find_func(target);
        slot->second.first = target;
        if (func) {
            slot->second.second = facts_of(func->name);
        } else {
            slot->second.second = {.kind = CalleeKind::opaque, .op = LockOp::none, .standard = true};  // C, vDSO
        }
    }
    if (true_entry != nullptr) *true_entry = slot->second.first;
    return slot->second.second;
}

std::uint64_t CodeBook::argument_bytes(Address callee) {
    constexpr std::uint64_t unknown = 64, most = 512;
    constexpr int hops = 2;
    for (int hop = 0; hop <= hops; ++hop) {
        const FunctionCode* code = function(callee);
        if (code == nullptr) break;
        if (code->func.args >= 0 && static_cast<std::uint64_t>(code->func.args) < most)
            return static_cast<std::uint64_t>(code->func.args);
        // Assembly that declares no arguments and jumps on, as all of sync/atomic does: go1.16 src/sync/atomic/asm.s.
        if (code->steps.empty() || code->steps.front().flow != Flow::jump || code->steps.front().target_step >= 0)
            break;
        callee = code->steps.front().target;
    }
    return unknown;
}

void CodeBook::decode(FunctionCode& code) {
    code.complete = true;
    std::vector<std::pair<std::size_t, bool>> atomics;
    for (Address at = code.func.entry; at < code.func.end;) {
        auto instruction = disassembler_.decode(memory_, at);
        if (!instruction || code.steps.size() >= max_steps) {
            code.complete = false;
            break;
        }
        CodeStep step = boil(*instruction);
        if (instruction->locked && step.has_memory) {
            if (instruction->mnemonic.find("cmpxchg") != std::string::npos)
                atomics.emplace_back(code.steps.size(), true);
            if (instruction->mnemonic.find("xadd") != std::string::npos) atomics.emplace_back(code.steps.size(), false);
        }
        if (step.flow == Flow::indirect_call || step.flow == Flow::indirect_jump) code.indirect = true;
        code.steps.push_back(step);
        at += instruction->size;
    }
    for (CodeStep& step : code.steps)
        if ((step.flow == Flow::jump || step.flow == Flow::conditional_jump) && step.target >= code.func.entry &&
            step.target < code.func.end)
            step.target_step = code.step_at(step.target);
    find_loops(code);
    for (auto [at, exchange] : atomics) name_atomic(code, at, exchange);
}

// A jump back closes a loop only if its target leads to it again: the same strongly connected component (Tarjan's
// algorithm, without recursion). The first step is where morestack starts again: no loop.
void CodeBook::find_loops(FunctionCode& code) {
    const std::size_t count = code.steps.size();
    code.joined_from_below.resize(count);
    code.loop_head.resize(count);
    auto jumps_back = [&](std::size_t i) {
        const std::int32_t to = code.steps[i].target_step;
        return to > 0 && static_cast<std::size_t>(to) <= i;
    };
    bool any = false;
    for (std::size_t i = 0; i < count; ++i)
        if (jumps_back(i)) any = code.joined_from_below[static_cast<std::size_t>(code.steps[i].target_step)] = true;
    if (!any) return;
    auto successor = [&](std::size_t i, unsigned which) -> std::size_t {
        const CodeStep& step = code.steps[i];
        if (which == 1) return step.target_step > 0 ? static_cast<std::size_t>(step.target_step) : count;
        const bool goes_on = step.flow == Flow::next || step.flow == Flow::conditional_jump ||
                             step.flow == Flow::indirect_call ||
                             (step.flow == Flow::call && facts(step.target).kind != CalleeKind::never_returns);
        return goes_on ? i + 1 : count;
    };
    constexpr std::uint32_t unseen = 0, done = UINT32_MAX;
    std::vector<std::uint32_t> number(count, unseen), low(count), component(count);
    std::vector<std::size_t> stack;
    std::vector<std::pair<std::size_t, unsigned>> path;
    std::uint32_t next = 1, components = 0;
    for (std::size_t root = 0; root < count; ++root) {
        if (number[root] != unseen) continue;
        path.emplace_back(root, 0);
        while (!path.empty()) {
            auto& [at, which] = path.back();
            if (which == 0 && number[at] == unseen) {
                number[at] = low[at] = next++;
                stack.push_back(at);
            }
            if (which < 2) {
                const std::size_t to = successor(at, which++);
                if (to >= count || number[to] == done) continue;
                if (number[to] == unseen)
                    path.emplace_back(to, 0);
                else
                    low[at] = std::min(low[at], number[to]);
                continue;
            }
            const std::size_t left = at;
            path.pop_back();
            if (low[left] == number[left]) {
                for (bool more = true; more;) {
                    const std::size_t member = stack.back();
                    stack.pop_back();
                    more = member != left;
                    number[member] = done;
                    component[member] = components;
                }
                ++components;
            }
            if (!path.empty() && number[left] != done)
                low[path.back().first] = std::min(low[path.back().first], low[left]);
        }
    }
    for (std::size_t i = 0; i < count; ++i)
        if (jumps_back(i)) {
            const auto to = static_cast<std::size_t>(code.steps[i].target_step);
            if (component[i] == component[to]) code.loop_head[to] = true;
        }
}

// A fast path is known by the slow path behind it: the compiler's inline tree and lines often give the atomic
// instruction to the caller. TryLock has no slow path; for it, what the tables say must do.
void CodeBook::name_atomic(FunctionCode& code, std::size_t at, bool exchange) {
    CodeStep& atomic = code.steps[at];
    LockOp op = LockOp::none;
    constexpr int distance = 14;  // instructions on the way to the slow path
    std::vector<std::pair<std::size_t, int>> open{{at + 1, distance}};
    for (std::size_t turn = 0; turn < open.size() && turn < 16 && op == LockOp::none; ++turn) {
        auto [i, left] = open[turn];
        for (; i < code.steps.size() && left > 0; ++i, --left) {
            const CodeStep& step = code.steps[i];
            if (step.flow == Flow::call) {
                auto callee = runtime_.find_func(step.target);
                std::string_view name = callee ? callee->name : std::string_view();
                if (name.ends_with("sync.(*Mutex).lockSlow"))
                    op = LockOp::lock;
                else if (name.ends_with("sync.(*Mutex).unlockSlow"))
                    op = LockOp::unlock;
                else if (name == "sync.(*RWMutex).rUnlockSlow")
                    op = LockOp::runlock;
                else if (name == "sync.runtime_SemacquireMutex" || name == "sync.runtime_SemacquireRWMutexR")
                    op = LockOp::rlock;
                break;
            }
            if (step.target_step >= 0) open.emplace_back(static_cast<std::size_t>(step.target_step), left - 1);
            if (step.flow != Flow::next && step.flow != Flow::conditional_jump) break;
        }
    }
    if (op == LockOp::none && exchange && code.func.table != nullptr)
        for (const auto& frame : code.func.table->logical_frames(code.func, atomic.pc))
            if (frame.inlined && op == LockOp::none) op = sync_operation(frame.function);
    const bool by_exchange = op == LockOp::lock || op == LockOp::try_lock || (op == LockOp::rlock && exchange);
    if (op == LockOp::none || exchange != by_exchange) return;
    const auto& layout = runtime_.layout();
    atomic.op = op;
    // RLock and RUnlock count in readerCount; an RWMutex's own Lock is never inlined.
    atomic.op_offset = op == LockOp::rlock || op == LockOp::runlock
                           ? std::max(layout.sync_RWMutex.readerCount.offset, 0)
                           : std::max(layout.sync_Mutex.state.offset, 0);
}

bool CodeBook::step_interesting(FunctionCode& code, const CodeStep& step, int depth) {
    if (step.op == LockOp::unlock || step.op == LockOp::runlock || step.op == LockOp::group_done) return true;
    const bool leaves = step.flow == Flow::call || (step.flow == Flow::jump && step.target_step < 0);
    if (step.flow == Flow::indirect_call) return true;
    if (!leaves) return false;
    const CalleeFacts& callee = facts(step.target);
    if (callee.kind == CalleeKind::primitive)
        return callee.op != LockOp::lock && callee.op != LockOp::try_lock && callee.op != LockOp::rlock;
    if (callee.kind == CalleeKind::spawns || callee.kind == CalleeKind::deferreturn) return true;
    if (callee.kind != CalleeKind::ordinary || depth <= 0) return false;
    FunctionCode* target = function(step.target);
    return target != nullptr && target != &code && reaches_release(*target, depth - 1);
}

/// Known for each depth, not with a guess for recursions: a function that was asked about in the middle of another's
/// answer would keep the guess. It ends because every level has one less.
bool CodeBook::reaches_release(FunctionCode& code, int depth) {
    if (code.facts.kind != CalleeKind::ordinary) return code.facts.kind == CalleeKind::primitive;
    if (depth >= code.reaches_within) return true;
    if (depth <= code.nothing_within) return false;
    bool reaches = !code.complete;
    for (int level : {0, depth})  // what it does itself, before any callee is decoded
        for (std::size_t i = 0; i < code.steps.size() && !reaches; ++i)
            reaches = step_interesting(code, code.steps[i], level);
    if (reaches)
        code.reaches_within = static_cast<std::int8_t>(depth);
    else
        code.nothing_within = static_cast<std::int8_t>(depth);
    return reaches;
}

bool CodeBook::takes_lock(FunctionCode& code) {
    const auto takes = [](LockOp op) { return op == LockOp::lock || op == LockOp::try_lock || op == LockOp::rlock; };
    if (!code.takes)
        code.takes = std::ranges::any_of(code.steps, [&](const CodeStep& step) {
            if (takes(step.op)) return true;
            const bool leaves = step.flow == Flow::call || (step.flow == Flow::jump && step.target_step < 0);
            if (!leaves) return false;
            const CalleeFacts& callee = facts(step.target);
            return callee.kind == CalleeKind::primitive && takes(callee.op);
        });
    return *code.takes;
}

bool CodeBook::interesting_from(FunctionCode& code, std::int32_t from) {
    if (from < 0) return true;
    const Address pc = code.steps[static_cast<std::size_t>(from)].pc;
    auto [known, fresh] = interesting_.try_emplace(pc.value, false);
    if (!fresh) return known->second;
    std::vector<bool> seen(code.steps.size());
    std::vector<std::int32_t> open{from};
    bool interesting = false;
    while (!open.empty() && !interesting) {
        auto at = static_cast<std::size_t>(open.back());
        open.pop_back();
        for (; at < code.steps.size() && !seen[at]; ++at) {
            seen[at] = true;
            const CodeStep& step = code.steps[at];
            if (step_interesting(code, step, reach_levels)) {
                interesting = true;
                break;
            }
            if (step.target_step >= 0) open.push_back(step.target_step);
            if (step.flow == Flow::jump || step.flow == Flow::ret || step.flow == Flow::trap ||
                step.flow == Flow::indirect_jump)
                break;
            if (step.flow == Flow::call && facts(step.target).kind == CalleeKind::never_returns) break;
        }
        if (at >= code.steps.size() && !code.complete) interesting = true;
    }
    return interesting_[pc.value] = interesting;
}

}  // namespace incident::go
