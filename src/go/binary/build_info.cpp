// Build info: see build_info.h. Surprising: the blob is 16-aligned in memory, so a search looks at one place in 16.
#include "go/binary/build_info.h"

#include <cstring>

namespace incident::go {
namespace {

constexpr std::string_view magic = "\xff Go buildinf:";
constexpr std::size_t longest_version = 512;      // bytes; "devel go1.27-0123456789 Mon Jan …  X:experiments"
constexpr std::size_t longest_text = 1 << 20;     // bytes; module info of large programs has some 100 KB
constexpr std::size_t search_limit = 256u << 20;  // bytes of one segment

/// Bytes between the sentinels that surround the module info.
std::string trim_module_info(std::string_view text) {
    constexpr std::size_t sentinel = 16;
    if (text.size() < 2 * sentinel + 1 || text[text.size() - sentinel - 1] != '\n') return {};
    return std::string(text.substr(sentinel, text.size() - 2 * sentinel));
}

std::optional<std::string_view> inline_string(const Memory& memory, Address& at, std::size_t longest) {
    std::uint64_t length = 0;
    for (unsigned shift = 0;; shift += 7) {
        auto byte = memory.load<std::uint8_t>(at);
        if (!byte || shift > 28) return std::nullopt;
        at += 1;
        length |= std::uint64_t{*byte & 0x7fu} << shift;
        if (*byte < 0x80) break;
    }
    if (length > longest) return std::nullopt;
    auto bytes = memory.view(at, length);
    if (!bytes) return std::nullopt;
    at += length;
    return std::string_view(reinterpret_cast<const char*>(bytes->data()), bytes->size());
}

/// A Go string whose header's address is in the word at `at`.
std::optional<std::string> pointed_string(const Memory& memory, Address at, std::size_t longest,
                                          std::size_t& length_out) {
    auto header = memory.load_address(at);
    if (!header) return std::nullopt;
    auto data = memory.load_address(*header);
    auto length = memory.load<std::uint64_t>(*header + 8);
    if (!data || !length || *length > longest) return std::nullopt;
    length_out = *length;
    auto bytes = memory.view(*data, *length);
    if (!bytes) return std::nullopt;
    return std::string(reinterpret_cast<const char*>(bytes->data()), bytes->size());
}

std::optional<BuildInfo> search(const Memory& memory, AddressRange range, bool core_only) {
    for (const Segment& segment : memory.segments()) {
        if (!segment.range.overlaps(range) || (core_only && segment.origin != Origin::core)) continue;
        const AddressRange part = segment.range.intersect(range);
        const std::uint64_t skip = (16 - part.begin.value % 16) % 16;
        const std::byte* data = segment.data + (part.begin - segment.range.begin);
        const std::size_t size = std::min<std::uint64_t>(part.size(), search_limit);
        for (std::size_t at = skip; at + 32 <= size; at += 16)
            if (std::memcmp(data + at, magic.data(), magic.size()) == 0)
                if (auto info = read_build_info(memory, part.begin + at)) return info;
    }
    return std::nullopt;
}

}  // namespace

std::optional<BuildInfo> read_build_info(const Memory& memory, Address at) {
    auto head = memory.view(at, 32);
    if (!head || std::memcmp(head->data(), magic.data(), magic.size()) != 0) return std::nullopt;
    const auto pointer_size = std::to_integer<unsigned>((*head)[14]);
    const auto flags = std::to_integer<unsigned>((*head)[15]);
    BuildInfo info;
    info.at = at;
    if ((flags & 2) != 0) {
        info.inline_strings = true;
        Address cursor = at + 32;
        if (auto version = inline_string(memory, cursor, longest_version)) {
            info.version = std::string(*version);
            info.version_length = version->size();
            if (auto modules = inline_string(memory, cursor, longest_text))
                info.module_info = trim_module_info(*modules);
        }
        return info;
    }
    if (pointer_size != 8 || (flags & 1) != 0) return std::nullopt;  // 32-bit or big-endian
    info.version = pointed_string(memory, at + 16, longest_version, info.version_length);
    std::size_t length = 0;
    if (auto modules = pointed_string(memory, at + 24, longest_text, length))
        info.module_info = trim_module_info(*modules);
    return info;
}

std::optional<BuildInfo> find_build_info(const Memory& memory, const Image& image) {
    if (const Section* section = image.find_section(".go.buildinfo"))
        if (auto info = read_build_info(memory, section->range.begin)) return info;
    return search(memory, image.range(), false);
}

std::optional<BuildInfo> find_build_info(const CoreFile& core, const Memory& memory) {
    for (const MappedFile& file : core.mapped_files())
        if (auto info = search(memory, file.range, true)) return info;
    return std::nullopt;
}

}  // namespace incident::go
