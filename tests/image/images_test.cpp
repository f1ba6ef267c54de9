// Matching on real programs: right, wrong, missing, moved, stripped and truncated executables.
#include "image/images.h"

#include <elf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "image/types.h"
#include "support/built_program.h"
#include "support/opened_core.h"

namespace incident {
namespace {

using report::ModuleStatus;
using testing::HasSubstr;
using testing::StartsWith;
namespace fs = std::filesystem;

OpenedCore open(const DeadProgram& dead, const ImageOptions& options = {}) {
    auto opened = OpenedCore::open(dead.core, options);
    EXPECT_TRUE(opened.has_value());
    return std::move(*opened);
}

TEST(Images, TheExecutableTheLibrariesAndTheVdso) {
    auto dead = build_and_crash(crasher_source, {"-O0", "-g", "-Wl,--build-id=0x1122334455667788"});
    if (!dead.problem.empty()) GTEST_SKIP() << dead.problem;
    auto opened = open(dead);
    const Image* program = opened.images.executable();
    ASSERT_NE(program, nullptr);
    EXPECT_EQ(program->build_id(), "1122334455667788");
    EXPECT_EQ(program->status(), ModuleStatus::verified);
    EXPECT_EQ(opened.images.modules().front().path, fs::canonical(dead.executable).string());
    EXPECT_TRUE(opened.images.gaps().empty());
    EXPECT_TRUE(std::ranges::any_of(opened.images.modules(), [](const auto& m) { return m.path == "[vdso]"; }));
    EXPECT_TRUE(std::ranges::any_of(opened.images.modules(), [](const auto& m) { return m.path.contains("libc.so"); }));

    // Symbols, both ways, and the data they name.
    auto main = program->find_symbol("main");
    ASSERT_TRUE(main && main->function);
    EXPECT_EQ(program->symbol_at(main->address + main->size / 2)->name, "main");
    EXPECT_EQ(opened.images.find(main->address), program);
    auto origin = program->find_symbol("origin");
    ASSERT_TRUE(origin && origin->object);
    EXPECT_EQ(opened.memory.load<int>(origin->address).value(), 3);
    EXPECT_EQ(program->find_section(".text")->range.contains(main->address), true);

    // Code is not in the kernel's core: it comes from the file, and says so.
    const Segment* code = opened.memory.find(main->address);
    ASSERT_NE(code, nullptr);
    EXPECT_EQ(code->origin, dead.by_gdb() ? Origin::core : Origin::file_verified);
    EXPECT_EQ(opened.memory.find(origin->address)->origin, Origin::core);

    // Structs with a base class, an anonymous union and a bit field; a typedef of an unnamed struct.
    const std::vector<std::string> names{"Order", "point_t", "shop::Cart<Order>", "Nothing"};
    auto structs = find_structs(*program, names);
    ASSERT_TRUE(structs.contains("Order") && structs.contains("point_t") && structs.contains("shop::Cart<Order>"));
    EXPECT_EQ(structs.size(), 3u);
    const StructLayout& order = structs["Order"];
    EXPECT_EQ(order.size, 48u);
    EXPECT_EQ(order.find("base_member")->offset, 0u);
    EXPECT_EQ(order.find("id")->offset, 8u);
    EXPECT_EQ(order.find("price")->offset, order.find("cents")->offset);
    EXPECT_TRUE(order.find("next")->pointer);
    EXPECT_EQ(order.find("next")->type, "Order *");
    EXPECT_EQ(structs["point_t"].find("y")->offset, 4u);
    EXPECT_EQ(structs["shop::Cart<Order>"].find("items")->offset, 0u);
    auto listed = list_globals(*program);
    auto cart = std::ranges::find(listed, "cart", &GlobalVariable::name);
    ASSERT_NE(cart, listed.end());
    EXPECT_EQ(cart->type, "shop::Cart<Order>");
    EXPECT_EQ(cart->layout, "shop::Cart<Order>");
    EXPECT_EQ(cart->size, 40u);
    EXPECT_TRUE(std::ranges::any_of(listed, [](const auto& g) { return g.name == "shop::Cart<Order>::instances"; }));
    const std::vector<std::string> nested{"shop::Cart<Order>::Line"};
    EXPECT_EQ(find_structs(*program, nested).size(), 1u);
    const std::vector<std::string> globals{"origin", "mu"};
    EXPECT_EQ(find_globals(*program, globals)["origin"], origin->address);
}

TEST(Images, AnotherBuildIsRefusedByNameAndTheRightOneIsFoundById) {
    auto dead = build_and_crash(crasher_source, {"-O0", "-Wl,--build-id=0xaabbccdd"});
    if (!dead.problem.empty()) GTEST_SKIP() << dead.problem;
    const std::string original = dead.directory / "kept";
    fs::rename(dead.executable, original);
    ASSERT_EQ(run_command("cd '" + dead.directory.path().string() +
                          "' && g++ -pthread program.cpp -o program -Wl,--build-id=0x99887766"),
              0);

    {
        auto opened = open(dead);
        EXPECT_EQ(opened.images.executable(), nullptr);
        ASSERT_TRUE(opened.images.executable_module().has_value());
        EXPECT_EQ(opened.images.executable_module()->status, ModuleStatus::mismatched);
        EXPECT_EQ(opened.images.executable_module()->build_id, "aabbccdd");
        ASSERT_FALSE(opened.images.gaps().empty());
        const auto& gap = opened.images.gaps().front();
        EXPECT_TRUE(gap.damage);
        EXPECT_THAT(gap.what, HasSubstr("aabbccdd"));
        EXPECT_THAT(gap.why, HasSubstr("99887766"));
        EXPECT_THAT(gap.why, HasSubstr("/program"));
    }
    {
        auto opened = open(dead, {.allow_mismatch = true});
        ASSERT_NE(opened.images.executable(), nullptr);
        EXPECT_EQ(opened.images.executable()->status(), ModuleStatus::unverified);
        EXPECT_EQ(opened.images.executable()->file_segments().front().origin, Origin::file_unverified);
        EXPECT_TRUE(opened.images.gaps().front().damage);
    }
    {  // EXE by another path
        auto opened = open(dead, {.executable = original});
        ASSERT_NE(opened.images.executable(), nullptr);
        EXPECT_EQ(opened.images.executable()->status(), ModuleStatus::verified);
        EXPECT_TRUE(opened.images.gaps().empty());
    }
    {  // a build-id directory
        fs::create_directories(dead.directory / "store/.build-id/aa");
        fs::copy(original, dead.directory / "store/.build-id/aa/bbccdd");
        auto opened = open(dead, {.debug_dirs = {dead.directory / "store"}});
        ASSERT_NE(opened.images.executable(), nullptr);
        EXPECT_EQ(opened.images.executable()->status(), ModuleStatus::verified);
    }
    {  // a wrong EXE, the right one below a sysroot: used, and said
        const std::string below = dead.directory / ("sysroot" + fs::canonical(dead.directory.path()).string());
        fs::create_directories(below);
        fs::copy(original, below + "/program");
        auto opened = open(dead, {.executable = dead.executable, .sysroots = {dead.directory / "sysroot"}});
        ASSERT_NE(opened.images.executable(), nullptr);
        EXPECT_THAT(opened.images.executable()->found_at(), StartsWith(dead.directory / "sysroot"));
        ASSERT_EQ(opened.images.gaps().size(), 1u);
        EXPECT_FALSE(opened.images.gaps()[0].damage);
    }
    fs::remove(dead.executable);
    auto opened = open(dead);
    EXPECT_EQ(opened.images.executable_module()->status, ModuleStatus::missing);
    EXPECT_TRUE(opened.images.gaps().front().damage);
    // Its place in the address space is still known.
    auto place = opened.images.find_module(Address{*opened.core.aux(9 /* AT_ENTRY */)});
    ASSERT_TRUE(place.has_value());
    EXPECT_THAT(place->module->path, HasSubstr("/program"));
}

TEST(Images, WithoutBuildIdTheBytesDecide) {
    auto dead = build_and_crash(crasher_source, {"-O0", "-no-pie", "-Wl,--build-id=none"});
    if (!dead.problem.empty()) GTEST_SKIP() << dead.problem;
    {
        auto opened = open(dead);
        ASSERT_NE(opened.images.executable(), nullptr);
        EXPECT_EQ(opened.images.executable()->status(), ModuleStatus::unverified);
        ASSERT_EQ(opened.images.gaps().size(), 1u);
        EXPECT_FALSE(opened.images.gaps()[0].damage);
        EXPECT_EQ(opened.images.executable()->bias(), 0u);
    }
    ASSERT_EQ(run_command("cd '" + dead.directory.path().string() +
                          "' && g++ -O2 -pthread -no-pie program.cpp -o program -Wl,--build-id=none"),
              0);
    auto opened = open(dead);
    EXPECT_EQ(opened.images.executable(), nullptr);
    EXPECT_EQ(opened.images.executable_module()->status, ModuleStatus::mismatched);
}

TEST(Images, ACutExecutableIsReadAsFarAsItGoes) {
    auto dead = build_and_crash(crasher_source, {"-O0", "-g"});
    if (!dead.problem.empty()) GTEST_SKIP() << dead.problem;
    const auto size = fs::file_size(dead.executable);
    for (int percent = 0; percent < 100; percent += 7) {
        fs::resize_file(dead.executable, size * static_cast<std::uintmax_t>(100 - percent) / 100);
        auto opened = open(dead);
        if (const Image* program = opened.images.executable()) {
            for (const Segment& segment : program->file_segments()) EXPECT_NE(segment.data, nullptr);
            program->find_symbol("main");
            program->inline_frames_at(Address{program->bias() + program->entry()});
            program->eh_cfi();
        }
    }
}

TEST(Images, SeparateDebugFileByLinkAndByBuildId) {
    for (const bool by_id : {false, true}) {
        auto dead = build_and_crash(crasher_source,
                                    {"-O0", "-g", by_id ? "-Wl,--build-id=0xabcdef0123" : "-Wl,--build-id=none"});
        if (!dead.problem.empty() || !have_command("objcopy")) GTEST_SKIP() << dead.problem;
        const std::string in = "cd '" + dead.directory.path().string() + "' && ";
        ASSERT_EQ(
            run_command(in +
                        "objcopy --only-keep-debug --compress-debug-sections program program.debug && strip program"),
            0);
        ImageOptions options;
        if (by_id) {
            fs::create_directories(dead.directory / "store/.build-id/ab");
            fs::rename(dead.directory / "program.debug", dead.directory / "store/.build-id/ab/cdef0123.debug");
            options.debug_dirs = {dead.directory / "store"};
        } else {
            ASSERT_EQ(run_command(in + "mkdir .debug && mv program.debug .debug && objcopy "
                                       "--add-gnu-debuglink=.debug/program.debug program"),
                      0);
        }
        auto opened = open(dead, options);
        const Image* program = opened.images.executable();
        ASSERT_NE(program, nullptr);
        EXPECT_TRUE(program->has_dwarf());
        EXPECT_TRUE(program->has_symtab());
        auto main = program->find_symbol("main");
        ASSERT_TRUE(main.has_value());
        EXPECT_THAT(std::string(program->line_at(main->address)->file), HasSubstr("program.cpp"));
    }
}

TEST(Images, DebuginfodWithinItsBudgetAndOnlyWhenAsked) {
    auto dead = build_and_crash(crasher_source, {"-O0", "-g", "-Wl,--build-id=0x0102030405060708"});
    if (!dead.problem.empty()) GTEST_SKIP() << dead.problem;
    const std::string in = "cd '" + dead.directory.path().string() + "' && ";
    ASSERT_EQ(run_command(in + "mkdir -p served/buildid/0102030405060708 cache &&"
                               " objcopy --only-keep-debug program served/buildid/0102030405060708/debuginfo &&"
                               " strip program && mv program served/buildid/0102030405060708/executable"),
              0);
    setenv("DEBUGINFOD_URLS", ("file://" + (dead.directory / "served")).c_str(), 1);
    setenv("DEBUGINFOD_CACHE_PATH", (dead.directory / "cache").c_str(), 1);
    EXPECT_EQ(open(dead).images.executable(), nullptr);
    auto opened = open(dead, {.debuginfod = true});
    const auto unavailable = [](const report::Gap& gap) { return gap.why.contains("is not installed"); };
    if (std::ranges::any_of(opened.images.gaps(), unavailable)) GTEST_SKIP() << "libdebuginfod.so.1 is not installed";
    ASSERT_NE(opened.images.executable(), nullptr);
    EXPECT_EQ(opened.images.executable()->status(), ModuleStatus::verified);
    EXPECT_TRUE(opened.images.executable()->has_dwarf());
    auto late = open(dead, {.debuginfod = true, .debuginfod_budget_seconds = 0});
    EXPECT_EQ(late.images.executable(), nullptr);
    EXPECT_TRUE(std::ranges::any_of(late.images.gaps(), [](const auto& gap) { return gap.why.contains("time"); }));
    unsetenv("DEBUGINFOD_URLS");
}

/// Makes the core's NT_FILE note one that nobody knows.
void hide_file_note(const std::string& core) {
    std::fstream file(core, std::ios::in | std::ios::out | std::ios::binary);
    Elf64_Ehdr head{};
    Elf64_Phdr notes{};
    file.read(reinterpret_cast<char*>(&head), sizeof head);
    file.seekg(static_cast<std::streamoff>(head.e_phoff));
    for (int i = 0; i < head.e_phnum && notes.p_type != PT_NOTE; ++i)
        file.read(reinterpret_cast<char*>(&notes), sizeof notes);
    ASSERT_EQ(notes.p_type, PT_NOTE);
    std::string bytes(notes.p_filesz, '\0');
    file.seekg(static_cast<std::streamoff>(notes.p_offset));
    ASSERT_TRUE(file.read(bytes.data(), static_cast<std::streamsize>(bytes.size())));
    const auto at = bytes.find(std::string("ELIFCORE", 8));
    ASSERT_NE(at, std::string::npos);
    file.seekp(static_cast<std::streamoff>(notes.p_offset + at));
    file.write("XXXX", 4);
}

TEST(Images, WithoutTheFileNoteTheDynamicLinkersListTells) {
    for (const char* kind : {"-pie", "-no-pie", "-static"}) {
        auto dead = build_and_crash(crasher_source, {"-O0", "-g", kind});
        if (!dead.problem.empty()) GTEST_SKIP() << dead.problem;
        hide_file_note(dead.core);
        auto opened = open(dead, {.executable = dead.executable});
        ASSERT_TRUE(opened.core.mapped_files().empty());
        const Image* program = opened.images.executable();
        ASSERT_NE(program, nullptr) << kind;
        EXPECT_EQ(program->status(), ModuleStatus::verified) << kind;
        EXPECT_TRUE(program->range().contains(Address{*opened.core.aux(9 /* AT_ENTRY */)})) << kind;
        const bool libc = std::ranges::any_of(opened.images.all(),
                                              [](const Image& image) { return image.path().contains("libc.so"); });
        EXPECT_EQ(libc, std::string_view(kind) != "-static") << kind;
    }
}

TEST(Images, SymbolsPackedIntoTheExecutable) {
    auto dead = build_and_crash(crasher_source, {"-O0"});
    if (!dead.problem.empty() || !have_command("xz") || !have_command("objcopy")) GTEST_SKIP() << dead.problem;
    ASSERT_EQ(run_command("cd '" + dead.directory.path().string() +
                          "' && objcopy --only-keep-debug program mini && xz mini &&"
                          " strip program && objcopy --add-section .gnu_debugdata=mini.xz program"),
              0);
    auto opened = open(dead);
    ASSERT_NE(opened.images.executable(), nullptr);
    auto symbol = opened.images.executable()->find_symbol("_Z6lockerPv");
    ASSERT_TRUE(symbol.has_value());
    EXPECT_TRUE(opened.images.executable()->has_symtab());
}

TEST(Images, NamesOfPltEntries) {
    auto dead = build_and_crash(crasher_source, {"-O0", "-g", "-Wl,-z,lazy"});
    if (!dead.problem.empty()) GTEST_SKIP() << dead.problem;
    auto opened = open(dead);
    const Image* program = opened.images.executable();
    ASSERT_NE(program, nullptr);
    auto stub = program->find_symbol("usleep@plt");
    if (!stub) GTEST_SKIP() << "this linker makes no PLT";
    EXPECT_EQ(program->symbol_at(stub->address + 6)->name, "usleep@plt");
}

TEST(Demangle, NamesAndNoNames) {
    EXPECT_EQ(demangle("_ZN4shop4CartI5OrderE3addES1_i"), "shop::Cart<Order>::add(Order, int)");
    EXPECT_EQ(demangle("main"), "main");
    EXPECT_EQ(demangle("_Z"), "_Z");
    EXPECT_EQ(demangle("_ZSt4cout@GLIBCXX_3.4"), "std::cout");
    EXPECT_EQ(demangle(std::string("_Z") + std::string(100000, 'P')).size(), 100002u);
}

}  // namespace
}  // namespace incident
