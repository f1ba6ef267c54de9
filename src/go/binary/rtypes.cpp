// Names of runtime types. A name is stored behind a flag byte: its length in two big-endian bytes up to Go 1.16, as a
// varint since 1.17 (go1.17 src/runtime/type.go, name.readvarint), then the bytes. Most types share the string of their
// pointer type and carry a flag that says "without the star".
#include "go/binary/runtime_state.h"

namespace incident::go {
namespace {

constexpr std::uint8_t flag_extra_star = 2;      // abi.TFlagExtraStar
constexpr std::uint64_t longest_name = 1 << 16;  // bytes; generic instantiations get long

std::optional<std::string_view> read_name(const Memory& memory, Address at, const Version& version) {
    std::uint64_t length = 0;
    Address cursor = at + 1;
    if (version.minor <= 16) {
        const std::byte* bytes = memory.data_at(cursor, 2);
        if (bytes == nullptr) return std::nullopt;
        length = std::to_integer<std::uint64_t>(bytes[0]) << 8 | std::to_integer<std::uint64_t>(bytes[1]);
        cursor += 2;
    } else {
        for (unsigned shift = 0;; shift += 7) {
            const std::byte* byte = memory.data_at(cursor, 1);
            if (byte == nullptr || shift > 21) return std::nullopt;
            cursor += 1;
            length |= (std::to_integer<std::uint64_t>(*byte) & 0x7f) << shift;
            if (std::to_integer<unsigned>(*byte) < 0x80) break;
        }
    }
    if (length == 0 || length > longest_name) return std::nullopt;
    const std::byte* bytes = memory.data_at(cursor, length);
    if (bytes == nullptr) return std::nullopt;
    return std::string_view(reinterpret_cast<const char*>(bytes), length);
}

}  // namespace

std::optional<std::string_view> read_type_name_at(const Memory& memory, const Version& version, Address name) {
    return read_name(memory, name, version);
}

std::optional<std::string> read_type_name(const Memory& memory, const RuntimeLayout& layout, const Version& version,
                                          std::span<const ModuleData> modules, Address at) {
    const auto& f = layout.type;
    for (const ModuleData& module : modules) {
        if (!module.types.contains(at)) continue;
        const StructView type(memory, at);
        const auto flags = type.get(f.tflag);
        const auto offset = type.get(f.str);
        if (!flags || !offset || *offset <= 0) return std::nullopt;
        const Address place = module.types.begin + static_cast<std::uint32_t>(*offset);
        if (!module.types.contains(place)) return std::nullopt;
        auto name = read_name(memory, place, version);
        if (!name) return std::nullopt;
        if ((*flags & flag_extra_star) != 0) {
            if (!name->starts_with('*') || name->size() == 1) return std::nullopt;
            name->remove_prefix(1);
        }
        return std::string(*name);
    }
    return std::nullopt;
}

}  // namespace incident::go
