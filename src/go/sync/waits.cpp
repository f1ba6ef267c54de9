// From a goroutine to what it waits for. A semaphore's address alone does not say whose it is: the frames that asked
// for it do (lockSlow, RLock, WaitGroup.Wait …), and the layouts of sync say where in its lock the word lies.
#include "go/sync/queues.h"

#include <fmt/format.h>

namespace incident::go {

namespace {

/// Words and place of the lock that `semaphore` belongs to, by the names on the stack.
struct LockOf {
    WaitObject object = WaitObject::semaphore;
    WaitMode mode = WaitMode::none;
    Address address;
};

/// The functions of package sync (and of internal/sync, internal/poll) that lie between the runtime and the user,
/// innermost first, inlined ones too.
std::vector<std::string_view> lock_functions(const GoStack& stack) {
    std::vector<std::string_view> names;
    for (const auto& physical : stack.physical) {
        if (physical.func() == nullptr) continue;
        for (const auto& logical : physical.code->logical) {
            std::string_view name = logical.raw_name;
            const bool of_runtime = name.starts_with("runtime.") || name.starts_with("sync.runtime_") ||
                                    name.starts_with("internal/sync.runtime_") ||
                                    name.starts_with("internal/poll.runtime_");
            if (of_runtime) continue;
            const bool of_sync =
                name.starts_with("sync.") || name.starts_with("internal/sync.") || name.starts_with("internal/poll.");
            if (!of_sync) return names;
            if (names.size() < 8) names.push_back(name);
        }
    }
    return names;
}

bool is_mutex_function(std::string_view name) {
    return name == "sync.(*Mutex).lockSlow" || name == "internal/sync.(*Mutex).lockSlow" ||
           name == "sync.(*Mutex).Lock" || name == "internal/sync.(*Mutex).Lock";
}

std::uint64_t offset_or(std::int32_t offset, std::uint64_t otherwise) {
    return offset >= 0 ? static_cast<std::uint64_t>(offset) : otherwise;
}

LockOf lock_of(const RuntimeLayout& layout, Address semaphore, const std::vector<std::string_view>& names) {
    LockOf lock{.address = semaphore};
    std::size_t i = 0;
    while (i < names.size() && is_mutex_function(names[i])) ++i;
    if (i > 0) {
        lock.object = WaitObject::mutex;
        lock.mode = WaitMode::lock;
        lock.address = semaphore - offset_or(layout.sync_Mutex.sema.offset, 4);
        // Writers of an RWMutex queue on its Mutex w, which is its first field.
        if (i < names.size() && names[i] == "sync.(*RWMutex).Lock") {
            lock.object = WaitObject::rwmutex;
            lock.address = lock.address - offset_or(layout.sync_RWMutex.w.offset, 0);
        }
        return lock;
    }
    if (names.empty()) return lock;
    if (names[0] == "sync.(*RWMutex).RLock") {
        lock = {WaitObject::rwmutex, WaitMode::rlock, semaphore - offset_or(layout.sync_RWMutex.readerSem.offset, 12)};
    } else if (names[0] == "sync.(*RWMutex).Lock") {
        lock = {WaitObject::rwmutex, WaitMode::lock, semaphore - offset_or(layout.sync_RWMutex.writerSem.offset, 8)};
    } else if (names[0] == "sync.(*WaitGroup).Wait") {
        lock = {WaitObject::wait_group, WaitMode::wait, semaphore};
        if (layout.sync_WaitGroup.sema.present()) {
            lock.address = semaphore - static_cast<std::uint64_t>(layout.sync_WaitGroup.sema.offset);
        } else if (semaphore.is_aligned(8)) {
            lock.address =
                semaphore - 8;  // ≤1.17 [3]uint32: the aligned pair is the state, the third word the semaphore
        }
    } else if (names[0].starts_with("internal/poll.(*fdMutex).")) {
        // go1.27 src/internal/poll/fd_mutex.go: {state uint64; rsema, wsema uint32}
        lock = {WaitObject::fd_mutex, WaitMode::lock, semaphore};
    }
    return lock;
}

const PhysicalFrame* find_frame(const GoStack& stack, std::string_view name) {
    for (const auto& frame : stack.physical) {
        if (frame.name() == name) return &frame;
    }
    return nullptr;
}

/// First argument of a runtime function as its caller spilled or passed it: at the frame's cfa, in all calling
/// conventions.
std::optional<Address> first_argument(const Memory& memory, const PhysicalFrame* frame) {
    if (frame == nullptr || frame->cfa.is_null()) return std::nullopt;
    auto word = memory.load_address(frame->cfa);
    return word && !word->is_null() ? std::optional(*word) : std::nullopt;
}

std::string words_of(const LockOf& lock) {
    std::string words(to_string(lock.object));
    if (lock.object == WaitObject::rwmutex) words += lock.mode == WaitMode::rlock ? " (read lock)" : " (write lock)";
    return words;
}

void add_descriptor(const Memory& memory, const Runtime& runtime, const Goroutine& g, const GoStack& stack,
                    std::vector<WaitsFor>& result) {
    auto desc = first_argument(memory, find_frame(stack, "internal/poll.runtime_pollWait"));
    if (!desc) return;
    StructView view(memory, *desc);
    const auto& f = runtime.layout().pollDesc;
    auto fd = view.get(f.fd);
    auto reader = view.get(f.rg), writer = view.get(f.wg);
    if (!fd || *fd > 1u << 30 || !reader || !writer || (*reader != g.g && *writer != g.g)) return;
    const bool reads = *reader == g.g;
    result.push_back({.object = WaitObject::descriptor,
                      .mode = reads ? WaitMode::read : WaitMode::write,
                      .address = *desc,
                      .semaphore = {},
                      .sudog = {},
                      .what = fmt::format("file descriptor {} ({})", *fd, reads ? "read" : "write"),
                      .by = "pollDesc"});
}

}  // namespace

std::string_view to_string(WaitObject object) {
    switch (object) {
        case WaitObject::channel: return "chan";
        case WaitObject::nil_channel: return "nil chan";
        case WaitObject::mutex: return "sync.Mutex";
        case WaitObject::rwmutex: return "sync.RWMutex";
        case WaitObject::wait_group: return "sync.WaitGroup";
        case WaitObject::cond: return "sync.Cond";
        case WaitObject::descriptor: return "file descriptor";
        case WaitObject::fd_mutex: return "internal/poll.fdMutex";
        case WaitObject::coroutine: return "coroutine";
        case WaitObject::semaphore: return "semaphore";
    }
    return "unknown";
}

std::string_view to_string(WaitMode mode) {
    switch (mode) {
        case WaitMode::none: return "";
        case WaitMode::receive: return "receive";
        case WaitMode::send: return "send";
        case WaitMode::lock: return "lock";
        case WaitMode::rlock: return "rlock";
        case WaitMode::wait: return "wait";
        case WaitMode::read: return "read";
        case WaitMode::write: return "write";
    }
    return "";
}

std::vector<WaitsFor> Waits::of(const Memory& memory, const Runtime& runtime, const Goroutine& g,
                                const GoStack& stack) const {
    std::vector<WaitsFor> result;
    if (g.status != Status::waiting && g.status != Status::leaked) return result;
    const std::string_view reason = g.wait_reason;
    if (reason.find("nil chan") != std::string_view::npos) {
        const bool sends = reason.starts_with("chan send");
        result.push_back({.object = WaitObject::nil_channel,
                          .mode = sends ? WaitMode::send : WaitMode::receive,
                          .address = {},
                          .semaphore = {},
                          .sudog = {},
                          .what = "nil channel: nobody can ever send or receive",
                          .by = "wait reason"});
        return result;
    }
    Address semaphore, semaphore_sudog;
    std::string_view by;
    for (const auto& sudog : waiting_sudogs(memory, runtime, g)) {
        if (sudog.channel.is_null()) {
            // 1.26+: semaphores and condition variables stand in g.waiting too; elem is the semaphore's word.
            if (!sudog.element.is_null() && !sudog.is_select) {
                semaphore = sudog.element;
                semaphore_sudog = sudog.at;
                by = "g.waiting";
            }
            continue;
        }
        WaitMode mode = reason.starts_with("chan send")      ? WaitMode::send
                        : reason.starts_with("chan receive") ? WaitMode::receive
                                                             : WaitMode::none;
        // Of a select: in which of the channel's queues it stands.
        const bool in_select = mode == WaitMode::none;
        const auto& channel = queues_->channel(sudog.channel, in_select);
        if (in_select && channel.receivers.contains(sudog.at.value)) mode = WaitMode::receive;
        if (in_select && channel.senders.contains(sudog.at.value)) mode = WaitMode::send;
        result.push_back({.object = WaitObject::channel,
                          .mode = mode,
                          .address = sudog.channel,
                          .semaphore = {},
                          .sudog = sudog.at,
                          .what = channel.text,
                          .by = "g.waiting"});
    }
    if (!result.empty()) return result;

    // It queues in every channel that it has before it parks. go1.27 src/runtime/select.go, selectgo: cases without a
    // channel are left out.
    if (reason == "select") {
        const auto waiting = StructView(memory, g.g).get(runtime.layout().g.waiting);
        if (waiting && waiting->is_null())
            result.push_back({.object = WaitObject::nil_channel,
                              .mode = WaitMode::none,
                              .address = {},
                              .semaphore = {},
                              .sudog = {},
                              .what = "select: every channel of it is nil",
                              .by = "g.waiting"});
        return result;
    }
    if (reason == "sync.Cond.Wait") {
        // The notifyList is an argument on the stack, believed only when this goroutine is on it.
        auto list = first_argument(memory, find_frame(stack, "sync.runtime_notifyListWait"));
        Address sudog = list ? queues_->on_notify_list(*list, g.g) : Address{};
        if (!sudog.is_null()) {
            result.push_back({.object = WaitObject::cond,
                              .mode = WaitMode::wait,
                              .address = *list - offset_or(runtime.layout().sync_Cond.notify.offset, 16),
                              .semaphore = {},
                              .sudog = sudog,
                              .what = "sync.Cond",
                              .by = "notifyList"});
        }
        return result;
    }
    if (reason == "coroutine") {
        if (const auto coro = coroutine_of(memory, runtime, g))
            result.push_back({.object = WaitObject::coroutine,
                              .mode = WaitMode::wait,
                              .address = *coro,
                              .semaphore = {},
                              .sudog = {},
                              .what = "coroutine of iter.Pull",
                              .by = "frames"});
        return result;
    }
    if (reason == "IO wait") {
        add_descriptor(memory, runtime, g, stack, result);
        return result;
    }
    if (const SemaphoreWaiter* waiter = semaphore_of(g.g)) {
        semaphore = waiter->semaphore;
        semaphore_sudog = waiter->sudog;
        by = "semtable";
    }
    const bool on_semaphore = reason == "semacquire" || reason.starts_with("sync.");
    if (semaphore.is_null() && on_semaphore && !complete_) {
        for (std::string_view name : {"sync.runtime_SemacquireMutex", "internal/sync.runtime_SemacquireMutex",
                                      "sync.runtime_SemacquireRWMutexR", "sync.runtime_SemacquireRWMutex",
                                      "sync.runtime_SemacquireWaitGroup", "sync.runtime_Semacquire"}) {
            if (auto word = first_argument(memory, find_frame(stack, name)); word && word->is_aligned(4)) {
                semaphore = *word;
                by = "frame arguments";
                break;
            }
        }
    }
    if (semaphore.is_null()) return result;
    const LockOf lock = lock_of(runtime.layout(), semaphore, lock_functions(stack));
    result.push_back({.object = lock.object,
                      .mode = lock.mode,
                      .address = lock.address,
                      .semaphore = semaphore,
                      .sudog = semaphore_sudog,
                      .what = words_of(lock),
                      .by = by});
    return result;
}

}  // namespace incident::go
