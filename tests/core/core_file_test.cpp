// CoreFile on cores that are right, and the whole table of those that are not.
#include "core/core_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>

#include "support/core_builder.h"

namespace incident {
namespace {

Memory memory_of(const CoreFile& core) {
    Memory memory;
    core.fill(memory);
    memory.freeze();
    return memory;
}

std::string all_damage(const CoreFile& core) {
    std::string text;
    for (const auto& error : core.damage()) text += describe(error) + "\n";
    return text;
}

TEST(CoreFile, ReadsWhatTheKernelWrote) {
    TemporaryFile file(realistic_core().build());
    auto core = file.open_core();
    ASSERT_TRUE(core.has_value()) << describe(core.error());
    EXPECT_EQ(all_damage(*core), "");
    EXPECT_FALSE(core->truncation().has_value());
    EXPECT_FALSE(core->written_by_gcore());
    EXPECT_EQ(core->machine().name, "x86-64");
    EXPECT_EQ(core->compression(), "");

    ASSERT_EQ(core->threads().size(), 3u);
    const ThreadState& dying = core->threads()[0];
    EXPECT_EQ(dying.tid, 4711);
    EXPECT_EQ(dying.current_signal, SIGSEGV);
    EXPECT_EQ(dying.registers.pc(), Address{0x401234});
    EXPECT_EQ(dying.registers.get("fs_base"), 0x7f0000003740u);
    EXPECT_EQ(dying.registers.get_dwarf(6), 0x7ffd00001040u);
    ASSERT_TRUE(dying.signal.has_value());
    EXPECT_EQ(dying.signal->fault_address, Address{0x18});
    EXPECT_EQ(dying.fpregs.size(), 512u);
    EXPECT_EQ(dying.fpregs[0], std::byte{1});
    EXPECT_EQ(dying.xstate.size(), 2696u);
    EXPECT_FALSE(core->threads()[1].signal.has_value());
    EXPECT_EQ(core->threads()[1].fpregs[0], std::byte{3});
    EXPECT_TRUE(core->threads()[1].xstate.empty());

    ASSERT_TRUE(core->process_info().has_value());
    EXPECT_EQ(core->process_info()->arguments, "/srv/service --port 80");
    EXPECT_EQ(core->aux(AT_ENTRY), 0x401000u);
    EXPECT_EQ(core->aux(AT_UID), std::nullopt);
    ASSERT_EQ(core->mapped_files().size(), 4u);
    EXPECT_EQ(core->mapped_files()[1].file_offset, 0x2000u);
    EXPECT_EQ(core->mapped_files()[3].path, "/tmp/plugin.so");
    EXPECT_TRUE(core->mapped_files()[3].deleted);

    Memory memory = memory_of(*core);
    EXPECT_EQ(memory.load<std::uint8_t>(Address{0x400fff}).value(), 0x10);
    EXPECT_EQ(memory.explain(Address{0x401000}).kind, ErrorKind::absent);
    EXPECT_EQ(memory.explain(Address{0xc000004000}).kind, ErrorKind::absent);
    EXPECT_EQ(memory.explain(Address{0x10}).kind, ErrorKind::unmapped);
    EXPECT_EQ(memory.load<std::uint64_t>(Address{0xffffffffff600ff8}).value(), 0x1a1a1a1a1a1a1a1au);
}

TEST(CoreFile, KnowsGcoreByItsNotes) {
    TemporaryFile file(CoreBuilder()
                           .process_info(7, "p", "p")
                           .thread(7)
                           .sent_signal(SIGSTOP, SI_USER, 99, 1000)
                           .thread(8)
                           .sent_signal(SIGSTOP, SI_USER, 99, 1000)
                           .auxv({{AT_PAGESZ, 4096}})
                           .files({})
                           .build());
    auto core = file.open_core();
    ASSERT_TRUE(core.has_value());
    EXPECT_TRUE(core->written_by_gcore());
    EXPECT_EQ(core->threads()[1].signal->sender_pid, 99);
    EXPECT_EQ(core->threads()[1].signal->sender_uid, 1000u);
    EXPECT_EQ(core->threads()[1].signal->fault_address, std::nullopt);
}

TEST(CoreFile, AGeneralProtectionFaultHasNoAddress) {
    TemporaryFile file(CoreBuilder().thread(7, {}, SIGSEGV).fault_signal(SIGSEGV, SI_KERNEL, 0).build());
    auto core = file.open_core();
    ASSERT_TRUE(core.has_value());
    EXPECT_EQ(core->threads()[0].signal->code, 0x80);
    EXPECT_EQ(core->threads()[0].signal->fault_address, std::nullopt);
    EXPECT_EQ(core->threads()[0].signal->sender_pid, std::nullopt);
}

TEST(CoreFile, CountsSegmentsBeyond65534) {
    CoreBuilder many;
    many.thread(1).auxv({{AT_PAGESZ, 4096}}).files({});
    constexpr std::uint64_t count = 66'000;
    for (std::uint64_t i = 0; i < count; ++i) many.load(0x10000 + i * 0x2000, {}, PF_R, 0x1000);
    Bytes bytes = many.extended_numbering().build();
    auto core = TemporaryFile(bytes).open_core();
    ASSERT_TRUE(core.has_value());
    EXPECT_EQ(all_damage(*core), "");
    EXPECT_EQ(core->load_segments().size(), count);
    EXPECT_EQ(memory_of(*core).missing().size(), count);

    bytes.resize(bytes.size() - 1);  // the section header is the last thing in the file: now the count must be inferred
    auto cut = TemporaryFile(bytes).open_core();
    ASSERT_TRUE(cut.has_value());
    EXPECT_EQ(cut->load_segments().size(), count);
}

TEST(CoreFile, SaysWhereItIsCutAndWhatIsLost) {
    Bytes bytes = realistic_core().build();
    auto whole = TemporaryFile(bytes).open_core();
    ASSERT_TRUE(whole.has_value());
    const LoadSegment& stack = whole->load_segments()[10];
    ASSERT_EQ(stack.range.begin, Address{0x7ffd00000000});
    std::uint64_t missing = bytes.size() - (stack.file_offset + 0x100);
    bytes.resize(stack.file_offset + 0x100);
    auto core = TemporaryFile(bytes).open_core();
    ASSERT_TRUE(core.has_value());
    ASSERT_TRUE(core->truncation().has_value());
    EXPECT_EQ(core->truncation()->at, bytes.size());
    EXPECT_EQ(core->truncation()->missing_bytes, missing);
    EXPECT_EQ(core->load_segments()[10].lost, 0x8000u - 0x100);
    EXPECT_EQ(core->load_segments()[12].lost, 0x1000u);
    EXPECT_THAT(all_damage(*core), testing::HasSubstr("2 regions whole, 1 in part"));
    Memory memory = memory_of(*core);
    EXPECT_EQ(memory.load<std::uint8_t>(Address{0x7ffd000000ff}).value(), 0x18);
    EXPECT_EQ(memory.load<std::uint8_t>(Address{0x7ffd00000100}).error().kind, ErrorKind::truncated);
    EXPECT_EQ(memory.load<std::uint8_t>(Address{0xffffffffff600000}).error().kind, ErrorKind::truncated);
    EXPECT_EQ(core->threads().size(), 3u);
}

TEST(CoreFile, OpensAnyPrefixOfItself) {
    Bytes bytes = realistic_core().build();
    auto read_all = [](const Memory& memory) {
        unsigned sum = 0;
        for (const auto& segment : memory.segments())
            for (std::uint64_t i = 0; i < segment.range.size(); ++i) sum += std::to_integer<unsigned>(segment.data[i]);
        return sum;
    };
    std::size_t last_threads = 0;
    for (unsigned percent = 0; percent < 100; percent += 2) {
        std::size_t size = bytes.size() * percent / 100;
        auto core = TemporaryFile(std::span(bytes).first(size)).open_core();
        if (size < sizeof(Elf64_Ehdr)) {
            EXPECT_FALSE(core.has_value()) << percent;
            continue;
        }
        ASSERT_TRUE(core.has_value()) << percent << "%: " << describe(core.error());
        ASSERT_TRUE(core->truncation().has_value()) << percent;
        EXPECT_EQ(core->truncation()->at, size);
        EXPECT_EQ(core->truncation()->missing_bytes, bytes.size() - size) << percent;
        EXPECT_GE(core->threads().size(), last_threads);
        last_threads = core->threads().size();
        EXPECT_GE(read_all(memory_of(*core)), 0u);  // the sanitizer and the kernel (SIGBUS) are the real check
    }
    EXPECT_EQ(last_threads, 3u);
    for (std::size_t size = 0; size < 6000; size += 7)  // headers and notes, more finely
        if (auto core = TemporaryFile(std::span(bytes).first(size)).open_core(); core.has_value()) {
            EXPECT_TRUE(core->truncation().has_value());
            EXPECT_GE(read_all(memory_of(*core)), 0u);
        }
}

class Malformed : public testing::TestWithParam<MalformedCore> {};

TEST_P(Malformed, IsRefusedOrNamed) {
    const MalformedCore& wrong = GetParam();
    auto core = TemporaryFile(wrong.bytes).open_core();
    if (!wrong.opens) {
        ASSERT_FALSE(core.has_value());
        EXPECT_THAT(core.error().what, testing::HasSubstr(wrong.says));
        EXPECT_TRUE(core.error().kind == ErrorKind::unsupported || core.error().kind == ErrorKind::corrupt);
        return;
    }
    ASSERT_TRUE(core.has_value()) << describe(core.error());
    if (wrong.says.empty()) {
        EXPECT_EQ(all_damage(*core), "");
    } else {
        EXPECT_THAT(all_damage(*core), testing::HasSubstr(wrong.says));
    }
    Memory memory = memory_of(*core);
    for (const auto& segment : memory.segments()) {
        EXPECT_TRUE(memory.view(segment.range.begin, segment.range.size()).has_value());
        EXPECT_NE(memory.find(Address{segment.range.end.value - 1}), nullptr);
    }
    for (const auto& missing : memory.missing())
        EXPECT_FALSE(memory.load<std::uint8_t>(missing.range.begin).has_value());
}

std::string test_name(const testing::TestParamInfo<MalformedCore>& info) {
    std::string name;
    for (char c : info.param.name) name += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
    return name;
}

INSTANTIATE_TEST_SUITE_P(Table, Malformed, testing::ValuesIn(malformed_cores()), test_name);

}  // namespace
}  // namespace incident
