// Heaps against programs that wrote down their own truth: every live malloc result, mallinfo2 and malloc_info.
#include "native/malloc.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "native/allocators.h"
#include "native/truth.h"
#include "support/live_target.h"
#include "support/opened_core.h"

namespace incident::native {
namespace {

std::string words(const Heaps& heaps) {
    std::string text;
    for (const Corruption& c : heaps.corruptions()) text += std::string(to_string(c.kind)) + ": " + c.what + "\n";
    for (const report::Gap& gap : heaps.gaps()) text += "gap: " + gap.what + ": " + gap.why + "\n";
    return text;
}

/// Chunk by chunk: what the program holds is what we call in use, and the counts of each arena are malloc's own.
void expect_truth(const Heaps& heaps, const MallocTruth& truth, bool interposed) {
    EXPECT_TRUE(heaps.corruptions().empty()) << words(heaps);
    EXPECT_TRUE(heaps.gaps().empty()) << words(heaps);
    std::set<std::uint64_t> caches;
    for (const ThreadCache& cache : heaps.caches()) caches.insert(cache.address.value);
    std::size_t ours = 0, extra = 0, missing = 0, wrong_size = 0;
    heaps.for_each_chunk([&](const Chunk& chunk) {
        if (!chunk.used()) return;
        ++ours;
        auto found = truth.live.find(chunk.user.begin.value);
        if (found == truth.live.end()) {
            if (!caches.contains(chunk.user.begin.value)) {
                if (++extra < 5 && interposed)
                    ADD_FAILURE() << std::hex << chunk.user.begin.value << " is not in use: " << std::dec << chunk.size;
            }
        } else if (found->second > chunk.user.size()) {
            ++wrong_size;
        }
    });
    for (const auto& [address, size] : truth.live) {
        auto chunk = heaps.find(Address{address});
        if (!chunk || !chunk->used() || chunk->user.begin.value != address) {
            if (++missing < 5)
                ADD_FAILURE() << std::hex << address << " is in use, " << std::dec << size << " bytes; we say "
                              << (chunk ? to_string(chunk->state) : "nothing");
            continue;
        }
        if (size > 1) {
            auto inside = heaps.find(Address{address + size - 1});
            if (!inside || inside->address != chunk->address) ++missing;
        }
    }
    EXPECT_EQ(missing, 0u);
    EXPECT_EQ(wrong_size, 0u);
    if (interposed) {
        EXPECT_EQ(extra, 0u);
    } else {
        EXPECT_LT(extra, 40u);
    }

    std::uint64_t fordblks = 0, fsmblks = 0, smblks = 0, ordblks = 0, system = 0, cached = 0;
    for (const Arena& arena : heaps.arenas()) {
        ChunkCount free = arena.free_as_glibc_counts(), fast = arena.count(ChunkState::free_fastbin);
        fordblks += free.bytes;
        ordblks += free.chunks - fast.chunks;
        fsmblks += fast.bytes;
        smblks += fast.chunks;
        system += arena.system_mem;
        cached += arena.count(ChunkState::free_tcache).bytes;
    }
    auto info = [&](const char* name) { return truth.info.contains(name) ? truth.info.at(name) : UINT64_MAX; };
    EXPECT_EQ(fordblks, info("fordblks"));
    EXPECT_EQ(fsmblks, info("fsmblks"));
    EXPECT_EQ(smblks, info("smblks"));
    EXPECT_EQ(ordblks, info("ordblks"));
    EXPECT_EQ(system, info("arena"));
    EXPECT_EQ(heaps.mmapped().chunks, info("hblks"));
    std::uint64_t drift =
        info("hblkhd") - heaps.mmapped().bytes;  // from 2.43 on realloc and free leave 16 bytes behind
    EXPECT_TRUE(drift % 16 == 0 && drift < 4096) << heaps.mmapped().bytes << " is not " << info("hblkhd");
    ASSERT_EQ(heaps.arenas().size(), truth.arenas.size());
    for (std::size_t i = 0; i < truth.arenas.size(); ++i) {  // malloc_info goes round the same ring
        const Arena& arena = heaps.arenas()[i];
        ChunkCount free = arena.free_as_glibc_counts(), fast = arena.count(ChunkState::free_fastbin);
        EXPECT_EQ(fast.chunks, truth.arenas[i].fast_chunks) << i;
        EXPECT_EQ(fast.bytes, truth.arenas[i].fast_bytes) << i;
        // malloc_info adds up sizes with their flag bits: one too many for each chunk in a bin, top being none. Up to
        // 2.27 it left out top.
        ChunkCount top = arena.count(ChunkState::top);
        std::uint64_t chunks = free.chunks - fast.chunks, rest = free.bytes - fast.bytes;
        EXPECT_THAT(truth.arenas[i].rest_chunks, testing::AnyOf(chunks, chunks - top.chunks)) << i;
        EXPECT_THAT(truth.arenas[i].rest_bytes, testing::AnyOf(rest + chunks - 1, rest + chunks - 1 - top.bytes)) << i;
        EXPECT_EQ(arena.system_mem, truth.arenas[i].system) << i;
    }
    if (std::getenv("INCIDENT_PRINT_TABLE") != nullptr)
        std::printf(
            "  live %zu = in use %zu; arenas %zu; free bytes %lu = fordblks %lu; tcache %lu bytes in %zu caches; "
            "mmapped %lu\n",
            truth.live.size(), ours - caches.size(), heaps.arenas().size(), fordblks, info("fordblks"), cached,
            heaps.caches().size(), heaps.mmapped().chunks);
}

/// One way to make a heap.
struct Case {
    friend void PrintTo(const Case& row, std::ostream* out) { *out << row.name; }
    const char* name;
    const char* mode;
    const char* seed;
    const char* threads;
    const char* operations;
    std::vector<std::string> flags;
    bool by_gdb = false;
    bool interposed = true;
};
const Case cases[] = {
    {"Threads", "a", "1", "6", "20000", {"-O1"}},
    {"MainOnly", "ap", "2", "0", "20000", {"-O1", "-no-pie"}},
    {"ForeignSbrk", "as", "3", "3", "20000", {"-O1"}},
    {"BlockedBrk", "an", "4", "3", "60000", {"-O1"}},
    {"JoinedMappings", "anj", "3", "3", "60000", {"-O1"}},
    {"JoinedAgain", "anj", "15", "3", "60000", {"-O1"}},
    {"SeveralHeaps", "ab", "5", "3", "20000", {"-O1"}},
    {"LongLists", "aq", "6", "4", "60000", {"-O1"}},
    {"Gdb", "a", "7", "4", "20000", {"-O1"}, true},
    {"Static", "a", "8", "4", "20000", {"-O1", "-static", "-DPLAIN"}, false, false},
};

void run_case(const Case& test, const OtherLibc* libc) {
    BuildOptions build{test.flags, {}};
    if (libc != nullptr && libc->has_headers) build.sysroot = libc->root;
    auto program = build_target("native/targets/malloc_churn.c", build);
    TargetRun run =
        run_to_core(program, {{"truth", test.mode, test.seed, test.threads, test.operations}, libc, {}, test.by_gdb});
    if (run.core.empty()) GTEST_SKIP() << run.why_no_core;
    ImageOptions options;
    if (libc == nullptr) options.executable = program.string();
    auto opened = OpenedCore::open(run.core.string(), options);
    ASSERT_TRUE(opened.has_value()) << describe(opened.error());
    auto heaps = Heaps::read(opened->core, opened->memory, opened->images, 2);
    ASSERT_TRUE(heaps.has_value()) << describe(heaps.error());
    expect_truth(*heaps, MallocTruth::load(run.directory / "truth"), test.interposed);
}

class MallocTruthTest : public testing::TestWithParam<Case> {};
TEST_P(MallocTruthTest, InUseSetAndFreeBytesAreTheProgramsOwn) { run_case(GetParam(), nullptr); }
TEST_P(MallocTruthTest, SameWithOtherGlibcs) {
    std::vector<OtherLibc> libcs = other_libcs();
    if (libcs.empty()) GTEST_SKIP() << "set INCIDENT_GLIBC_DIR to a folder of unpacked libc6 packages to run this";
    if (!GetParam().interposed || GetParam().by_gdb) GTEST_SKIP() << "only with the machine's own libc";
    for (const OtherLibc& libc : libcs) {
        SCOPED_TRACE("glibc " + libc.version);
        if (std::getenv("INCIDENT_PRINT_TABLE") != nullptr) std::printf("  glibc %s\n", libc.version.c_str());
        run_case(GetParam(), &libc);
    }
}
INSTANTIATE_TEST_SUITE_P(Malloc, MallocTruthTest, testing::ValuesIn(cases),
                         [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace incident::native
