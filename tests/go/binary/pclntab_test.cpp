// Pclntab on tables written by hand, sound and hostile.
#include "go/binary/pclntab.h"

#include <gmock/gmock.h>

#include "pclntab_builder.h"

namespace incident::go {
namespace {

class PclntabFormats : public testing::TestWithParam<int> {
protected:
    void SetUp() override {
        built_ = build_pclntab(GetParam());
        auto parsed = Pclntab::parse(built_.memory, built_.tables, built_.version);
        ASSERT_TRUE(parsed) << describe(parsed.error());
        table_ = *parsed;
    }
    BuiltPclntab built_;
    Pclntab table_;
};

Address at(std::uint64_t offset) { return Address{built_text + offset}; }

TEST_P(PclntabFormats, FindsFunctionsByAddress) {
    EXPECT_EQ(table_.function_count(), 2u);
    auto outer = table_.find(at(0x3f));
    ASSERT_TRUE(outer);
    EXPECT_EQ(outer->name, "main.outer");
    EXPECT_EQ(outer->entry, at(0));
    EXPECT_EQ(outer->end, at(0x40));
    EXPECT_EQ(outer->args, 16);
    EXPECT_EQ(outer->deferreturn, 0x30u);
    EXPECT_EQ(outer->start_line, GetParam() >= 20 ? 9 : 0);
    EXPECT_FALSE(outer->wrapper);
    auto leaf = table_.find(at(0x40));
    ASSERT_TRUE(leaf);
    EXPECT_EQ(leaf->name, "main.leaf");
    EXPECT_TRUE(leaf->wrapper);
    EXPECT_TRUE(leaf->top_frame());
    EXPECT_FALSE(table_.find(at(0x60)));
    EXPECT_FALSE(table_.find(at(0) - 1));
    EXPECT_FALSE(table_.find(Address{~0ull}));
}

TEST_P(PclntabFormats, DecodesValuesAtPcs) {
    const Func f = *table_.find(at(0));
    PcValueCache cache;
    for (int round = 0; round < 2; ++round) {  // the second one from the cache
        EXPECT_EQ(table_.sp_delta(f, at(0), cache), 0);
        EXPECT_EQ(table_.sp_delta(f, at(4), cache), 24);
        EXPECT_EQ(table_.sp_delta(f, at(0x3b), cache), 24);
        EXPECT_EQ(table_.sp_delta(f, at(0x3c), cache), 0);
        EXPECT_EQ(table_.position(f, at(0x14), cache).line, 201);
    }
    EXPECT_EQ(table_.sp_delta(f, at(0x3b)), 24);
    EXPECT_FALSE(table_.sp_delta(f, at(0x40)));
    const SourcePosition position = table_.position(f, at(0x11));
    EXPECT_EQ(position.file, "inner.go");
    EXPECT_EQ(position.line, 101);
    EXPECT_EQ(table_.position(f, at(0x8)).file, "outer.g");
    EXPECT_EQ(table_.pcdata(f, PcData::inline_tree_index, at(0x14)), 1);
    EXPECT_EQ(table_.pcdata(f, PcData::inline_tree_index, at(0)), -1);
    EXPECT_EQ(table_.pcdata(f, PcData::stack_map_index, at(0)), -1);
    EXPECT_EQ(table_.funcdata(f, FuncData::open_coded_defer_info), built_.memory["defers"]);
    EXPECT_EQ(table_.funcdata(f, FuncData::inline_tree), built_.memory["tree"]);
    EXPECT_FALSE(table_.funcdata(f, FuncData::stack_objects));
    EXPECT_FALSE(table_.funcdata(f, FuncData::wrap_info));
}

TEST_P(PclntabFormats, UnfoldsInlinedCalls) {
    const Func f = *table_.find(at(0));
    auto frames = table_.logical_frames(f, at(0x15));
    ASSERT_EQ(frames.size(), 3u);
    EXPECT_EQ(frames[0].function, "main.inner");
    EXPECT_EQ(frames[0].position.line, 201);
    EXPECT_TRUE(frames[0].inlined);
    EXPECT_EQ(frames[0].wrapper, GetParam() >= 20);
    EXPECT_EQ(frames[1].function, "main.middle");
    EXPECT_EQ(frames[1].position.line, 101);
    EXPECT_EQ(frames[1].position.file, "inner.go");
    EXPECT_EQ(frames[1].start_line, GetParam() >= 20 ? 100 : 0);
    EXPECT_EQ(frames[2].function, "main.outer");
    EXPECT_EQ(frames[2].position.line, 10);
    EXPECT_EQ(frames[2].position.file, "outer.g");
    EXPECT_FALSE(frames[2].inlined);
    EXPECT_EQ(table_.logical_frames(f, at(0x30)).size(), 1u);
    // A buffer that is too small keeps the physical function.
    std::array<LogicalFrame, 2> two;
    ASSERT_EQ(table_.logical_frames(f, at(0x15), two), 2u);
    EXPECT_EQ(two[0].function, "main.inner");
    EXPECT_EQ(two[1].function, "main.outer");
    EXPECT_EQ(table_.logical_frames(f, at(0x15), std::span<LogicalFrame>{}), 0u);
}

TEST_P(PclntabFormats, FindsFunctionsByName) {
    EXPECT_EQ(table_.find_by_name("main.leaf")->entry, at(0x40));
    EXPECT_FALSE(table_.find_by_name("main.lea"));
    std::array<std::string_view, 3> names = {"main.leaf", "none", "main.outer"};
    std::array<std::optional<Func>, 3> found;
    table_.find_by_names(names, found);
    EXPECT_EQ(found[0]->entry, at(0x40));
    EXPECT_FALSE(found[1]);
    EXPECT_EQ(found[2]->entry, at(0));
}

/// Every question that can be asked, at every pc; nothing may be read out of bounds (ASan watches) or loop.
void ask_everything(const Pclntab& table) {
    PcValueCache cache;
    std::array<LogicalFrame, 16> frames;
    std::size_t characters = 0;
    for (std::uint64_t pc = built_text - 2; pc < built_text + 0x70; ++pc) {
        auto f = table.find(Address{pc});
        if (!f) continue;
        characters += f->name.size() + table.position(*f, Address{pc}).file.size();
        (void)table.sp_delta(*f, Address{pc}, cache);
        for (auto which :
             {PcData::unsafe_point, PcData::stack_map_index, PcData::inline_tree_index, PcData::arg_live_index})
            (void)table.pcdata(*f, which, Address{pc});
        for (int i = 0; i < 8; ++i) (void)table.funcdata(*f, static_cast<FuncData>(i));
        const std::size_t count = table.logical_frames(*f, Address{pc}, frames, &cache);
        for (std::size_t i = 0; i < count; ++i) characters += frames[i].function.size();
    }
    for (std::size_t i = 0; i < table.function_count() + 2; ++i) characters += table.name_at(i).size();
    (void)table.find_by_name("x");
    EXPECT_LT(characters, 1u << 24);
}

TEST_P(PclntabFormats, SurvivesEveryBrokenByte) {
    // The tables as bytes; each byte in turn becomes 0x00, 0xff and 0x80 (an endless varint), copied to its own memory.
    const Address begin = built_.memory["names"], end = built_.memory["tree.end"];
    std::vector<std::byte> whole(static_cast<std::size_t>(end - begin));
    ASSERT_TRUE(built_.memory->load(begin, whole));
    for (std::size_t i = 0; i < whole.size(); ++i)
        for (std::uint8_t value : {0x00, 0xff, 0x80}) {
            auto broken = std::make_unique<std::byte[]>(whole.size());
            std::copy(whole.begin(), whole.end(), broken.get());
            broken[i] = std::byte{value};
            Memory memory;
            memory.add({{begin, end}, broken.get(), Origin::core, 4});
            std::array<std::byte, 8> header;
            ASSERT_TRUE(built_.memory->load(built_.tables.header, header));
            memory.add({{built_.tables.header, built_.tables.header + 8}, header.data(), Origin::core, 4});
            memory.freeze();
            auto table = Pclntab::parse(memory, built_.tables, built_.version);
            if (table) ask_everything(*table);
        }
}

TEST_P(PclntabFormats, RefusesImpossibleTables) {
    auto parse = [&](auto change) {
        Pclntab::Tables tables = built_.tables;
        change(tables);
        return Pclntab::parse(built_.memory, tables, built_.version);
    };
    EXPECT_FALSE(parse([](auto& t) { t.functab.end = t.functab.begin; }));
    EXPECT_FALSE(parse([](auto& t) { t.functab.end = t.functab.begin - 8; }));
    EXPECT_FALSE(parse([](auto& t) { t.functab.end = t.functab.begin + (1ull << 40); }));
    EXPECT_FALSE(parse([](auto& t) { t.pctab = {Address{0x10}, Address{0x20}}; }));
    EXPECT_FALSE(parse([](auto& t) { t.header = Address{0x10}; }));
    EXPECT_FALSE(parse([](auto& t) { t.header += 8; }));
    // Wrong but readable: answers, no more.
    for (int shift = -64; shift < 64; shift += 3) {
        auto table = parse([&](auto& t) {
            t.pclntable = {t.pclntable.begin + static_cast<std::uint64_t>(shift), t.pclntable.end};
            t.pctab = {t.pctab.begin + static_cast<std::uint64_t>(shift / 8), t.pctab.end};
        });
        if (table) ask_everything(*table);
    }
}

TEST_P(PclntabFormats, CopiesTablesThatCrossSegments) {
    // The same bytes in two segments with separate storage, split inside the name table.
    const Address begin = built_.tables.header, end = built_.memory["tree.end"], middle = built_.memory["n.leaf"] + 3;
    std::vector<std::byte> low(static_cast<std::size_t>(middle - begin)), high(static_cast<std::size_t>(end - middle));
    ASSERT_TRUE(built_.memory->load(begin, low));
    ASSERT_TRUE(built_.memory->load(middle, high));
    Memory memory;
    memory.add({{begin, middle}, low.data(), Origin::core, 4});
    memory.add({{middle, end}, high.data(), Origin::core, 6});
    memory.freeze();
    auto table = Pclntab::parse(memory, built_.tables, built_.version);
    ASSERT_TRUE(table) << describe(table.error());
    EXPECT_EQ(table->find(at(0x40))->name, "main.leaf");
}

INSTANTIATE_TEST_SUITE_P(Go, PclntabFormats, testing::Values(16, 17, 18, 19, 20, 21, 24, 25, 26, 27),
                         [](const auto& bundle) { return "go1_" + std::to_string(bundle.param); });

TEST(Pclntab, NamesWhatItDoesNotRead) {
    BuiltPclntab old = build_pclntab(16, 0xfffffffb);
    auto refused = Pclntab::parse(old.memory, old.tables, old.version);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, ErrorKind::unsupported);
    EXPECT_THAT(refused.error().what, testing::HasSubstr("1.15"));
    BuiltPclntab odd = build_pclntab(27, 0x12345678);
    EXPECT_EQ(Pclntab::parse(odd.memory, odd.tables, odd.version).error().kind, ErrorKind::corrupt);
}

TEST(Pclntab, RecognisesHeaders) {
    auto header = [](std::vector<std::uint8_t> bytes) { return Pclntab::is_header(std::as_bytes(std::span(bytes))); };
    EXPECT_TRUE(header({0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8}));
    EXPECT_TRUE(header({0xfa, 0xff, 0xff, 0xff, 0, 0, 1, 8}));
    EXPECT_FALSE(header({0xf1, 0xff, 0xff, 0xff, 0, 0, 4, 8}));  // arm64 has quantum 4
    EXPECT_FALSE(header({0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 4}));
    EXPECT_FALSE(header({0xf1, 0xff, 0xff, 0xff}));
}

}  // namespace
}  // namespace incident::go
