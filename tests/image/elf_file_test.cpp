#include "image/elf_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>
#include <fstream>

#include "support/built_program.h"
#include "support/core_builder.h"

namespace incident {
namespace {

Bytes note(std::string_view owner, std::uint32_t type, std::string_view description) {
    ByteWriter out;
    out.put(Elf64_Nhdr{static_cast<Elf64_Word>(owner.size()), static_cast<Elf64_Word>(description.size()), type});
    out.put_text(owner).align(4).put_text(description).align(4);
    return out.take();
}
Bytes joined(std::initializer_list<Bytes> parts) {
    Bytes out;
    for (const auto& part : parts) out.insert(out.end(), part.begin(), part.end());
    return out;
}
using namespace std::string_view_literals;
const Bytes gnu_note = note("GNU\0"sv, 3, "\x12\xab\x00\xff"sv);
const Bytes go_note = note("Go\0\0"sv, 4, "abc/def"sv);

TEST(BuildIds, GnuAndGoNotes) {
    BuildIds ids;
    read_build_ids(joined({note("stapsdt\0"sv, 3, "x"), go_note, gnu_note}), 4, ids);
    EXPECT_EQ(ids.gnu, "12ab00ff");
    EXPECT_EQ(ids.go, "abc/def");
    EXPECT_TRUE(ids.gnu_in_segment);
}

TEST(BuildIds, GnuNoteBehindGosSegment) {
    BuildIds ids;
    read_build_ids(go_note, 4, ids);
    read_build_id_behind_go(joined({gnu_note, Bytes(20, std::byte{0xcc})}), ids);
    EXPECT_EQ(ids.gnu, "12ab00ff");
    EXPECT_FALSE(ids.gnu_in_segment);
    BuildIds other;
    read_build_ids(go_note, 4, other);
    read_build_id_behind_go(Bytes(64, std::byte{0xcc}), other);
    EXPECT_FALSE(other.gnu.has_value());
}

TEST(BuildIds, AbsurdSizesEndTheWalk) {
    for (std::uint32_t size : {0xffffffffu, 0x7fffffffu, 1000u, 21u}) {
        ByteWriter bad;
        bad.put(Elf64_Nhdr{size, 4, 3}).put_text("GNU\0abcd"sv);
        BuildIds ids;
        read_build_ids(bad.take(), 4, ids);
        EXPECT_FALSE(ids.any()) << size;
        ByteWriter worse;
        worse.put(Elf64_Nhdr{4, size, 3}).put_text("GNU\0abcd"sv);
        read_build_ids(worse.take(), 8, ids);
        EXPECT_FALSE(ids.any()) << size;
    }
    for (std::size_t cut = 0; cut < gnu_note.size(); ++cut) {
        BuildIds ids;
        read_build_ids(std::span(gnu_note).first(cut), 4, ids);
        EXPECT_FALSE(ids.any()) << cut;
    }
}

TEST(ElfFile, OpensThisProgram) {
    auto file = ElfFile::open("/proc/self/exe");
    ASSERT_TRUE(file.has_value()) << file.error().what;
    EXPECT_FALSE(file->segments().empty());
    EXPECT_TRUE(file->slice(file->bytes().size() - 1, 100).size() == 1);
    EXPECT_TRUE(file->slice(file->bytes().size() + 1, 100).empty());
}

TEST(ElfFile, RefusesWhatIsNoElfFile) {
    TemporaryDirectory directory;
    std::ofstream(directory / "text") << "hello";
    std::ofstream(directory / "empty");
    ASSERT_EQ(mkfifo((directory / "fifo").c_str(), 0600), 0);
    EXPECT_EQ(ElfFile::open(directory / "text").error().kind, ErrorKind::unsupported);
    EXPECT_EQ(ElfFile::open(directory / "empty").error().kind, ErrorKind::unsupported);
    EXPECT_EQ(ElfFile::open(directory / "fifo").error().kind, ErrorKind::unsupported);
    EXPECT_EQ(ElfFile::open(directory.path().string()).error().kind, ErrorKind::unsupported);
    EXPECT_EQ(ElfFile::open(directory / "nothing").error().kind, ErrorKind::absent);
    EXPECT_EQ(ElfFile::open("/dev/null").error().kind, ErrorKind::unsupported);
}

TEST(ElfFile, CutFilesOpenOrFailButNeverFault) {
    auto whole = ElfFile::open("/proc/self/exe");
    ASSERT_TRUE(whole.has_value());
    TemporaryDirectory directory;
    for (std::size_t size : {1u, 16u, 63u, 64u, 65u, 500u, 4096u, 5000u, 100000u}) {
        const std::string path = directory / "cut";
        std::ofstream(path, std::ios::trunc)
            .write(reinterpret_cast<const char*>(whole->bytes().data()), static_cast<std::streamsize>(size));
        auto cut = ElfFile::open(path);
        if (!cut) continue;
        for (const auto& segment : cut->segments())
            for (std::byte b : cut->slice(segment.p_offset, segment.p_filesz)) static_cast<void>(b);
    }
}

TEST(ElfFile, BiasOfAMapping) {
    auto file = ElfFile::open("/proc/self/exe");
    ASSERT_TRUE(file.has_value());
    for (const auto& load : file->segments()) {
        if (load.p_type != PT_LOAD || file->header().e_type != ET_DYN) continue;
        const std::uint64_t skew = load.p_offset % 4096;
        EXPECT_EQ(file->bias_for(0x555500000000 + load.p_vaddr - skew, load.p_offset - skew), 0x555500000000u);
    }
    EXPECT_FALSE(file->bias_for(0x1000, 0x123456000).has_value());
}

}  // namespace
}  // namespace incident
