// Threads and their system calls: which tid a thread has in its own namespace, and which futex word it waits for.
//
// Surprising: a thread that a signal handler interrupted in a futex call stands, in the interrupted registers, in front
// of the syscall instruction with the number back in rax (SA_RESTART), or behind it with -EINTR and no number left:
// then the instruction before tells. restart_syscall (219) takes the place of timed calls that were stopped and
// continued.
#include <algorithm>
#include <cstring>
#include <unordered_set>

#include <fmt/format.h>

#include "base/system_libraries.h"
#include "native/pthreads_state.h"

namespace incident::native {

namespace {

// linux/futex.h
constexpr std::uint32_t futex_wait = 0, futex_lock_pi = 6, futex_wait_bitset = 9, futex_wait_requeue_pi = 11,
                        futex_lock_pi2 = 13;
constexpr std::uint32_t private_flag = 128, clock_flag = 256;
// arch/x86/entry/syscalls/syscall_64.tbl
constexpr std::uint64_t restart_syscall = 219, futex_waitv_call = 449, futex_wait_call = 455;

constexpr std::uint64_t robust_after_tid = 16;  // pid_t tid, pid_ununsed; void *robust_prev (nptl/descr.h)
constexpr std::uint64_t descriptor_limit = 0x900;

/// struct robust_list_head: the list, the distance from a list entry to the lock word (-32: from
/// pthread_mutex_t.__list.__next back to __lock), the entry being worked on.
bool is_robust_head(const Memory& memory, Address at) {
    auto list = memory.load<std::uint64_t>(at);
    auto offset = memory.load<std::int64_t>(at + 8);
    if (!list || !offset || *offset != -32) return false;
    return *list == at.value || memory.is_mapped(Address{*list & ~std::uint64_t{1}});
}

bool is_descriptor(const Memory& memory, Address at) {
    // tcbhead_t: void *tcb; dtv_t *dtv; void *self (sysdeps/x86_64/nptl/tls.h)
    auto tcb = memory.load_address(at), self = memory.load_address(at + 16);
    return tcb && self && *tcb == at && *self == at;
}

/// Names by which frames tell what is waited for; the outer function of the library, not its inner helpers.
constexpr std::string_view names[] = {"pthread_mutex_",       "pthread_rwlock_", "pthread_cond_",
                                      "pthread_barrier_wait", "pthread_join",    "pthread_timedjoin",
                                      "pthread_clockjoin",    "sem_wait",        "sem_timedwait",
                                      "sem_clockwait",        "pthread_once"};

constexpr std::string_view private_lock = "lll_lock_wait_private";

std::string library_function(std::span<const std::string> functions) {
    for (std::size_t i = 0; i < functions.size() && i < 6; ++i) {
        std::string_view name = functions[i];
        while (name.starts_with('_')) name.remove_prefix(1);
        if (name.starts_with("GI___")) name.remove_prefix(5);
        // Only libc's own locks: of malloc, of the stack cache, in pthread_join too.
        if (name == private_lock) return std::string(name);
        for (std::string_view known : names)
            if (name.starts_with(known)) return std::string(name.substr(0, 40));
    }
    return {};
}

}  // namespace

void find_identities(Pthreads::State& state, const Memory& memory) {
    const auto threads = state.core->threads();
    const Machine& machine = state.core->machine();
    state.identities.resize(threads.size());
    std::vector<std::uint32_t> found;
    for (std::uint32_t i = 0; i < threads.size() && machine.thread_pointer >= 0; ++i) {
        auto base = threads[i].registers.get(static_cast<std::uint8_t>(machine.thread_pointer));
        if (!base || *base == 0) continue;
        state.identities[i].descriptor = Address{*base};
        state.identities[i].has_descriptor = is_descriptor(memory, Address{*base});
        if (state.identities[i].has_descriptor) found.push_back(i);
    }
    // By structure, not by version: the robust list's head stands 16 bytes behind the tid.
    std::size_t best = 0;
    for (std::uint64_t offset = 0x100; offset + robust_after_tid < descriptor_limit; offset += 8) {
        std::size_t votes = 0;
        for (std::size_t k = 0; k < found.size() && k < 64; ++k)
            votes += is_robust_head(memory, state.identities[found[k]].descriptor + offset + robust_after_tid);
        if (votes > best) {
            best = votes;
            state.tid_offset = offset;
        }
    }
    std::size_t same = 0, other = 0;
    if (state.tid_offset) {
        std::unordered_set<std::int32_t> seen;
        for (std::uint32_t i : found) {
            auto tid = memory.load<std::int32_t>(state.identities[i].descriptor + *state.tid_offset);
            if (!tid || *tid <= 0 || *tid > tid_limit || !seen.insert(*tid).second) continue;
            state.identities[i].tid = *tid;
            ++(*tid == threads[i].tid ? same : other);
        }
        state.basis = fmt::format("tids at fs_base+{:#x}, in front of the robust list", *state.tid_offset);
    }
    state.foreign_namespace = other > same;
    if (same + other == 0) state.basis = "tids of the core's notes";
    state.knows_all = !threads.empty();
    for (std::uint32_t i = 0; i < threads.size(); ++i) {
        auto& identity = state.identities[i];
        // A thread that is just being born or made by bare clone() has no descriptor of its own yet.
        if (!state.foreign_namespace && threads[i].tid > 0) identity.tid = threads[i].tid;
        if (identity.tid)
            state.by_tid.emplace(*identity.tid, i);
        else
            state.knows_all = false;
    }
    if (state.foreign_namespace)
        state.gaps.push_back({.what = "thread ids",
                              .why = "the core was taken outside of the process's PID namespace; owners of locks are "
                                     "joined by each thread's own descriptor",
                              .weakens = "",
                              .damage = false});
}

FutexCaller FutexCalls::caller_of(Address after_call, const Registers& registers) const {
    auto module = images.find_module(after_call);
    if (!module || module->module == nullptr) return FutexCaller::unknown;
    const bool libc = holds_libc(module->module->path);
    // misc/syscall.S: syscall() takes the sixth argument from the stack right before the instruction.
    constexpr unsigned char sixth[] = {0x4c, 0x8b, 0x4c, 0x24, 0x08};  // mov 8(%rsp),%r9
    constexpr unsigned char number[] = {0xb8, 0xca, 0, 0, 0};          // mov $202,%eax
    if (auto code = memory.view(after_call - 7, 5)) {
        if (std::memcmp(code->data(), sixth, sizeof sixth) == 0) return FutexCaller::wrapper;
        if (libc) return FutexCaller::libc;
        // A static program holds both: libc's code names the number itself.
        if (libc_in_executable && std::memcmp(code->data(), number, sizeof number) == 0) return FutexCaller::libc;
        return FutexCaller::unknown;
    }
    if (!libc) return FutexCaller::unknown;
    // Without libc's code: in syscall() the caller's return address lies right at sp, and the caller is not libc.
    auto top = registers.sp() ? memory.load_address(*registers.sp()) : Result<Address>(Address{});
    if (!top) return FutexCaller::unknown;
    auto from = images.find_module(*top);
    return from && from->module != module->module ? FutexCaller::wrapper : FutexCaller::libc;
}

std::optional<FutexWait> FutexCalls::read(const ThreadContext& context) const {
    const Registers& registers = context.registers;
    const Machine& machine = registers.machine();
    auto pc = registers.pc();
    auto argument = [&](int i) { return registers.get(machine.syscall_arguments[static_cast<std::size_t>(i)]); };
    if (!pc || machine.futex_syscall == 0) return std::nullopt;
    auto is_syscall = [&](Address at) -> std::optional<bool> {  // 0f 05; nullopt: the code is not here
        auto code = memory.view(at, 2);
        if (!code) return std::nullopt;
        return (*code)[0] == std::byte{0x0f} && (*code)[1] == std::byte{0x05};
    };
    Address after = *pc;
    std::uint64_t number = 0;
    bool restarted = false;
    if (!context.in_signal_handler) {
        auto original = registers.get(machine.syscall_number);
        if (!original) return std::nullopt;
        number = *original;
        // A signal's own return leaves -1 here; so does a thread that is in no system call.
        if (auto behind = is_syscall(*pc - 2); behind && !*behind) {
            if (!is_syscall(*pc).value_or(false)) return std::nullopt;
            after = *pc + 2;
        }
    } else if (is_syscall(*pc).value_or(false)) {
        auto rax = registers.get("rax");
        if (!rax) return std::nullopt;
        number = *rax;
        after = *pc + 2;
    } else {
        constexpr std::uint64_t interrupted = static_cast<std::uint64_t>(-4);  // -EINTR
        auto code = memory.view(*pc - 7, 7);
        constexpr unsigned char call[] = {0xb8, 0xca, 0, 0, 0, 0x0f, 0x05};
        if (!code || std::memcmp(code->data(), call, sizeof call) != 0) return std::nullopt;
        if (registers.get("rax") != interrupted) return std::nullopt;
        number = machine.futex_syscall;
    }
    auto word = argument(0), operation = argument(1);
    if (!word || !operation) return std::nullopt;
    if (number == restart_syscall) {
        // poll and nanosleep are restarted the same way; a futex call has all bits of its bitset.
        auto bits = argument(5);
        if ((*operation & ~std::uint64_t{private_flag | clock_flag}) != futex_wait_bitset || !bits ||
            (*bits & 0xffffffff) != 0xffffffff)
            return std::nullopt;
        number = machine.futex_syscall;
        restarted = true;
    }
    FutexWait wait;
    wait.thread = context.thread;
    wait.pc = *pc;
    wait.in_signal_handler = context.in_signal_handler;
    wait.system_call = static_cast<std::uint32_t>(number);
    if (number == machine.futex_syscall) {
        wait.operation = static_cast<std::uint32_t>(*operation);
        wait.word = Address{*word};
        const std::uint32_t bare = wait.operation & ~(private_flag | clock_flag);
        if (bare != futex_wait && bare != futex_wait_bitset && bare != futex_lock_pi && bare != futex_lock_pi2 &&
            bare != futex_wait_requeue_pi)
            return std::nullopt;
        wait.shared = (wait.operation & private_flag) == 0;
        auto expected = argument(2), timeout = argument(3);
        if (expected && bare != futex_lock_pi && bare != futex_lock_pi2)
            wait.expected = static_cast<std::uint32_t>(*expected);
        wait.timed = restarted || !timeout || *timeout != 0;
    } else if (number == futex_waitv_call) {
        // struct futex_waitv { u64 val; u64 uaddr; u32 flags; u32 reserved; }, the first of them
        auto value = memory.load<std::uint64_t>(Address{*word});
        auto at = memory.load_address(Address{*word} + 8);
        auto timeout = argument(3);
        if (!value || !at || *operation == 0 || *operation > 128) return std::nullopt;
        wait.expected = static_cast<std::uint32_t>(*value);
        wait.word = *at;
        wait.timed = !timeout || *timeout != 0;
    } else if (number == futex_wait_call) {
        auto timeout = argument(4);
        wait.word = Address{*word};
        wait.expected = static_cast<std::uint32_t>(*operation);
        wait.timed = !timeout || *timeout != 0;
    } else {
        return std::nullopt;
    }
    if (!wait.word.is_aligned(4) || wait.word.is_null()) return std::nullopt;
    if (auto value = memory.load<std::uint32_t>(wait.word)) wait.value = *value;
    wait.caller = caller_of(after, registers);
    wait.function = library_function(context.functions);
    return wait;
}

}  // namespace incident::native
