// The type model of real programs: the same struct from DWARF and from the runtime's descriptors, in every bundled
// version; maps and channels lead to headers that no source names.
#include "go/binary/type_table.h"

#include <gtest/gtest.h>

#include "../stacks/opened_core.h"
#include "go/binary/field_path.h"
#include "support/corpora.h"
#include "support/type_parts.h"

namespace incident::go {
namespace {

class TypesOf : public ::testing::TestWithParam<std::string> {};

std::unique_ptr<testing::OpenedCore> open(const test::Probe& probe) {
    auto opened = testing::OpenedCore::open(probe.core, probe.executable);
    EXPECT_TRUE(opened.has_value()) << (opened ? "" : describe(opened.error()));
    return opened ? std::move(*opened) : nullptr;
}

void expect_record(const TypeTable& types) {
    const TypeId id = types.find("main.record");
    ASSERT_NE(id, no_type);
    EXPECT_EQ(types[id].kind, Kind::struct_);
    EXPECT_EQ(types[id].size, 136u);
    EXPECT_EQ(types.find(types[id].rtype), id);
    const struct {
        std::string_view name;
        std::uint64_t offset;
        std::string_view type;
    } expected[] = {{"id", 0, "int64"},           {"name", 8, "string"},           {"tags", 24, "[]string"},
                    {"peer", 48, "*main.record"}, {"attrs", 56, "map[string]int"}, {"any", 64, "interface {}"},
                    {"err", 80, "error"},         {"fn", 96, "func(int) int"},     {"ch", 104, "chan string"},
                    {"arr", 112, "[3]*main.node"}};
    ASSERT_EQ(types.fields(id).size(), std::size(expected));
    for (std::size_t i = 0; i < std::size(expected); ++i) {
        const TypeField& field = types.fields(id)[i];
        EXPECT_EQ(field.name, expected[i].name);
        EXPECT_EQ(field.offset, expected[i].offset);
        EXPECT_EQ(types[field.type].name, expected[i].type);
    }
    EXPECT_EQ(types[types.field(id, "peer")->type].elem, id);
    EXPECT_TRUE(types[types.field(id, "any")->type].empty_interface);
    EXPECT_FALSE(types[types.field(id, "err")->type].empty_interface);
    const Type& map = types[types.field(id, "attrs")->type];
    EXPECT_EQ(types[map.key].name, "string");
    EXPECT_EQ(types[map.elem].name, "int");
    EXPECT_NE(map.group, no_type);
    const bool swiss = types.field(map.header, "dirPtr") != nullptr;
    EXPECT_TRUE(swiss || types.field(map.header, "buckets") != nullptr);
    EXPECT_EQ(types[map.header].size, 48u);
    EXPECT_NE(types.field(types[types.field(id, "ch")->type].header, "buf"), nullptr);
    const Type& array = types[types.field(id, "arr")->type];
    EXPECT_EQ(array.count, 3u);
    EXPECT_EQ(types[array.elem].name, "*main.node");
}

TEST_P(TypesOf, DwarfAndDescriptorsAgree) {
    for (const char* build : {"dwarf", "stripped"}) {
        INCIDENT_NEED_PROBE(probe, GetParam(), build, "heap");
        auto opened = open(*probe);
        ASSERT_NE(opened, nullptr);
        auto types = TypeTable::read(opened->memory, opened->runtime);
        EXPECT_EQ(types.has_dwarf(), std::string_view(build) == "dwarf");
        expect_record(types);
        EXPECT_NE(types.find("runtime.g"), no_type);
        EXPECT_EQ(types.find("no.such type"), no_type);
        EXPECT_EQ(types.find(Address{0x1000}), no_type);
        if (!types.has_dwarf()) continue;
        const GlobalOfType* allgs = types.find_global("runtime.allgs");
        ASSERT_NE(allgs, nullptr);
        EXPECT_EQ(types[allgs->type].name, "[]*runtime.g");
        EXPECT_EQ(allgs->address, opened->runtime.globals().allgs);
        EXPECT_EQ(types.global_at(allgs->address + 16), allgs);
        EXPECT_NE(types.global_at(allgs->address + 24), allgs);
    }
}

/// Descriptors hold the last part of a package's path; names put together from them are those of DWARF.
TEST_P(TypesOf, NamesAreTheSameWithoutDwarf) {
    INCIDENT_NEED_PROBE(probe, GetParam(), "dwarf", "heap");
    auto opened = open(*probe);
    ASSERT_NE(opened, nullptr);
    auto types = TypeTable::read(opened->memory, opened->runtime);
    std::size_t whole = 0;
    for (TypeId id = 1; id < types.size(); ++id) {
        // go1.18 leaves the package of a shape's fields out.
        if (types[id].rtype.is_null() || types[id].name.contains("go.shape.struct")) continue;
        EXPECT_EQ(opened->runtime.type_name(types[id].rtype), types[id].name);
        whole += types[id].name.contains('/') ? 1 : 0;
    }
    EXPECT_GT(whole, 20u);
}

/// What a stripped program's code proves of its package variables is what the same program's DWARF says of them.
TEST_P(TypesOf, CodeProvesOfVariablesWhatDwarfSays) {
    INCIDENT_NEED_PROBE(probe, GetParam(), "dwarf", "heap");
    auto opened = open(*probe);
    ASSERT_NE(opened, nullptr);
    const auto truth = TypeTable::read(opened->memory, opened->runtime),
               proved = TypeTable::read(opened->memory, opened->runtime, true);
    EXPECT_FALSE(proved.has_dwarf());
    const auto objects = test::objects_of(truth, opened->memory, opened->runtime);
    std::size_t maps = 0, pointers = 0, locks = 0, slices = 0, words_of_objects = 0;
    for (const GlobalOfType& global : proved.globals()) {
        const Type& type = proved[global.type];
        if (const GlobalOfType* real = truth.global_at(global.address)) {
            const auto offset = static_cast<std::uint64_t>(global.address - real->address);
            EXPECT_TRUE(test::has_part(truth, real->type, offset, type.name)) << real->name << " " << type.name;
        } else {
            auto object = objects.upper_bound(global.address);
            ASSERT_NE(object, objects.begin()) << global.name << " " << type.name;
            --object;
            const auto offset = static_cast<std::uint64_t>(global.address - object->first);
            EXPECT_TRUE(test::has_part(truth, object->second, offset, type.name))
                << global.name << " " << type.name << " behind " << truth[object->second].name;
            ++words_of_objects;
        }
        maps += type.kind == Kind::map ? 1 : 0;
        pointers += type.kind == Kind::pointer ? 1 : 0;
        slices += type.kind == Kind::slice ? 1 : 0;
        locks += type.name == "sync.Mutex" || type.name == "sync.RWMutex" ? 1 : 0;
    }
    if (opened->runtime.version().at_least(17)) { EXPECT_GT(words_of_objects, 0u); }
    EXPECT_GT(maps, 0u);
    EXPECT_GE(pointers, 5u);
    EXPECT_GT(locks, 5u);
    // go1.16 moves the arguments of append's call to the end of the function, behind a jump.
    if (std::string_view(GetParam()) != "go1.16") { EXPECT_GT(slices, 5u); }
}

TEST_P(TypesOf, NamesWordsAsGoDoes) {
    INCIDENT_NEED_PROBE(probe, GetParam(), "dwarf", "heap");
    auto opened = open(*probe);
    ASSERT_NE(opened, nullptr);
    auto types = TypeTable::read(opened->memory, opened->runtime);
    const GlobalOfType* roots = types.find_global("main.roots");
    ASSERT_NE(roots, nullptr);
    const TypeField* list = types.field(roots->type, "list");  // *main.node
    ASSERT_NE(list, nullptr);
    const Address word = roots->address + list->offset;
    EXPECT_EQ(variable_path(types, roots->address), "main.roots");
    EXPECT_EQ(variable_path(types, word), "main.roots.list");
    EXPECT_EQ(variable_path(types, word + 4), "main.roots.list+0x4");
    const auto fields = types.fields(types[list->type].elem);
    ASSERT_GT(fields.size(), 1u);
    EXPECT_EQ(variable_path(types, word, fields[1].offset), "main.roots.list." + std::string(fields[1].name));
    EXPECT_EQ(variable_path(types, word, 0), "main.roots.list");
    EXPECT_EQ(variable_path(types, word, 1 << 20), "") << "behind the end of what it points to";
    EXPECT_EQ(variable_path(types, Address{0x1000}), "");
    const TypeId record = types.find("main.record");
    EXPECT_EQ(field_path(types, record, 120, Until::first).text, ".arr[1]");
    EXPECT_EQ(field_path(types, record, 0, Until::first).text, "");
    EXPECT_EQ(field_path(types, record, 0, Until::leaf).text, ".id");
}

INSTANTIATE_TEST_SUITE_P(Bundles, TypesOf, ::testing::ValuesIn(test::bundles("go1.")),
                         [](auto& bundle) { return "go1_" + bundle.param.substr(4); });

}  // namespace
}  // namespace incident::go
