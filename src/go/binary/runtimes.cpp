#include "go/binary/runtimes.h"

#include <algorithm>
#include <set>

namespace incident::go {

namespace {

constexpr std::uint64_t searched_stack = 64 << 10;  // bytes of the dying thread's stack
constexpr int most_modules = 256;                   // of one chain

bool may_hold_go(const Image& image) { return has_go_sections(image) || image.sections().empty(); }

/// Code, as opposed to data and tables of the same image.
bool in_code_of(const Image& image, const Memory& memory, Address a) {
    constexpr std::uint8_t executable = 1;
    if (!image.range().contains(a)) return false;
    const Segment* segment = memory.find(a);
    return segment != nullptr && (segment->permissions & executable) != 0;
}

const Image* where_it_died(const CoreFile& core, const Memory& memory, const std::vector<const Image*>& list) {
    if (core.threads().empty()) return nullptr;
    const Registers& registers = core.threads().front().registers;
    const auto image_of = [&](Address a) -> const Image* {
        for (const Image* image : list)
            if (in_code_of(*image, memory, a) && has_go_sections(*image)) return image;
        return nullptr;
    };
    if (!registers.pc() || !registers.sp()) return nullptr;
    if (const Image* image = image_of(*registers.pc())) return image;
    for (std::uint64_t at = 0; at < searched_stack; at += 8) {
        const auto word = memory.load_address(*registers.sp() + at);
        if (!word) return nullptr;
        if (const Image* image = image_of(*word)) return image;
    }
    return nullptr;
}

/// The addresses of the modules from `module` on, as the runtime chains them.
std::set<Address> chain_from(const Memory& memory, const RuntimeLayout& layout, Address module) {
    std::set<Address> chain;
    for (int i = 0; i < most_modules && !module.is_null() && chain.insert(module).second; ++i)
        module = StructView(memory, module).get(layout.moduledata.next).value_or(Address{});
    return chain;
}

}  // namespace

std::vector<const Image*> go_images(const CoreFile& core, const Memory& memory, const Images& images) {
    const Image* executable = images.executable();
    std::vector<const Image*> list;
    for (const Image& image : images.all())
        if (&image != executable && may_hold_go(image)) list.push_back(&image);
    const Image* first = executable;
    if (executable == nullptr || !may_hold_go(*executable)) {
        if (list.size() < 2) return list;
        first = where_it_died(core, memory, list);
    }
    if (first == nullptr) return list;
    std::erase(list, first);
    list.insert(list.begin(), first);
    return list;
}

std::vector<ModuleData> split_off_other_runtimes(const Memory& memory, const RuntimeLayout& layout,
                                                 std::vector<ModuleData>& modules) {
    std::vector<ModuleData> others;
    if (modules.size() < 2) return others;
    const Address home = modules.front().address;
    const std::set<Address> chain = chain_from(memory, layout, home);
    const auto foreign = [&](const ModuleData& module) {
        return module.pluginpath.empty() && !chain.contains(module.address) &&
               !chain_from(memory, layout, module.address).contains(home);
    };
    const auto from = std::ranges::stable_partition(modules, [&](const ModuleData& m) { return !foreign(m); });
    others.assign(std::move_iterator(from.begin()), std::move_iterator(from.end()));
    modules.erase(from.begin(), from.end());
    return others;
}

}  // namespace incident::go
