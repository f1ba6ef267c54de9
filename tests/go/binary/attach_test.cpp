// Runtime::attach on the bundled cores of every Go release: the same answers with symbols, stripped,
// position-independent and with cgo, and what is left without the executable.
#include "go/binary/runtime.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "go/binary/globals.h"
#include "go/binary/module_data.h"
#include "image/images.h"
#include "support/opened_target.h"

namespace incident::go {
namespace {

std::string underscored(std::string name) {
    std::replace(name.begin(), name.end(), '.', '_');
    return name;
}

/// "go1.18.1" from the truth's first line: probe mode=… go=… pid=…
std::string true_version(const test::Probe& probe) {
    const std::string truth = test::read_text(probe.truth);
    const auto at = truth.find(" go=");
    return at == std::string::npos ? "" : truth.substr(at + 4, truth.find_first_of(" \n", at + 4) - at - 4);
}

class Attach : public testing::TestWithParam<std::string> {
protected:
    Result<Runtime> attach(const test::OpenedTarget& target) {
        return Runtime::attach(target.core, *target.memory, *target.images, *target.disassembler);
    }
};

#define OPEN(target, probe)                            \
    auto target = test::open_target(*(probe));         \
    ASSERT_TRUE(target) << describe((target).error()); \
    auto runtime = attach(*(target));                  \
    ASSERT_TRUE(runtime) << describe(runtime.error())

TEST_P(Attach, FindsTheRuntime) {
    INCIDENT_NEED_PROBE(probe, GetParam(), "dwarf", "waits");
    OPEN(target, probe);
    EXPECT_EQ(runtime->version().text, true_version(*probe));
    ASSERT_EQ(runtime->modules().size(), 1u);
    EXPECT_TRUE(runtime->gaps().empty()) << runtime->gaps().front().what << ": " << runtime->gaps().front().why;
    const ModuleData& module = runtime->modules().front();
    EXPECT_TRUE(module.pluginpath.empty());
    EXPECT_GT(module.pclntab.function_count(), 1000u);
    EXPECT_EQ(runtime->globals().basis, "decoded");
    EXPECT_EQ(runtime->description().debug_info, "dwarf");
    EXPECT_FALSE(runtime->cgo());
    auto main = runtime->find_func("main.main");
    ASSERT_TRUE(main);
    EXPECT_EQ(runtime->find_func(main->entry + 5)->name, "main.main");
    EXPECT_EQ(runtime->find_func("runtime.goexit")->special, SpecialFunc::goexit);
    EXPECT_FALSE(runtime->find_func(Address{0x10}));
}

/// Whatever is sized after the types is sized after what is there.
TEST_P(Attach, TypesEndWhereMemoryEnds) {
    INCIDENT_NEED_PROBE(probe, GetParam(), "dwarf", "waits");
    OPEN(target, probe);
    const ModuleData& module = runtime->modules().front();
    const auto& fields = runtime->layout().moduledata;
    ASSERT_FALSE(module.types.empty());
    for (const std::uint64_t size : {std::uint64_t{1} << 30, ~module.types.begin.value}) {
        const std::uint64_t claimed = module.types.begin.value + size;
        const Address at = module.address + static_cast<std::uint64_t>(fields.etypes.offset);
        Memory lying;
        for (const Segment& segment : target->memory->segments()) lying.add(segment);
        lying.add({{at, at + 8}, reinterpret_cast<const std::byte*>(&claimed), Origin::core, 6});
        lying.freeze();
        auto read = read_module(lying, runtime->layout(), runtime->version(), module.address, module.image);
        ASSERT_TRUE(read) << describe(read.error());
        EXPECT_TRUE(read->types.contains(module.types));
        EXPECT_NE(lying.find(Address{read->types.end.value - 1}), nullptr);
        EXPECT_EQ(lying.find(read->types.end), nullptr);
    }
}

/// Each answer by decoding equals the symbol; each by scanning equals it too.
void expect_same_globals(const test::OpenedTarget& target, const Runtime& runtime) {
    const ModuleData& module = runtime.modules().front();
    ASSERT_NE(module.image, nullptr);
    const std::vector<AddressRange> data = {module.data, module.bss, module.noptrbss, module.noptrdata};
    GlobalSearch symbols(*target.memory, runtime.layout(), data), decoded(*target.memory, runtime.layout(), data),
        scanned(*target.memory, runtime.layout(), data);
    find_by_symbols(symbols, *module.image);
    find_by_decoding(decoded, module.pclntab, *target.disassembler);
    find_by_scan(scanned);
    EXPECT_THAT(symbols.doubtful, testing::IsEmpty());
    const Globals &s = symbols.found, &d = decoded.found, &c = scanned.found;
#define SAME(name) EXPECT_EQ(s.name, d.name) << #name
    SAME(allgs);
    SAME(allglen);
    SAME(allgptr);
    SAME(allm);
    SAME(allp);
    SAME(sched);
    SAME(semtable);
    SAME(mheap);
    SAME(stackpool);
    SAME(stack_large);
    SAME(print_backlog);
    SAME(print_backlog_index);
    SAME(panicking);
    SAME(wait_reason_strings);
    SAME(build_version);
#undef SAME
    if (d.allfin) {  // nothing to tell it by while no finalizer was queued
        EXPECT_EQ(d.allfin, s.allfin);
    }
    if (d.memstats) {  // nor before the first collection
        EXPECT_EQ(d.memstats, s.memstats);
    }
    EXPECT_EQ(c.allgs, s.allgs);
    EXPECT_EQ(c.mheap, s.mheap);
    EXPECT_EQ(c.allm, s.allm);
    EXPECT_EQ(c.sched, s.sched);
}

TEST_P(Attach, DecodingFindsWhatSymbolsSay) {
    bool any = false;
    for (auto [build, mode] : {std::pair{"dwarf", "waits"},
                               {"dwarf", "heap"},
                               {"dwarf", "overflow"},
                               {"pie", "waits"},
                               {"cgo", "chold"},
                               {"cgo", "csegv"}}) {
        auto probe = test::probe(GetParam(), build, mode);
        if (!probe) continue;
        any = true;
        SCOPED_TRACE(probe->core);
        OPEN(target, probe);
        expect_same_globals(*target, *runtime);
        EXPECT_EQ(runtime->cgo(), std::string_view(build) == "cgo");
    }
    if (!any) GTEST_SKIP() << test::corpus_problem();
}

TEST_P(Attach, StrippedIsNoDifference) {
    INCIDENT_NEED_PROBE(probe, GetParam(), "stripped", "waits");
    OPEN(target, probe);
    EXPECT_EQ(runtime->version().text, true_version(*probe));
    EXPECT_EQ(runtime->description().debug_info, "stripped");
    EXPECT_TRUE(runtime->gaps().empty());
    const Globals& g = runtime->globals();
    EXPECT_TRUE(g.allgs && g.allglen && g.allgptr && g.allm && g.allp && g.sched && g.semtable && g.mheap &&
                g.stackpool && g.stack_large);
    EXPECT_TRUE(g.print_backlog && g.print_backlog_index && g.panicking && g.wait_reason_strings);
    EXPECT_GE(g.wait_reason_count, 27u);
    EXPECT_FALSE(runtime->find_variable("runtime.allgs"));
}

/// The goroutine that the program says is there, found by walking allgs with what attach gave.
TEST_P(Attach, LayoutReadsTheTruth) {
    for (const char* build : {"stripped", "pie"}) {
        auto probe = test::probe(GetParam(), build, "waits");
        if (!probe) GTEST_SKIP() << test::corpus_problem();
        OPEN(target, probe);
        const std::string truth = test::read_text(probe->truth);
        std::set<std::uint64_t> expected, found;
        for (std::size_t at = 0; (at = truth.find("\ngoroutine id=", at)) != std::string::npos; ++at)
            expected.insert(std::stoull(truth.substr(at + 14)));
        ASSERT_GT(expected.size(), 60u);
        const Memory& memory = *target->memory;
        const Address first = *memory.load_address(*runtime->globals().allgs);
        const auto count = *memory.load<std::uint64_t>(*runtime->globals().allgs + 8);
        for (std::uint64_t i = 0; i < count; ++i) {
            const StructView g(memory, *memory.load_address(first + i * 8));
            const auto status = *g.get(runtime->layout().g.atomicstatus);
            EXPECT_LE(status & ~0x1000u, 11u);
            if (status == 4) {
                auto f = runtime->find_func(*g.get(runtime->layout().g.startpc));
                EXPECT_TRUE(f && f->entry == *g.get(runtime->layout().g.startpc));
            }
            if (status != 6) found.insert(*g.get(runtime->layout().g.goid));
        }
        for (std::uint64_t id : expected) EXPECT_TRUE(found.contains(id)) << id;
        std::size_t threads = 0;
        for (Address m = *memory.load_address(*runtime->globals().allm); !m.is_null() && threads < 1000; ++threads)
            m = *StructView(memory, m).get(runtime->layout().m.alllink);
        EXPECT_EQ(threads, target->core.threads().size()) << probe->core;
    }
}

/// pclntab against the DWARF of the same executable: lines and inlined calls at pcs from all over the program.
TEST_P(Attach, PclntabAgreesWithDwarf) {
    INCIDENT_NEED_PROBE(probe, GetParam(), "dwarf", "waits");
    OPEN(target, probe);
    const Pclntab& table = runtime->modules().front().pclntab;
    const Image& image = *runtime->modules().front().image;
    std::size_t compared = 0, different = 0;
    for (std::size_t i = 0; i < table.function_count(); i += 7) {
        auto f = table.at_index(i);
        ASSERT_TRUE(f);
        EXPECT_EQ(table.find(f->entry)->name, f->name);
        if (!f->name.starts_with("main.") && !f->name.starts_with("net.") && !f->name.starts_with("fmt.")) continue;
        const std::uint64_t size = static_cast<std::uint64_t>(f->end - f->entry);
        for (std::uint64_t offset = 0; offset < size; offset += 37) {
            const auto line = image.line_at(f->entry + offset);
            const auto position = table.position(*f, f->entry + offset);
            if (!line || line->line == 0 || position.line == 0) continue;
            ++compared;
            different += static_cast<std::uint32_t>(position.line) != line->line ||
                         !std::string_view(line->file).ends_with(position.file.substr(position.file.rfind('/') + 1));
        }
    }
    EXPECT_GT(compared, 500u);
    EXPECT_LE(different * 200, compared) << different << " of " << compared;  // padding and prologues may differ
}

TEST_P(Attach, ReadsTypeNames) {
    INCIDENT_NEED_PROBE(probe, GetParam(), "dwarf", "waits");
    OPEN(target, probe);
    // The itab of (io.Writer, *os.File): its second word is the type.
    auto symbol = runtime->find_variable("go.itab.*os.File,io.Writer");
    if (!symbol) symbol = runtime->find_variable("go:itab.*os.File,io.Writer");
    if (symbol) {
        const StructView itab(*target->memory, *symbol);
        EXPECT_EQ(runtime->type_name(*itab.get(runtime->layout().itab.type)), "*os.File");
        EXPECT_EQ(runtime->type_name(*itab.get(runtime->layout().itab.inter)), "io.Writer");
    }
    EXPECT_FALSE(runtime->type_name(Address{0x10}));
    // Any address inside the types: an answer or none, never a crash.
    const AddressRange types = runtime->modules().front().types;
    for (std::uint64_t offset = 0; offset < types.size(); offset += 1021)
        (void)runtime->type_name(types.begin + offset);
    (void)runtime->type_name(types.end - 1);
}

/// A core alone: in a directory of its own, so that no executable is found beside it.
TEST_P(Attach, CoreAlone) {
    for (auto [build, mode] : {std::pair{"dwarf", "waits"}, {"pie", "waits"}, {"cgo", "chold"}}) {
        auto probe = test::probe(GetParam(), build, mode);
        if (!probe) GTEST_SKIP() << test::corpus_problem();
        SCOPED_TRACE(probe->core);
        OPEN(full_target, probe);
        const Globals expected = runtime->globals();

        const std::filesystem::path directory =
            std::filesystem::path(testing::TempDir()) / ("alone." + GetParam() + "." + build) / "a";
        std::filesystem::create_directories(directory);
        const auto link = directory / "core";
        std::filesystem::remove(link);
        std::filesystem::create_symlink(std::filesystem::absolute(probe->core), link);
        auto target = test::open_target(link.string(), "");
        ASSERT_TRUE(target) << describe(target.error());
        ASSERT_EQ(target->images->executable(), nullptr);
        auto alone = attach(*target);
        ASSERT_TRUE(alone) << describe(alone.error());
        EXPECT_EQ(alone->version().minor, runtime->version().minor);
        if (runtime->version().minor >= 18) { EXPECT_EQ(alone->version().text, runtime->version().text); }
        EXPECT_EQ(alone->globals().allgs, expected.allgs);
        EXPECT_EQ(alone->globals().allm, expected.allm);
        EXPECT_EQ(alone->globals().sched, expected.sched);
        EXPECT_EQ(alone->globals().mheap, expected.mheap);
        // Up to 1.25 a PIE has its function table in relocated data, which is in the core.
        const bool table_in_core = std::string_view(build) == "pie" && runtime->version().minor <= 25;
        EXPECT_EQ(alone->modules().size(), table_in_core ? 1u : 0u);
        if (table_in_core) {
            auto main = runtime->find_func("main.main"), here = alone->find_func("main.main");
            ASSERT_TRUE(main && here);
            EXPECT_EQ(here->entry, main->entry);
            EXPECT_EQ(alone->modules().front().pclntab.position(*here, here->entry).line,
                      runtime->modules().front().pclntab.position(*main, main->entry).line);
        }
        std::filesystem::remove_all(directory.parent_path());
    }
}

/// A core cut anywhere: an answer or an error, and as long as the file is there, function names.
TEST(AttachDamaged, CutCores) {
    INCIDENT_NEED_PROBE(probe, "go1.24", "stripped", "waits");
    const std::string copy = testing::TempDir() + "cut.core." + std::to_string(::getpid());
    const auto size = std::filesystem::file_size(probe->core);
    ASSERT_EQ(std::system(("cp --sparse=always '" + probe->core + "' '" + copy + "'").c_str()), 0);
    std::size_t attached = 0;
    for (double part : {0.9, 0.5, 0.1, 0.01, 0.002, 0.001, 0.0006, 0.0004, 0.0002, 0.0001, 0.00002}) {
        std::filesystem::resize_file(copy, static_cast<std::uintmax_t>(part * static_cast<double>(size)));
        auto target = test::open_target(copy, probe->executable);
        if (!target) continue;
        auto runtime = Runtime::attach(target->core, *target->memory, *target->images, *target->disassembler);
        if (!runtime) {
            EXPECT_FALSE(runtime.error().what.empty());
            continue;
        }
        ++attached;
        ASSERT_FALSE(runtime->modules().empty()) << part;
        EXPECT_TRUE(runtime->find_func("main.main")) << part;
        if (!runtime->globals().allgs) { EXPECT_FALSE(runtime->gaps().empty()) << part; }
    }
    EXPECT_GE(attached, 4u);
    std::filesystem::remove(copy);
}

INSTANTIATE_TEST_SUITE_P(Bundles, Attach, testing::ValuesIn(test::bundles("go1.")),
                         [](const auto& bundle) { return underscored(bundle.param); });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Attach);

}  // namespace
}  // namespace incident::go
