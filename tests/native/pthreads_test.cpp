// Pthreads on memory written down word by word: every kind of lock behind a futex word, owners in the same and in
// another PID namespace, and words that look like a lock and are none.
#include "native/pthreads.h"

#include <gtest/gtest.h>

#include <random>

#include "support/core_builder.h"
#include "support/opened_core.h"

namespace incident::native {
namespace {

constexpr std::uint64_t data = 0x555500000000, stacks = 0x7f0000000000, code = 0x401000;
constexpr std::uint64_t size = 0x1000, descriptor_at = 0x100, tid_at = 0x2d0;
constexpr std::uint32_t private_wait = 0x80, clock_wait = 0x189, lock_pi = 0x86, shared_wait = 0;

/// A process of a few threads: each has a page with its descriptor; locks lie in one page of data.
class Target {
public:
    explicit Target(std::vector<std::int32_t> tids, std::int32_t namespace_offset = 0) : tids_(std::move(tids)) {
        words_.resize(size);
        for (std::size_t i = 0; i < tids_.size(); ++i) {
            std::vector<std::byte> page(size);
            const std::uint64_t self = descriptor(i), head = self + tid_at + 16;
            put64(page, descriptor_at, self);
            put64(page, descriptor_at + 16, self);
            put32(page, descriptor_at + tid_at, static_cast<std::uint32_t>(tids_[i]));
            put64(page, descriptor_at + tid_at + 16, head);
            put64(page, descriptor_at + tid_at + 24, static_cast<std::uint64_t>(-32));
            pages_.push_back(std::move(page));
        }
        offset_ = namespace_offset;
    }
    static std::uint64_t descriptor(std::size_t thread) { return stacks + thread * 0x10000 + descriptor_at; }
    Target& words(std::uint64_t offset, std::initializer_list<std::uint32_t> values) {
        for (std::uint32_t value : values) {
            put32(words_, offset, value);
            offset += 4;
        }
        return *this;
    }
    Target& page_word(std::size_t thread, std::uint64_t offset, std::uint64_t value) {
        put64(pages_[thread], descriptor_at + offset, value);
        return *this;
    }
    /// Thread `i` is in futex(data + offset, operation, expected).
    Target& waits(std::size_t thread, std::uint64_t word, std::uint32_t operation, std::uint32_t expected,
                  std::string function = "", std::uint64_t timeout = 0) {
        calls_.push_back({thread, word, operation, expected, timeout, std::move(function)});
        return *this;
    }

    Target& mapped(std::string libc) {
        libc_ = std::move(libc);
        return *this;
    }

    Pthreads read() const {
        CoreBuilder builder;
        for (std::size_t i = 0; i < tids_.size(); ++i) {
            CoreBuilder::RegisterValues registers{{"rip", code + 0x10},
                                                  {"rsp", stacks + i * 0x10000 + 0x800},
                                                  {"fs_base", descriptor(i)},
                                                  {"orig_rax", 35},
                                                  {"rax", 0}};
            for (const Call& call : calls_)
                if (call.thread == i)
                    registers = {{"rip", code + 0x10},
                                 {"rsp", stacks + i * 0x10000 + 0x800},
                                 {"fs_base", descriptor(i)},
                                 {"orig_rax", 202},
                                 {"rax", static_cast<std::uint64_t>(-512)},
                                 {"rdi", call.word},
                                 {"rsi", call.operation},
                                 {"rdx", call.expected},
                                 {"r10", call.timeout},
                                 {"r9", 0xffffffff}};
            builder.thread(tids_[i] + offset_, registers);
        }
        if (!libc_.empty())
            builder.files({{code & ~std::uint64_t{0xfff}, (code & ~std::uint64_t{0xfff}) + 0x1000, 0, libc_}});
        builder.load(data, words_);
        for (std::size_t i = 0; i < pages_.size(); ++i) builder.load(stacks + i * 0x10000, pages_[i]);
        file_.emplace(builder.build());
        auto opened = OpenedCore::open(file_->path());
        EXPECT_TRUE(opened.has_value()) << (opened ? "" : describe(opened.error()));
        opened_.emplace(std::move(*opened));
        std::vector<ThreadContext> contexts;
        for (std::uint32_t i = 0; i < tids_.size(); ++i) {
            ThreadContext context{i, opened_->core.threads()[i].registers, false, {}};
            for (const Call& call : calls_)
                if (call.thread == i && !call.function.empty()) context.functions = {"futex_wait", call.function};
            contexts.push_back(std::move(context));
        }
        return Pthreads::read(opened_->core, opened_->memory, opened_->images, contexts);
    }

private:
    struct Call {
        std::size_t thread;
        std::uint64_t word;
        std::uint32_t operation, expected;
        std::uint64_t timeout;
        std::string function;
    };
    static void put32(std::vector<std::byte>& bytes, std::uint64_t at, std::uint32_t value) {
        std::memcpy(bytes.data() + at, &value, 4);
    }
    static void put64(std::vector<std::byte>& bytes, std::uint64_t at, std::uint64_t value) {
        std::memcpy(bytes.data() + at, &value, 8);
    }
    std::vector<std::int32_t> tids_;
    std::int32_t offset_ = 0;
    std::vector<std::byte> words_;
    std::vector<std::vector<std::byte>> pages_;
    std::vector<Call> calls_;
    std::string libc_;
    mutable std::optional<TemporaryFile> file_;
    mutable std::optional<OpenedCore> opened_;
};

constexpr std::uint64_t at = data + 0x100;

TEST(Pthreads, MutexWithALivingOwner) {
    Target target({100, 101});
    target.words(0x100, {2, 0, 101, 1, 0}).waits(0, at, private_wait, 2);
    const Pthreads pthreads = target.read();
    ASSERT_EQ(pthreads.locks().size(), 1u);
    const PthreadLock& lock = pthreads.locks()[0];
    EXPECT_EQ(lock.object, FutexObject::mutex);
    EXPECT_EQ(lock.state, OwnerState::alive);
    EXPECT_EQ(lock.owner_thread, 1u);
    EXPECT_TRUE(lock.sure);
    EXPECT_EQ(lock.words(), "locked, contended, owner tid 101");
    ASSERT_NE(pthreads.wait_of(0), nullptr);
    EXPECT_TRUE(pthreads.wait_of(0)->asleep());
    EXPECT_FALSE(pthreads.wait_of(0)->timed);
    EXPECT_EQ(pthreads.wait_of(1), nullptr);
    EXPECT_EQ(pthreads.basis(), "tids at fs_base+0x2d0, in front of the robust list");
}

TEST(Pthreads, AbsentOwnerIsSureOnlyWhenACallOfTheLibraryWaits) {
    for (bool named : {false, true}) {
        Target target({100, 101});
        target.words(0x100, {2, 0, 99, 1, 0}).waits(0, at, private_wait, 2, named ? "___pthread_mutex_lock" : "");
        const Pthreads pthreads = target.read();
        ASSERT_EQ(pthreads.locks().size(), 1u);
        EXPECT_EQ(pthreads.locks()[0].state, OwnerState::absent);
        EXPECT_EQ(pthreads.locks()[0].sure, named);
    }
}

TEST(Pthreads, OwnersInAnotherNamespaceAreFoundByDescriptors) {
    Target target({1, 2, 3}, 5000);  // the core calls them 5001, 5002, 5003
    target.words(0x100, {2, 0, 2, 1, 0}).waits(0, at, private_wait, 2);
    target.words(0x180, {2, 0, 9, 1, 0}).waits(2, data + 0x180, private_wait, 2, "pthread_mutex_lock");
    const Pthreads pthreads = target.read();
    EXPECT_TRUE(pthreads.foreign_namespace());
    EXPECT_EQ(pthreads.inner_tid(1), 2);
    ASSERT_EQ(pthreads.locks().size(), 2u);
    EXPECT_EQ(pthreads.locks()[0].owner_thread, 1u);
    EXPECT_EQ(pthreads.locks()[1].state, OwnerState::absent);
}

TEST(Pthreads, InAnotherNamespaceAMissingDescriptorLeavesOwnersUnknown) {
    Target target({1, 2, 3}, 5000);
    target.page_word(1, 0, 0).page_word(1, tid_at, 0);  // its page holds nothing
    target.words(0x100, {2, 0, 2, 1, 0}).waits(0, at, private_wait, 2, "pthread_mutex_lock");
    const Pthreads pthreads = target.read();
    EXPECT_FALSE(pthreads.knows_all_threads());
    ASSERT_EQ(pthreads.locks().size(), 1u);
    EXPECT_EQ(pthreads.locks()[0].state, OwnerState::unknown);
    EXPECT_EQ(pthreads.gaps().size(), 2u);
}

TEST(Pthreads, KindsOfMutexes) {
    struct Case {
        std::initializer_list<std::uint32_t> words;
        std::uint32_t operation, expected;
        std::string_view says;
        OwnerState state;
    };
    const Case cases[] = {
        {{2, 3, 101, 1, 1}, private_wait, 2, "recursive, locked, contended, 3 deep, owner tid 101", OwnerState::alive},
        {{2, 0, 101, 1, 2}, private_wait, 2, "error-checking, locked, contended, owner tid 101", OwnerState::alive},
        {{2, 0, 101, 1, 3, 0x5}, private_wait, 2, "adaptive, locked, contended, owner tid 101", OwnerState::alive},
        {{2, 0, 77, 1, 0x80},
         shared_wait,
         2,
         "process-shared, locked, contended, owner tid 77, no thread of this process",
         OwnerState::elsewhere},
        {{0x80000065, 1, 101, 1, 0x20},
         lock_pi,
         0,
         "priority inheritance, locked, contended, owner tid 101",
         OwnerState::alive},
        {{0x80000065, 1, 101, 1, 0x90},
         shared_wait,
         0x80000065,
         "robust, locked, contended, owner tid 101",
         OwnerState::alive},
        {{0xc0000063, 1, 99, 1, 0x90},
         shared_wait,
         0xc0000063,
         "robust, locked, contended, its owner died, the next to lock it is told",
         OwnerState::died},
        {{0x80000065, 1, 0x7ffffffe, 1, 0x90},
         shared_wait,
         0x80000065,
         "robust, locked, contended, not recoverable",
         OwnerState::unrecoverable},
    };
    for (const Case& c : cases) {
        Target target({100, 101});
        target.words(0x100, c.words).waits(0, at, c.operation, c.expected, "pthread_mutex_lock");
        const Pthreads pthreads = target.read();
        ASSERT_EQ(pthreads.locks().size(), 1u) << c.says;
        EXPECT_EQ(pthreads.locks()[0].words(), c.says);
        EXPECT_EQ(pthreads.locks()[0].state, c.state) << c.says;
    }
}

/// Thread 0 sleeps on a zero of its own stack, with `mutex` in a register that libc saved there.
Target sleeps_on_own_zero(std::initializer_list<std::uint32_t> mutex, std::string function) {
    Target target({100, 101});
    const std::uint64_t stack = stacks + 0x800;  // where rsp stands
    target.words(0x100, mutex).waits(0, stack + 0x64, private_wait, 0, std::move(function));
    target.page_word(0, 0x800 - descriptor_at + 0x30, at);
    return target;
}

TEST(Pthreads, WhomTheKernelRefusedAMutexSleepsOnAWordOfLibcs) {
    // pthread_mutex_lock with PTHREAD_PRIO_INHERIT: its owner is gone (ESRCH), or the thread itself (EDEADLK).
    for (std::uint32_t owner : {99u, 100u}) {
        const Pthreads pthreads = sleeps_on_own_zero({owner, 1, owner, 1, 0x20}, "__pthread_mutex_lock_full").read();
        ASSERT_EQ(pthreads.locks().size(), 1u);
        EXPECT_EQ(pthreads.locks()[0].address, Address{at});
        EXPECT_EQ(pthreads.locks()[0].state, owner == 99 ? OwnerState::absent : OwnerState::alive);
        EXPECT_TRUE(pthreads.locks()[0].sure);
        EXPECT_TRUE(pthreads.waits()[0].refused);
        EXPECT_TRUE(pthreads.waits()[0].asleep());
    }
    // Another thread holds it: then nothing was refused. Nor by other functions, or of other mutexes.
    EXPECT_TRUE(sleeps_on_own_zero({101, 1, 101, 1, 0x20}, "__pthread_mutex_lock_full").read().locks().empty());
    EXPECT_TRUE(sleeps_on_own_zero({99, 1, 99, 1, 0x20}, "pthread_cond_wait").read().locks().empty());
    EXPECT_TRUE(sleeps_on_own_zero({99, 1, 99, 1, 0x20}, "").read().locks().empty());
    EXPECT_TRUE(sleeps_on_own_zero({2, 0, 99, 1, 0}, "__pthread_mutex_lock_full").read().locks().empty());
    EXPECT_TRUE(sleeps_on_own_zero({100, 1, 100, 1, 0x21}, "__pthread_mutex_lock_full").read().locks().empty());
    // Two that would explain it.
    Target two = sleeps_on_own_zero({99, 1, 99, 1, 0x20}, "__pthread_mutex_lock_full");
    two.words(0x180, {98, 1, 98, 1, 0x20}).page_word(0, 0x800 - descriptor_at + 0x38, data + 0x180);
    EXPECT_TRUE(two.read().locks().empty());
}

TEST(Pthreads, WhatContradictsItselfIsNoMutex) {
    const std::initializer_list<std::uint32_t> cases[] = {
        {2, 0, 99, 0, 0},                 // an owner, and nobody uses it
        {2, 0, 99, 1, 0x7},               // no such kind
        {2, 0, 99, 1, 0x400},             // unknown bits
        {2, 0, 99, 1, 0x60},              // both protocols
        {2, 0, 0x500000, 1, 0},           // no tid is that high
        {2, 1, 99, 1, 0},                 // a normal mutex counts nothing
        {2, 0, 99, 1, 1},                 // a recursive one that is held counts
        {2, 0, 99, 1, 0, 0, 1, 0, 0, 0},  // in a list, and not robust
        {2, 0, 99, 0x200000, 0},
        {2, 7, 0x65626162, 0x62616265, 0x65626162},  // text
    };
    for (const auto& words : cases) {
        Target target({100, 101});
        target.words(0x100, words).waits(0, at, private_wait, 2, "pthread_mutex_lock");
        const Pthreads pthreads = target.read();
        EXPECT_TRUE(pthreads.locks().empty()) << pthreads.locks()[0].words();
        ASSERT_EQ(pthreads.waits().size(), 1u);
        EXPECT_EQ(pthreads.waits()[0].object, FutexObject::unknown);
    }
    // A private mutex is waited for privately.
    Target target({100, 101});
    target.words(0x100, {2, 0, 99, 1, 0}).waits(0, at, shared_wait, 2);
    EXPECT_TRUE(target.read().locks().empty());
}

TEST(Pthreads, TransitionsHaveNoOwner) {
    Target target({100, 101});
    target.words(0x100, {2, 0, 0, 0, 0}).waits(0, at, private_wait, 2, "pthread_mutex_lock");
    const Pthreads changing = target.read();
    ASSERT_EQ(changing.locks().size(), 1u);
    EXPECT_EQ(changing.locks()[0].state, OwnerState::changing);
    Target woken({100, 101});
    woken.words(0x100, {1, 0, 101, 1, 0}).waits(0, at, private_wait, 2);
    EXPECT_FALSE(woken.read().waits()[0].asleep());
}

TEST(Pthreads, RwlockWithAWriter) {
    Target target({100, 101, 102});
    // write phase and locked, one reader waits; a second writer
    target.words(0x100, {0xb, 1, 3, 3, 0, 0, 102, 0, 0, 0, 0, 0, 0});
    target.waits(0, at + 8, clock_wait, 3).waits(1, at + 12, clock_wait, 3);
    const Pthreads pthreads = target.read();
    ASSERT_EQ(pthreads.locks().size(), 1u);
    const PthreadLock& lock = pthreads.locks()[0];
    EXPECT_EQ(lock.object, FutexObject::rwlock);
    EXPECT_EQ(lock.address.value, at);
    EXPECT_EQ(lock.owner_thread, 2u);
    EXPECT_EQ(lock.waiters.size(), 2u);
    EXPECT_EQ(pthreads.waits()[0].mode, WaitFor::read_lock);
    EXPECT_EQ(pthreads.waits()[1].mode, WaitFor::write_lock);
    EXPECT_EQ(lock.words(), "write-locked, 1 reader waiting, 1 writer waiting, owner tid 102");
}

TEST(Pthreads, RwlockHeldByReadersNamesNobody) {
    Target target({100, 101});
    target.words(0x100, {0x12, 1, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}).waits(0, at + 8, clock_wait, 2);
    const Pthreads pthreads = target.read();
    ASSERT_EQ(pthreads.locks().size(), 1u);
    EXPECT_EQ(pthreads.locks()[0].state, OwnerState::none);
    EXPECT_FALSE(pthreads.locks()[0].owner_thread);
    EXPECT_EQ(pthreads.waits()[0].mode, WaitFor::write_lock);
}

TEST(Pthreads, ConditionVariablesOfBothLayouts) {
    // wseq 4, g1_start 0, g_refs (up to 2.40), g_size, g1_orig_size, wrefs of two, g_signals
    Target old_one({100, 101});
    old_one.words(0x100, {4, 0, 0, 0, 4, 0, 0, 0, 0, 0x10, 0, 0});
    old_one.waits(0, at + 40, clock_wait, 0).waits(1, at + 40, clock_wait, 0);
    Target new_one({100, 101});
    new_one.words(0x100, {4, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0});
    new_one.waits(0, at + 32, clock_wait, 0).waits(1, at + 32, clock_wait, 0);
    for (Target* target : {&old_one, &new_one}) {
        const Pthreads pthreads = target->read();
        ASSERT_EQ(pthreads.locks().size(), 1u);
        EXPECT_EQ(pthreads.locks()[0].object, FutexObject::condition);
        EXPECT_EQ(pthreads.locks()[0].address.value, at);
        EXPECT_EQ(pthreads.locks()[0].waiters.size(), 2u);
        EXPECT_EQ(pthreads.locks()[0].words(), "2 waiters");
    }
}

TEST(Pthreads, SemaphoreBarrierJoinAndFile) {
    Target target({100, 101, 102, 103});
    target.words(0x100, {0, 1, 0, 0}).waits(0, at, clock_wait, 0);                 // sem_t
    target.words(0x180, {1, 0, 3, 0, 0}).waits(1, data + 0x184, private_wait, 0);  // pthread_barrier_t
    target.waits(2, Target::descriptor(3) + tid_at, 0x109, 103);                   // pthread_join
    const std::uint64_t owner = Target::descriptor(0);
    target.words(0x200, {2, 1, static_cast<std::uint32_t>(owner), static_cast<std::uint32_t>(owner >> 32)});
    target.waits(3, data + 0x200, private_wait, 2, "__lll_lock_wait_private");
    const Pthreads pthreads = target.read();
    EXPECT_EQ(pthreads.wait_of(0)->object, FutexObject::semaphore);
    EXPECT_EQ(pthreads.wait_of(1)->object, FutexObject::barrier);
    EXPECT_EQ(pthreads.wait_of(1)->address.value, data + 0x180);
    EXPECT_EQ(pthreads.wait_of(2)->object, FutexObject::thread_end);
    EXPECT_EQ(pthreads.wait_of(2)->joined, 3u);
    EXPECT_EQ(pthreads.wait_of(3)->object, FutexObject::stdio);
    EXPECT_EQ(pthreads.find(Address{data + 0x200})->owner_thread, 0u);
}

TEST(Pthreads, RobustMutexesOfALivingThreadAreListed) {
    Target target({100, 101});
    const std::uint64_t mutex = data + 0x100, entry = mutex + 32, head = Target::descriptor(1) + tid_at + 16;
    target.words(0x100,
                 {101, 1, 101, 1, 0x90, 0, static_cast<std::uint32_t>(head), static_cast<std::uint32_t>(head >> 32),
                  static_cast<std::uint32_t>(head), static_cast<std::uint32_t>(head >> 32)});
    target.page_word(1, tid_at + 16, entry);
    const Pthreads pthreads = target.read();
    ASSERT_EQ(pthreads.locks().size(), 1u);
    EXPECT_TRUE(pthreads.locks()[0].listed);
    EXPECT_EQ(pthreads.locks()[0].owner_thread, 1u);
    EXPECT_TRUE(pthreads.locks()[0].waiters.empty());
}

TEST(Pthreads, TimeLimitsAreSeen) {
    Target target({100, 101});
    target.words(0x100, {2, 0, 99, 1, 0}).waits(0, at, clock_wait, 2, "pthread_mutex_timedlock", 0x7f0000000010);
    EXPECT_TRUE(target.read().waits()[0].timed);
}

TEST(Pthreads, WithoutGlibcNothingIsGuessed) {
    Target target({100, 101});
    for (std::size_t i : {0, 1}) target.page_word(i, 0, 0);
    target.words(0x100, {2, 0, 99, 1, 0}).waits(0, at, private_wait, 2);
    const Pthreads pthreads = target.read();
    EXPECT_EQ(pthreads.unsupported(), "there is no glibc in this process");
    EXPECT_FALSE(pthreads.locks_unread());
    EXPECT_TRUE(pthreads.locks().empty());
    EXPECT_EQ(pthreads.waits().size(), 1u);
    ASSERT_EQ(pthreads.gaps().size(), 1u);
    EXPECT_FALSE(pthreads.gaps()[0].damage);
}

TEST(Pthreads, MuslIsNamedAndNotRead) {
    Target target({100, 101});
    target.mapped("/not/here/ld-musl-x86_64.so.1");  // a file of that name would be read
    target.words(0x100, {2, 0, 99, 1, 0}).waits(0, at, private_wait, 2);
    const Pthreads pthreads = target.read();
    EXPECT_EQ(pthreads.unsupported(), "the C library is musl, whose locks are not read");
    EXPECT_TRUE(pthreads.locks_unread());
    EXPECT_TRUE(pthreads.locks().empty());
    ASSERT_EQ(pthreads.gaps().size(), 1u);
    EXPECT_TRUE(pthreads.gaps()[0].damage) << "silence about its locks is not health";
}

TEST(Pthreads, HostileWordsAndRegisters) {
    std::mt19937_64 random(7);
    const std::uint32_t interesting[] = {0, 1, 2, 3, 99, 100, 101, 0x80, 0x90, 0x7fffffff, 0x80000000, 0xffffffff};
    const std::uint32_t operations[] = {private_wait, clock_wait, lock_pi, shared_wait, 0x109, 0x8d, 0xffffffff};
    for (int round = 0; round < 400; ++round) {
        Target target({100, 101, 102});
        auto any = [&] {
            return random() % 4 == 0 ? static_cast<std::uint32_t>(random())
                                     : interesting[random() % std::size(interesting)];
        };
        for (std::uint64_t offset = 0; offset < size; offset += 4) target.words(offset, {any()});
        for (std::size_t thread = 0; thread < 3; ++thread) {
            std::uint64_t word = data + random() % (size + 64);
            if (random() % 8 == 0) word = random();
            if (random() % 8 == 0) word = Target::descriptor(random() % 3) + random() % 0x400;
            target.waits(thread, word & ~std::uint64_t{3}, operations[random() % std::size(operations)], any(),
                         random() % 2 == 0 ? "pthread_mutex_lock" : "", random() % 2);
            if (random() % 2 == 0) target.page_word(thread, tid_at + 16, data + random() % size);  // robust list
        }
        const Pthreads pthreads = target.read();
        for (const PthreadLock& lock : pthreads.locks()) {
            EXPECT_LE(lock.waiters.size(), 3u);
            EXPECT_FALSE(lock.words().empty());
            EXPECT_LT(lock.owner_thread.value_or(0), 3u);
        }
    }
}

}  // namespace
}  // namespace incident::native
