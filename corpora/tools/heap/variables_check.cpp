// variables_check CORE EXE: the types that code proves of package variables, and of words of the objects that they lead
// to, as in a stripped program, beside those that the same program's debug information gives. One line of counts, and
// each that differs. Exit code 1: some do.
#include <cstdio>

#include <fmt/format.h>

#include "go/binary/type_table.h"
#include "process/process.h"
#include "support/type_parts.h"

using namespace incident;

int main(int argc, char** argv) {
    if (argc != 3) return std::puts("variables_check CORE EXE"), 2;
    ProcessOptions options;
    options.core_path = argv[1];
    options.images.executable = argv[2];
    auto opened = open_process(options);
    if (!opened || !(*opened)->go) return std::puts("not read"), 2;
    const Process& process = **opened;
    const auto truth = go::TypeTable::read(process.memory, *process.go);
    const auto proved = go::TypeTable::read(process.memory, *process.go, true);
    if (!truth.has_dwarf()) return std::puts("no debug information"), 2;
    const auto objects = test::objects_of(truth, process.memory, *process.go);
    unsigned wrong = 0, unnamed = 0, of_objects = 0;
    std::uint64_t bytes = 0, all = 0;
    for (const auto& global : truth.globals()) all += truth[global.type].size;
    for (const auto& global : proved.globals()) {
        bytes += proved[global.type].size;
        const auto* real = truth.global_at(global.address);
        Address begin = real != nullptr ? real->address : Address{};
        go::TypeId type = real != nullptr ? real->type : go::no_type;
        if (auto object = objects.upper_bound(global.address); real == nullptr && object != objects.begin()) {
            --object;
            begin = object->first;
            type = object->second;
        }
        const auto offset = static_cast<std::uint64_t>(global.address - begin);
        if (type == go::no_type || offset >= truth[type].size) {
            ++unnamed;
            fmt::print("  no variable at {:#x}, {}, {}\n", global.address.value, proved[global.type].name, global.name);
        } else if (!test::has_part(truth, type, offset, proved[global.type].name)) {
            ++wrong;
            fmt::print("  {} +{} is of type {}, not {}\n", real != nullptr ? real->name : global.name, offset,
                       truth[type].name, proved[global.type].name);
        } else if (real == nullptr) {
            ++of_objects;
        }
    }
    fmt::print("variables={} proved={} of-objects={} wrong={} without-variable={} bytes={} proved-bytes={}\n",
               truth.globals().size(), proved.globals().size(), of_objects, wrong, unnamed, all, bytes);
    return wrong != 0 ? 1 : 0;
}
