// layout_dump: writes the runtime layout table of a Go version from the DWARF of a real executable, by the same reader that
// the engine uses, or checks executables against the tables that are compiled in.
//
//     layout_dump EXE              the whole table, for src/go/binary/layouts/go1_NN.inc
//     layout_dump --overlay EXE    only what differs from the compiled-in table of its version: for a GOEXPERIMENT or a patch
//     layout_dump --check EXE...   compares; exit 1 and one line per difference
//
// A table should come from a program that uses every type of the list (corpora/probe does): DWARF leaves unused types out.
#include <cstdio>
#include <string_view>

#include "go/binary/build_info.h"
#include "go/binary/layout.h"

using namespace incident;
using namespace incident::go;

namespace {

/// Version text of a file that no core maps, from its build info.
Result<Version> version_of(const Image& image, Memory& memory) {
    for (const Segment& segment : image.file_segments()) memory.add(segment);
    memory.freeze();
    auto info = find_build_info(memory, image);
    if (!info || !info->version) return fail(ErrorKind::absent, "no Go build information in " + image.path());
    auto version = parse_version(*info->version);
    if (!version) return fail(ErrorKind::unsupported, "Go version \"" + *info->version + "\"");
    return *version;
}

void print_row(const LayoutMember& member, std::int32_t value) {
    const std::string name(member.struct_name), field(member.field_name);
    if (field.empty())
        std::printf("LAYOUT_STRUCT(%s, %d)\n", name.c_str(), value);
    else
        std::printf("LAYOUT_FIELD(%s, %s, %d)\n", name.c_str(), field.c_str(), value);
}

/// `no-such-field` of a field is -1, of a struct 0.
bool is_there(const LayoutMember& member, std::int32_t value) { return member.field_name.empty() ? value > 0 : value >= 0; }

int dump(const std::string& path, bool overlay) {
    auto image = Image::open(path);
    if (!image) return std::fprintf(stderr, "layout_dump: %s\n", describe(image.error()).c_str()), 2;
    Memory memory;
    auto version = version_of(*image, memory);
    if (!version) return std::fprintf(stderr, "layout_dump: %s\n", describe(version.error()).c_str()), 2;
    auto layout = layout_from_dwarf_only(*image);
    if (!layout) return std::fprintf(stderr, "layout_dump: %s\n", describe(layout.error()).c_str()), 2;
    RuntimeLayout base;
    if (overlay) {
        Version plain = *version;
        plain.experiments.clear();
        plain.patch = 9999;  // the plain table, not that of this patch
        auto table = layout_from_table(plain);
        if (!table) return std::fprintf(stderr, "layout_dump: %s\n", describe(table.error()).c_str()), 2;
        base = *table;
        std::printf("// Runtime layout of %s, linux/amd64: only what differs from the table of go1.%d.\n", version->text.c_str(), version->minor);
        std::printf("// Written by corpora/tools/layout from the DWARF of a real executable: do not edit. -1: the field does not exist.\n");
    } else {
        std::printf("// Runtime layout of Go 1.%d (%s), linux/amd64, from the DWARF of a real executable.\n", version->minor, version->text.c_str());
        std::printf("// Written by corpora/tools/layout: do not edit. A field that is not listed does not exist in this version.\n");
    }
    for (const LayoutMember& member : layout_members()) {
        const std::int32_t value = get_member(*layout, member);
        if (overlay ? value != get_member(base, member) : is_there(member, value)) print_row(member, value);
    }
    return 0;
}

int check(const std::string& path) {
    auto image = Image::open(path);
    if (!image) return std::fprintf(stderr, "layout_dump: %s\n", describe(image.error()).c_str()), 2;
    Memory memory;
    auto version = version_of(*image, memory);
    if (!version) return std::fprintf(stderr, "layout_dump: %s\n", describe(version.error()).c_str()), 2;
    auto layout = layout_from_dwarf_only(*image);
    auto table = layout_from_table(*version);
    if (!layout || !table) return std::fprintf(stderr, "layout_dump: %s\n", describe(layout ? table.error() : layout.error()).c_str()), 2;
    int compared = 0, different = 0;
    bool described = false;
    for (const LayoutMember& member : layout_members()) {
        const std::int32_t here = get_member(*layout, member), there = get_member(*table, member);
        if (member.field_name.empty()) described = here != 0;
        if (!described) continue;
        ++compared;
        if (here == there) continue;
        ++different;
        std::printf("%s: %s.%s is %d in DWARF and %d in the table\n", path.c_str(), std::string(member.struct_name).c_str(),
                    member.field_name.empty() ? "size" : std::string(member.field_name).c_str(), here, there);
    }
    std::printf("%s: %s, %d members compared, %d differ\n", path.c_str(), version->text.c_str(), compared, different);
    return different == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
    const std::string_view mode = argc > 1 ? argv[1] : "";
    if (mode == "--check" && argc > 2) {
        int worst = 0;
        for (int i = 2; i < argc; ++i) worst = std::max(worst, check(argv[i]));
        return worst;
    }
    if (mode == "--overlay" && argc == 3) return dump(argv[2], true);
    if (argc == 2 && !mode.starts_with('-')) return dump(argv[1], false);
    std::fprintf(stderr, "usage: layout_dump [--overlay] EXE | layout_dump --check EXE...\n");
    return 2;
}
