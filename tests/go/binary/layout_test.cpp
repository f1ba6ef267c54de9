// Versions, tables, overlays; and the conformance of every table with the DWARF of every executable in the bundles and
// of every Go toolchain at hand (.cache/go of the repository, or $INCIDENT_GO_TOOLCHAINS).
#include "go/binary/layout.h"

#include <gmock/gmock.h>

#include <cstdlib>
#include <filesystem>
#include <set>

#include "go/binary/build_info.h"
#include "image/image.h"
#include "support/corpora.h"
#include "support/memory_builder.h"

namespace incident::go {
namespace {

using testing::ElementsAre;

Version version(int minor, int patch = 99) {
    Version v;
    v.minor = minor;
    v.patch = patch;
    v.text = "go1." + std::to_string(minor) + "." + std::to_string(patch);
    return v;
}

TEST(Version, ReadsWhatToolchainsWrite) {
    auto v = parse_version("go1.26.8");
    ASSERT_TRUE(v);
    EXPECT_EQ(v->minor, 26);
    EXPECT_EQ(v->patch, 8);
    EXPECT_FALSE(v->devel);
    EXPECT_EQ(parse_version("go1.19")->patch, 0);
    EXPECT_EQ(parse_version("go1.27rc1")->minor, 27);
    EXPECT_THAT(parse_version("go1.25.12 X:noswissmap,greenteagc")->experiments,
                ElementsAre("noswissmap", "greenteagc"));
    EXPECT_THAT(parse_version("go1.26.8-X:nogreenteagc")->experiments, ElementsAre("nogreenteagc"));
    EXPECT_EQ(parse_version("go1.24.3 (Red Hat 1.24.3-1.el9)")->patch, 3);
    auto devel = parse_version("devel go1.28-0a1b2c3d Mon Aug 3 10:00:00 2026 +0000");
    ASSERT_TRUE(devel);
    EXPECT_TRUE(devel->devel);
    EXPECT_EQ(devel->minor, 28);
    for (const char* text : {"", "unknown", "go2.0", "gogo1.2", "go1.", "go1.x", "go1.99999999999", "devel +0a1b2c"})
        EXPECT_FALSE(parse_version(text)) << text;
}

TEST(LayoutTable, KnowsItsRange) {
    for (int minor = oldest_table; minor <= newest_table; ++minor) {
        auto layout = layout_from_table(version(minor));
        ASSERT_TRUE(layout) << minor;
        EXPECT_EQ(layout->source, LayoutSource::table);
        EXPECT_EQ(layout->g.stack_lo.offset, 0);
        EXPECT_TRUE(layout->moduledata.pcHeader.present());
    }
    EXPECT_EQ(layout_from_table(version(15)).error().kind, ErrorKind::unsupported);
    auto newer = layout_from_table(version(newest_table + 1));
    ASSERT_FALSE(newer);
    EXPECT_EQ(newer.error().kind, ErrorKind::unsupported);
    EXPECT_THAT(newer.error().what, testing::HasSubstr("newer"));
}

// A few numbers that people know by heart, from the sources of these releases.
TEST(LayoutTable, HasTheKnownNumbers) {
    auto go16 = *layout_from_table(version(16)), go25 = *layout_from_table(version(25)),
         go26 = *layout_from_table(version(26)), go27 = *layout_from_table(version(27));
    EXPECT_EQ(go16.g.goid.offset, 152);
    EXPECT_EQ(go25.g.sched_bp.offset, 96);
    EXPECT_EQ(go16.g.sched_bp.offset, 104);
    EXPECT_EQ(go26.sudog.elem.offset, 32);  // elem.vu
    EXPECT_EQ(go25.sudog.elem.offset, 24);
    EXPECT_EQ(go26.sudog.c.offset, 96);
    EXPECT_EQ(go27.g.size, 456u);
    EXPECT_FALSE(go27.moduledata.typelinks_data.present());
    EXPECT_TRUE(go26.moduledata.typelinks_data.present());
    EXPECT_EQ(go27.maptype.flags.offset, 128);
    EXPECT_FALSE(go16.g.parentGoid.present());
}

TEST(LayoutTable, FollowsBuildExperiments) {
    auto text = [](const char* t) { return *layout_from_table(*parse_version(t)); };
    EXPECT_GT(text("go1.24.13").swiss_map.size, 0u);
    EXPECT_EQ(text("go1.24.13").hmap.size, 0u);
    const RuntimeLayout classic = text("go1.24.13 X:noswissmap");
    EXPECT_EQ(classic.swiss_map.size, 0u);
    EXPECT_FALSE(classic.swiss_map.dirPtr.present());
    EXPECT_EQ(classic.hmap.buckets.offset, 16);
    EXPECT_TRUE(classic.maptype.bucket.present());
    EXPECT_EQ(classic.g.goid.offset, text("go1.24.13").g.goid.offset);
    EXPECT_FALSE(text("go1.25.12").spanInlineMarkBits.marks.present());
    EXPECT_TRUE(text("go1.25.12 X:greenteagc").spanInlineMarkBits.marks.present());
    EXPECT_TRUE(text("go1.26.8").spanInlineMarkBits.marks.present());
    EXPECT_FALSE(text("go1.26.8-X:nogreenteagc").spanInlineMarkBits.marks.present());
    EXPECT_FALSE(text("go1.27.1-X:nogreenteagc").spanInlineMarkBits.marks.present());
    const RuntimeLayout both = text("go1.25.12 X:noswissmap,greenteagc");
    EXPECT_TRUE(both.spanInlineMarkBits.marks.present());
    EXPECT_TRUE(both.hmap.buckets.present());
    EXPECT_TRUE(text("go1.22.12 X:noallocheaders").heapArena.bitmap.present());
    EXPECT_FALSE(text("go1.22.12").heapArena.bitmap.present());
    EXPECT_NE(text("go1.24.13 X:nospinbitmutex").m.vdsoSP.offset, text("go1.24.13").m.vdsoSP.offset);
    EXPECT_TRUE(table_is_exact(*parse_version("go1.24.13 X:nospinbitmutex")));
    EXPECT_FALSE(table_is_exact(*parse_version("go1.24.13 X:staticlockranking")));
    EXPECT_FALSE(table_is_exact(*parse_version("devel go1.27-0123 Mon")));
    EXPECT_TRUE(table_is_exact(*parse_version("go1.27.1")));
}

// go1.18.9 and go1.19.4 gave mspan a field: between two measured releases it is absent, not guessed.
TEST(LayoutTable, FollowsPatchReleases) {
    EXPECT_EQ(layout_from_table(version(19, 0))->mspan.size, 136u);
    EXPECT_FALSE(layout_from_table(version(19, 0))->mspan.freeIndexForScan.present());
    EXPECT_FALSE(layout_from_table(version(19, 2))->mspan.freeIndexForScan.present());
    EXPECT_FALSE(table_is_exact(version(19, 2)));
    EXPECT_EQ(layout_from_table(version(19, 13))->mspan.freeIndexForScan.offset, 136);
    EXPECT_EQ(layout_from_table(version(18, 1))->mspan.size, 136u);
    EXPECT_EQ(layout_from_table(version(18, 8))->mspan.size, 136u);
    EXPECT_EQ(layout_from_table(version(18, 10))->mspan.size, 144u);
    // 1.23.12 and 1.24.6 moved most of m.
    EXPECT_EQ(layout_from_table(version(24, 5))->m.alllink.offset, 328);
    EXPECT_EQ(layout_from_table(version(24, 6))->m.alllink.offset, 352);
    EXPECT_EQ(layout_from_table(version(23, 0))->m.alllink.offset, 328);
    EXPECT_EQ(layout_from_table(version(23, 3))->m.alllink.offset, 328);  // on both sides of it
    EXPECT_FALSE(layout_from_table(version(23, 2))->m.g0StackAccurate.present());
    EXPECT_FALSE(layout_from_table(version(23, 3))->m.g0StackAccurate.present());
    EXPECT_TRUE(layout_from_table(version(23, 5))->m.g0StackAccurate.present());
    EXPECT_EQ(layout_from_table(version(23, 11))->m.alllink.offset, 328);
    EXPECT_EQ(layout_from_table(version(23, 12))->m.alllink.offset, 352);
    EXPECT_TRUE(table_is_exact(version(23, 11)));
    EXPECT_TRUE(table_is_exact(version(18, 5)));  // between two releases whose fields are the same
    EXPECT_FALSE(table_is_exact(version(18, 9)));
    EXPECT_FALSE(table_is_exact(version(23, 3)));
}

TEST(LayoutMembers, AreDistinct) {
    std::set<std::size_t> places;
    for (const LayoutMember& member : layout_members()) {
        EXPECT_TRUE(places.insert(member.where).second) << member.struct_name << "." << member.field_name;
        EXPECT_FALSE(member.path.empty());
    }
    EXPECT_GT(places.size(), 500u);
}

TEST(StructView, SaysAbsentNotZero) {
    MemoryBuilder m;
    auto memory = m.at(0xc000000000).mark("g").u64(1).u64(2).build();
    StructView view(memory, memory["g"]);
    EXPECT_EQ(*view.get(Field<std::uint64_t>{8}), 2u);
    auto absent = view.get(Field<std::uint64_t>{});
    ASSERT_FALSE(absent);
    EXPECT_EQ(absent.error().kind, ErrorKind::absent);
    EXPECT_EQ(view.get(Field<std::uint64_t>{16}).error().kind, ErrorKind::unmapped);
    EXPECT_EQ(view.sub(Place{8})->address(), memory["g"] + 8);
    EXPECT_FALSE(view.sub(Place{}));
}

// ── conformance
// ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/// Every struct that the executable's DWARF describes must be as in the table of its version, field by field.
void expect_table_equals_dwarf(const std::string& path) {
    auto image = Image::open(path);
    ASSERT_TRUE(image) << describe(image.error());
    Memory memory;
    for (const Segment& segment : image->file_segments()) memory.add(segment);
    memory.freeze();
    auto info = find_build_info(memory, *image);
    ASSERT_TRUE(info && info->version) << path;
    auto parsed = parse_version(*info->version);
    ASSERT_TRUE(parsed) << *info->version;
    auto dwarf = layout_from_dwarf_only(*image);
    auto table = layout_from_table(*parsed);
    ASSERT_TRUE(dwarf) << describe(dwarf.error());
    ASSERT_TRUE(table) << describe(table.error());
    ASSERT_TRUE(table_is_exact(*parsed)) << parsed->text << " is not measured";
    int compared = 0;
    bool described = false;
    for (const LayoutMember& member : layout_members()) {
        if (member.field_name.empty()) described = get_member(*dwarf, member) != 0;
        if (!described) continue;
        ++compared;
        EXPECT_EQ(get_member(*dwarf, member), get_member(*table, member))
            << path << ": " << member.struct_name << "." << member.field_name << ", " << parsed->text;
    }
    EXPECT_GT(compared, 450) << path;  // programs lack types they do not use; the runtime's own are always there
}

class LayoutConformance : public testing::TestWithParam<std::string> {};

TEST_P(LayoutConformance, TableEqualsDwarf) {
    auto directory = test::corpus(GetParam());
    if (!directory) GTEST_SKIP() << test::corpus_problem();
    for (const char* build : {"exe.dwarf", "exe.pie", "exe.cgo"}) {
        const auto path = *directory / build;
        if (std::filesystem::exists(path)) expect_table_equals_dwarf(path.string());
    }
}

INSTANTIATE_TEST_SUITE_P(Bundles, LayoutConformance, testing::ValuesIn(test::bundles("go1.")), [](const auto& bundle) {
    std::string name = bundle.param;
    std::replace(name.begin(), name.end(), '.', '_');
    return name;
});
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(LayoutConformance);

class ToolchainConformance : public testing::TestWithParam<int> {};

TEST_P(ToolchainConformance, TableEqualsDwarf) {
    const char* elsewhere = std::getenv("INCIDENT_GO_TOOLCHAINS");
    const std::string minor = std::to_string(GetParam());
    const std::string go =
        (elsewhere == nullptr ? std::string(INCIDENT_SOURCE_DIR "/.cache/go") : std::string(elsewhere)) + "/1." +
        minor + "/bin/go";
    if (!std::filesystem::exists(go))
        GTEST_SKIP() << "SKIPPED: no Go 1." << minor
                     << " toolchain at hand (corpora/tools/toolchains.sh fetches them; or set INCIDENT_GO_TOOLCHAINS)";
    struct Build {
        const char* experiment;
        int oldest, newest;
    };
    for (const Build& build : {Build{"", 16, 27},
                               {"noallocheaders", 22, 22},
                               {"noexectracer2", 22, 22},
                               {"nospinbitmutex", 24, 24},
                               {"nosynchashtriemap", 24, 25},
                               {"noswissmap,nospinbitmutex,nosynchashtriemap", 24, 24},
                               {"noswissmap", 24, 25},
                               {"greenteagc", 25, 25},
                               {"nogreenteagc", 26, 27},
                               {"noswissmap,greenteagc", 25, 25}}) {
        if (GetParam() < build.oldest || GetParam() > build.newest) continue;
        const std::string exe = testing::TempDir() + "layout_go1." + minor + build.experiment;
        const std::string command = "'" INCIDENT_SOURCE_DIR "/corpora/tools/layout/generate.sh' exe '" + exe + "' '" +
                                    go + "' '" + build.experiment + "'";
        ASSERT_EQ(std::system(command.c_str()), 0) << command;
        expect_table_equals_dwarf(exe);
        std::filesystem::remove(exe);
    }
}

INSTANTIATE_TEST_SUITE_P(Go, ToolchainConformance, testing::Range(oldest_table, newest_table + 1));

}  // namespace
}  // namespace incident::go
