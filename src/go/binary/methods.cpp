// go1.16–1.27 src/runtime/type.go: uncommontype, then methods {name, mtyp, ifn, tfn}, four offsets of 4 bytes; names
// and types count from the module's types, functions from its text (resolveTextOff). -1 or 0: unreachable.
#include "go/binary/methods.h"

#include <algorithm>

#include "go/binary/rtypes.h"

namespace incident::go {

namespace {

constexpr std::uint64_t most_methods = 4096;  // of one type
constexpr std::uint8_t flag_uncommon = 1;
constexpr std::uint64_t method_size = 16, ifn = 8;

}  // namespace

std::vector<TypeMethod> read_methods(const Memory& memory, const Runtime& runtime, Kind kind, Address rtype) {
    std::vector<TypeMethod> out;
    const auto modules = runtime.modules();
    const auto module = std::ranges::find_if(modules, [&](const ModuleData& m) { return m.types.contains(rtype); });
    if (module == modules.end()) return out;
    const auto& layout = runtime.layout();
    const auto flags = StructView(memory, rtype).get(layout.type.tflag);
    const std::uint64_t before = size_before_uncommon(layout, kind);
    if (!flags || (*flags & flag_uncommon) == 0 || before == 0) return out;
    const StructView uncommon(memory, rtype + before);
    const auto count = uncommon.get(layout.uncommontype.mcount);
    const auto first = uncommon.get(layout.uncommontype.moff);
    if (!count || !first || *count > most_methods) return out;
    for (std::uint64_t i = 0; i < *count; ++i) {
        const Address at = rtype + before + *first + i * method_size;
        const auto name = memory.load<std::int32_t>(at), text = memory.load<std::int32_t>(at + ifn);
        if (!name || *name <= 0 || !text) continue;
        const auto written =
            read_type_name_at(memory, runtime.version(), module->types.begin + static_cast<std::uint32_t>(*name));
        if (!written) continue;
        TypeMethod method{*written, {}};
        const Address entry = module->text.begin + static_cast<std::uint32_t>(*text);
        if (*text > 0 && module->text.contains(entry)) method.entry = entry;
        out.push_back(method);
    }
    return out;
}

}  // namespace incident::go
