// Compressed cores, pipes, cut streams, and the bound on what decompression may write.
#include <archive.h>
#include <archive_entry.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <thread>

#include "core/spool.h"
#include "support/core_builder.h"

namespace incident {
namespace {

/// The core's bytes, zeros (more than the largest block of lz4, which is decoded whole or not at all), then noise that
/// no compressor can shorten, so that a stream cut in two loses something.
Bytes noisy_core() {
    Bytes noise(1 << 20);
    std::uint64_t state = 88172645463325252ull;
    for (auto& b : noise) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        b = static_cast<std::byte>(state);
    }
    return realistic_core()
        .load(0x600000000000, Bytes(8 << 20))
        .load(0x610000000000, noise)
        .load(0x620000000000, Bytes(4096, std::byte{7}))
        .build();
}

Bytes compressed(std::span<const std::byte> bytes, const char* filter) {
    Bytes out(bytes.size() * 2 + 4096);
    std::size_t used = 0;
    archive* a = archive_write_new();
    archive_write_set_format_raw(a);
    EXPECT_EQ(archive_write_add_filter_by_name(a, filter), ARCHIVE_OK) << archive_error_string(a);
    archive_write_set_bytes_per_block(a, 0);
    EXPECT_EQ(archive_write_open_memory(a, out.data(), out.size(), &used), ARCHIVE_OK);
    archive_entry* entry = archive_entry_new();
    archive_entry_set_filetype(entry, AE_IFREG);
    EXPECT_EQ(archive_write_header(a, entry), ARCHIVE_OK);
    EXPECT_EQ(archive_write_data(a, bytes.data(), bytes.size()), static_cast<la_ssize_t>(bytes.size()));
    archive_entry_free(entry);
    archive_write_close(a);
    archive_write_free(a);
    out.resize(used);
    return out;
}

std::string all_damage(const CoreFile& core) {
    std::string text;
    for (const auto& error : core.damage()) text += describe(error) + "\n";
    return text;
}

class Compressed : public testing::TestWithParam<const char*> {};

TEST_P(Compressed, OpensLikeThePlainOne) {
    Bytes plain = noisy_core(), packed = compressed(plain, GetParam());
    std::uint64_t calls = 0, last_done = 0;
    OpenOptions options;
    options.progress = [&](std::uint64_t done, std::uint64_t total) {
        ++calls;
        last_done = done;
        EXPECT_EQ(total, packed.size());
    };
    auto core = TemporaryFile(packed).open_core(options);
    ASSERT_TRUE(core.has_value()) << describe(core.error());
    EXPECT_EQ(core->compression(), GetParam());
    EXPECT_EQ(core->size(), packed.size());
    EXPECT_EQ(all_damage(*core), "");
    EXPECT_GE(calls, 1u);
    EXPECT_EQ(last_done, packed.size());
    Memory memory;
    core->fill(memory);
    memory.freeze();
    EXPECT_EQ(memory.load<std::uint8_t>(Address{0x620000000fff}).value(), 7);
    EXPECT_EQ(memory.load<std::uint8_t>(Address{0x600000000000}).value(), 0);
}

TEST_P(Compressed, AStreamCutShortIsATruncatedCore) {
    Bytes packed = compressed(noisy_core(), GetParam());
    auto core = TemporaryFile(std::span(packed).first(packed.size() * 8 / 10)).open_core();
    ASSERT_TRUE(core.has_value()) << describe(core.error());
    EXPECT_EQ(core->threads().size(), 3u);
    ASSERT_TRUE(core->truncation().has_value());
    EXPECT_THAT(all_damage(*core), testing::HasSubstr("stream ends too early"));
    Memory memory;
    core->fill(memory);
    memory.freeze();
    EXPECT_EQ(memory.load<std::uint8_t>(Address{0x620000000000}).error().kind, ErrorKind::truncated);
}

TEST_P(Compressed, SaysWhatElseIsInside) {
    auto core = TemporaryFile(compressed(std::as_bytes(std::span("just words\n", 11)), GetParam())).open_core();
    ASSERT_FALSE(core.has_value());
    EXPECT_THAT(core.error().what,
                testing::HasSubstr(std::string("compressed with ") + GetParam() + " and holds a text file"));
}

INSTANTIATE_TEST_SUITE_P(Methods, Compressed, testing::Values("zstd", "xz", "lz4", "gzip"),
                         [](const auto& method) { return std::string(method.param); });

TEST(Spool, IsSparse) {
    Bytes plain = noisy_core();
    auto input = open_input(TemporaryFile(compressed(plain, "zstd")).path(), {});
    ASSERT_TRUE(input.has_value());
    EXPECT_EQ(input->size, plain.size());
    struct stat status{};
    ASSERT_EQ(fstat(input->file.get(), &status), 0);
    EXPECT_EQ(status.st_size, static_cast<off_t>(plain.size()));
    EXPECT_LT(status.st_blocks * 512, 2 << 20);  // 8 MB of zeros are a hole
    EXPECT_EQ(status.st_nlink, 0u);
    Bytes back(plain.size());
    ASSERT_EQ(pread(input->file.get(), back.data(), back.size(), 0), static_cast<ssize_t>(back.size()));
    EXPECT_TRUE(back == plain);
}

TEST(Spool, StopsAtItsBound) {
    OpenOptions options;
    options.max_spool = 200 << 10;
    auto core = TemporaryFile(compressed(noisy_core(), "zstd")).open_core(options);
    ASSERT_TRUE(core.has_value()) << describe(core.error());
    EXPECT_TRUE(core->truncation().has_value());
    EXPECT_THAT(all_damage(*core), testing::HasSubstr("--max-spool"));
    EXPECT_EQ(core->threads().size(), 3u);
}

TEST(Spool, DamageInTheMiddleEndsTheCoreThere) {
    Bytes packed = compressed(noisy_core(), "zstd");
    std::fill(packed.begin() + static_cast<std::ptrdiff_t>(packed.size() / 2), packed.end(),
              std::byte{0xff});  // over block headers too
    auto core = TemporaryFile(packed).open_core();
    ASSERT_TRUE(core.has_value()) << describe(core.error());
    EXPECT_TRUE(core->truncation().has_value());
    EXPECT_THAT(all_damage(*core), testing::HasSubstr("zstd stream"));
}

TEST(Spool, ReadsAPipe) {
    for (bool packed : {false, true}) {
        Bytes bytes = packed ? compressed(noisy_core(), "gzip") : noisy_core();
        std::array<int, 2> ends{};
        ASSERT_EQ(pipe(ends.data()), 0);
        std::thread writer([&] {
            for (std::size_t at = 0; at < bytes.size();) {
                ssize_t count = write(ends[1], bytes.data() + at, std::min<std::size_t>(bytes.size() - at, 4321));
                if (count <= 0) break;
                at += static_cast<std::size_t>(count);
            }
            close(ends[1]);
        });
        auto core = CoreFile::open("/proc/self/fd/" + std::to_string(ends[0]));
        close(ends[0]);
        writer.join();
        ASSERT_TRUE(core.has_value()) << describe(core.error());
        EXPECT_EQ(core->compression(), packed ? "gzip" : "");
        EXPECT_EQ(core->size(), bytes.size());
        EXPECT_EQ(all_damage(*core), "");
    }
}

TEST(Spool, SaysWhatIsNoFile) {
    auto message = [](const std::string& path) {
        auto core = CoreFile::open(path);
        return core.has_value() ? std::string("opened") : describe(core.error());
    };
    EXPECT_EQ(message("/"), "unsupported: / is a directory, not a core");
    EXPECT_EQ(message("/dev/null"), "unsupported: /dev/null is empty");
    EXPECT_EQ(message("/nonexistent/core"), "io: cannot open /nonexistent/core: No such file or directory");
    TemporaryFile empty("");
    EXPECT_EQ(message(empty.path()), "unsupported: " + empty.path() + " is an empty file");
    TemporaryFile text("[build]\nx = 1\n");
    EXPECT_EQ(message(text.path()), "unsupported: " + text.path() + " is a text file");
}

}  // namespace
}  // namespace incident
