// Go executables of every bundled version: identity, sections, and the types and variables that their DWARF 4 or 5
// defines, in sections compressed by either convention.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "image/go_types.h"
#include "image/types.h"
#include "support/corpora.h"
#include "support/opened_core.h"

namespace incident {
namespace {

class GoImage : public testing::TestWithParam<std::string> {};

TEST_P(GoImage, IdentitySectionsTypesAndGlobals) {
    INCIDENT_NEED_PROBE(probe, GetParam(), "dwarf", "nilderef");
    auto opened = OpenedCore::open(probe->core, {.executable = probe->executable});
    ASSERT_TRUE(opened.has_value());
    const Image* program = opened->images.executable();
    ASSERT_NE(program, nullptr);
    EXPECT_EQ(program->status(), report::ModuleStatus::verified);
    EXPECT_TRUE(opened->images.gaps().empty());
    for (const char* name : {".text", ".gopclntab", ".go.buildinfo", ".note.go.buildid"}) {
        const Section* section = program->find_section(name);
        ASSERT_NE(section, nullptr) << name;
        EXPECT_FALSE(section->range.empty()) << name;
        EXPECT_EQ(section->range.size(), section->bytes.size()) << name;
        EXPECT_NE(opened->memory.data_at(section->range.begin, section->range.size()), nullptr) << name;
    }

    const std::vector<std::string> types{"runtime.g",  "runtime.mspan", "runtime.schedt",
                                         "sync.Mutex", "main.account",  "runtime.none"};
    auto structs = find_structs(*program, types);
    EXPECT_EQ(structs.size(), 5u);
    ASSERT_TRUE(structs.contains("runtime.g"));
    const StructLayout& g = structs["runtime.g"];
    EXPECT_EQ(g.find("stack")->type, "runtime.stack");
    EXPECT_EQ(g.find("goid")->size, 8u);
    EXPECT_TRUE(g.find("m")->pointer);
    EXPECT_EQ(g.find("m")->type, "*runtime.m");
    EXPECT_EQ(structs["main.account"].find("owner")->type, "*main.person");

    const std::vector<std::string> names{"runtime.allgs", "runtime.sched", "runtime.mheap_", "main.nothing"};
    auto globals = find_globals(*program, names);
    EXPECT_EQ(globals.size(), 3u);
    for (const auto& [name, address] : globals) EXPECT_EQ(program->find_symbol(name)->address, address) << name;

    auto main = program->find_symbol("main.(*account).ownerName");
    ASSERT_TRUE(main.has_value());
    const auto line = program->line_at(main->address);
    ASSERT_TRUE(line.has_value());
    EXPECT_TRUE(line->file.ends_with(".go")) << line->file;
    const auto frames = program->inline_frames_at(main->address);
    ASSERT_FALSE(frames.empty());
    EXPECT_EQ(frames.back().function, "main.(*account).ownerName");
    // On entry its parameter is where the calling convention puts it: on the stack up to 1.16, then in rax.
    Registers registers(x86_64());
    registers.set_dwarf(0, 0x1234);
    auto variables = program->variables_at(main->address, registers, Address{0x7000}, opened->memory);
    ASSERT_FALSE(variables.empty());
    EXPECT_EQ(variables[0].name, "a");
    EXPECT_EQ(variables[0].type, "*main.account");
    if (GetParam() == "go1.16") {
        EXPECT_EQ(variables[0].address, Address{0x7000});
    } else {
        EXPECT_EQ(variables[0].value, 0x1234u) << variables[0].place;
    }
}

/// Whatever lies on the stack at some pc is among the places of the function; some lie there at other pcs only.
TEST_P(GoImage, PlacesOfAFunctionAreThoseOfAllItsPcs) {
    INCIDENT_NEED_PROBE(probe, GetParam(), "dwarf", "nilderef");
    auto opened = OpenedCore::open(probe->core, {.executable = probe->executable});
    ASSERT_TRUE(opened.has_value());
    const Image& program = *opened->images.executable();
    std::size_t there = 0, only_elsewhere = 0;
    for (const char* name : {"main.audit", "main.main", "runtime.gopanic", "runtime.newproc1", "fmt.Fprintf"}) {
        const auto symbol = program.find_symbol(name);
        if (!symbol) continue;
        const auto places = go_slot_variables(program, symbol->address);
        for (std::uint64_t at = 0; at < symbol->size; at += 4) {
            const auto variables = go_frame_variables(program, symbol->address + at);
            there += variables.size();
            for (const GoFrameVariable& variable : variables)
                EXPECT_NE(std::ranges::find(places, variable), places.end()) << name << " " << variable.name;
            only_elsewhere += variables.size() < places.size() ? 1 : 0;
        }
    }
    EXPECT_GT(there, 20u);
    EXPECT_GT(only_elsewhere, 20u);
}

TEST_P(GoImage, AnotherBuildOfTheSameProgramIsRefused) {
    INCIDENT_NEED_PROBE(probe, GetParam(), "dwarf", "nilderef");
    INCIDENT_NEED_PROBE(stripped, GetParam(), "stripped", "nilderef");
    auto core = CoreFile::open(probe->core);
    ASSERT_TRUE(core.has_value());
    Memory dumped;
    core->fill(dumped);
    dumped.freeze();
    auto images = Images::match(*core, dumped, {.executable = stripped->executable});
    // The right one may lie beside the core; the wrong one is never taken.
    if (images.executable() != nullptr) {
        EXPECT_EQ(images.executable()->status(), report::ModuleStatus::verified);
        EXPECT_NE(images.executable()->found_at(), stripped->executable);
    }
    ASSERT_FALSE(images.gaps().empty());
    EXPECT_THAT(images.gaps()[0].why, testing::HasSubstr("build-id"));
}

/// hex, a constant text: its data is spilled, its length is in the code. The location list calls the eight bytes the
/// whole string, and what lies behind them is another variable's. ret is a whole string there, because a closure
/// takes its address.
TEST(GoImagePlaces, OfAStringOneWordOnTheStackIsNotTheWhole) {
    INCIDENT_NEED_PROBE(probe, "go1.26", "dwarf", "nilderef");
    auto opened = OpenedCore::open(probe->core, {.executable = probe->executable});
    ASSERT_TRUE(opened.has_value());
    const Image& program = *opened->images.executable();
    const Registers registers(x86_64());
    auto seen = [&](const char* function, const char* name, auto&& fn) {
        const auto symbol = program.find_symbol(function);
        ASSERT_TRUE(symbol.has_value()) << function;
        for (std::uint64_t at = 0; at < symbol->size; ++at) {
            for (const GoFrameVariable& variable : go_frame_variables(program, symbol->address + at))
                if (variable.name == name) fn(variable.size, std::string("slot"));
            if (at % 16 != 0) continue;
            for (const Variable& variable :
                 program.variables_at(symbol->address + at, registers, Address{0x7000}, opened->memory))
                if (variable.name == name) fn(variable.address ? variable.size : 0, variable.place);
        }
    };
    bool half = false, whole = false;
    seen("internal/strconv.fmtX", "hex", [&](std::uint64_t size, const std::string& place) {
        EXPECT_EQ(size, place == "slot" ? 8u : 0u);  // its data, by the stack maps
        half = half || place == "memory, optimized out";
    });
    seen("runtime.debugCallCheck", "ret", [&](std::uint64_t size, const std::string&) { whole = whole || size == 16; });
    EXPECT_TRUE(half);
    EXPECT_TRUE(whole);
}

std::vector<std::string> versions() {
    std::vector<std::string> out;
    for (int minor = 16; minor <= 27; ++minor) out.push_back("go1." + std::to_string(minor));
    return out;
}
INSTANTIATE_TEST_SUITE_P(Versions, GoImage, testing::ValuesIn(versions()), [](const auto& row) {
    std::string name = row.param;
    std::ranges::replace(name, '.', '_');
    return name;
});

}  // namespace
}  // namespace incident
