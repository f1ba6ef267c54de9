// TargetElf: what the core's own memory says about an ELF file that was mapped: its headers and build-ids. Kernel cores
// hold the first page of every mapped ELF file (coredump_filter bit 4), which is where linkers put both.
#pragma once

#include <elf.h>

#include <optional>
#include <string>
#include <vector>

#include "core/core_file.h"
#include "core/memory.h"
#include "image/elf_file.h"

namespace incident {

struct TargetElf {
    Address base;  ///< where its ELF header stands
    Elf64_Ehdr header{};
    std::vector<Elf64_Phdr> segments;  ///< as far as the core holds them
    std::uint64_t bias = 0;
    AddressRange range;  ///< lowest to highest loaded byte
    BuildIds ids;
    bool notes_held = false;  ///< every note was readable: an id that is not in `ids` does not exist

    const Elf64_Phdr* find_segment(std::uint32_t type) const;
    std::optional<Address> dynamic_value(const Memory& memory, std::int64_t tag) const;
};

/// nullopt: no ELF header there, or the core does not hold it.
std::optional<TargetElf> read_target_elf(const Memory& memory, Address base);

/// One ELF file that the target had mapped, and its rows of NT_FILE.
struct MappedElf {
    std::string path;
    bool deleted = false;
    Address base;                  ///< where file offset 0 is mapped; null: it is not
    std::vector<MappedFile> rows;  ///< empty when NT_FILE does not tell
    bool executable_rows = false;
    bool by_link_map = false;  ///< NT_FILE is missing: path and base come from the dynamic linker's list
    std::optional<TargetElf> elf;
    std::optional<Address> load_bias;  ///< link_map's l_addr, when only that is known
};

struct MappedElfs {
    std::vector<MappedElf> all;
    std::optional<std::size_t> main;  ///< the program, where the core tells
};

/// Every mapped ELF file, by NT_FILE; without it by AT_PHDR and the dynamic linker's link_map. `program` are the ids of
/// the EXE that the user named: it settles which one is the program when ld.so was run as a command.
MappedElfs find_mapped_elfs(const CoreFile& core, const Memory& memory, const BuildIds& program);

/// The vDSO's bytes, from AT_SYSINFO_EHDR.
std::optional<std::vector<std::byte>> load_vdso(const CoreFile& core, const Memory& memory);

}  // namespace incident
