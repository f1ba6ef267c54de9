// Recognising what is not the gc toolchain's Go, by what these tools leave behind. Checked in this order: UPX (nothing
// else of the file can be trusted), gccgo, TinyGo, garble.
#include "go/binary/foreign.h"

#include <algorithm>
#include <cstring>

#include "go/binary/build_info.h"
#include "go/binary/module_data.h"

namespace incident::go {
namespace {

bool contains(std::span<const std::byte> bytes, std::string_view text) {
    return memmem(bytes.data(), bytes.size(), text.data(), text.size()) != nullptr;
}

/// UPX writes "UPX!" into its loader's header and footer; the packed program is unpacked into anonymous memory.
bool packed_by_upx(const Image& image) {
    constexpr std::size_t head = 4096;
    for (const Segment& segment : image.file_segments())
        if (contains({segment.data, std::min<std::size_t>(segment.range.size(), head)}, "UPX!")) return true;
    return false;
}

/// gccgo leaves export data in every executable and library that it links, stripped or not.
bool is_gccgo(const Image& image) { return image.find_section(".go_export") != nullptr; }

/// By the bytes of the sections: a symbol table is not loaded for a program that most likely is no Go at all.
bool is_tinygo(const Image& image) {
    constexpr std::size_t limit = 64u << 20;
    for (auto [name, text] : {std::pair{".strtab", "tinygo_"}, {".comment", "TinyGo"}, {".debug_str", "TinyGo"}})
        if (const Section* section = image.find_section(name); section != nullptr && !section->compressed)
            if (contains(section->bytes.first(std::min(section->bytes.size(), limit)), text)) return true;
    return false;
}

/// garble changes the pclntab's magic and the names; the section and the build info stay.
std::optional<std::string> garbled(const Memory& memory, const Image& image) {
    for (const Section& section : image.sections()) {
        if (section.name != ".gopclntab" && section.name != ".data.rel.ro.gopclntab") continue;
        auto head = memory.view(section.range.begin, 8);
        if (!head || Pclntab::is_header(*head)) continue;
        std::uint32_t magic;
        std::memcpy(&magic, head->data(), 4);
        if (magic == 0xfffffffb)
            return "built by Go 1.15 or older; the oldest that is read is go1." + std::to_string(oldest_table);
        const bool tail = (*head)[4] == std::byte{0} && (*head)[5] == std::byte{0} && (*head)[6] == std::byte{1} &&
                          (*head)[7] == std::byte{8};
        if (tail)
            return "its function table has an unknown magic number: built by a newer Go than go1." +
                   std::to_string(newest_table) + ", or obfuscated by garble";
        return "its function table is damaged or obfuscated";
    }
    return std::nullopt;
}

}  // namespace

std::optional<std::string> recognise_foreign(const CoreFile& core, const Memory& memory, const Images& images) {
    for (const MappedFile& file : core.mapped_files())
        if (const auto slash = file.path.rfind('/');
            file.path.substr(slash == std::string::npos ? 0 : slash + 1).starts_with("libgo.so"))
            return "built by gccgo (it maps " + file.path + "), whose runtime is another one";
    const Image* executable = images.executable();
    if (executable != nullptr) {
        if (packed_by_upx(*executable))
            return "packed by UPX: the program itself is not in the file; analyse with the unpacked one (upx -d)";
        if (is_gccgo(*executable)) return "built by gccgo, whose runtime is another one";
        if (is_tinygo(*executable)) return "built by TinyGo, whose runtime is another one";
    }
    for (const Image& image : images.all())
        if (auto why = garbled(memory, image)) return image.path() + ": " + *why;
    return std::nullopt;
}

}  // namespace incident::go
