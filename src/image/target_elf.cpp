// Reads ELF headers, notes and the dynamic linker's list out of dead memory. All of it is the target's word: bounded,
// and believed only as far as it is consistent.
#include "image/target_elf.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "base/bounded_walk.h"
#include "base/text.h"

namespace incident {
namespace {

constexpr std::uint64_t page = 4096;
constexpr std::size_t most_segments = 256;
constexpr std::size_t most_dynamic_entries = 512;
constexpr std::size_t most_linked = 8192;
constexpr std::uint64_t longest_notes = 1 << 16;  // bytes of one PT_NOTE that we look through
constexpr std::uint64_t longest_vdso = 1 << 18;

bool is_dynamic_linker(std::string_view path) {
    const auto name = base_name(path);
    return name.starts_with("ld-") || name.starts_with("ld.so") || name.starts_with("ld64.so");
}

}  // namespace

const Elf64_Phdr* TargetElf::find_segment(std::uint32_t type) const {
    for (const auto& segment : segments)
        if (segment.p_type == type) return &segment;
    return nullptr;
}

std::optional<Address> TargetElf::dynamic_value(const Memory& memory, std::int64_t tag) const {
    const Elf64_Phdr* dynamic = find_segment(PT_DYNAMIC);
    if (dynamic == nullptr) return std::nullopt;
    Address at{dynamic->p_vaddr + bias};
    for (std::size_t i = 0; i < most_dynamic_entries; ++i, at += sizeof(Elf64_Dyn)) {
        auto entry = memory.load<Elf64_Dyn>(at);
        if (!entry || entry->d_tag == DT_NULL) return std::nullopt;
        if (entry->d_tag == tag) return Address{entry->d_un.d_val};
    }
    return std::nullopt;
}

std::optional<TargetElf> read_target_elf(const Memory& memory, Address base) {
    auto header = memory.load<Elf64_Ehdr>(base);
    if (!header || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 || header->e_ident[EI_CLASS] != ELFCLASS64 ||
        header->e_ident[EI_DATA] != ELFDATA2LSB)
        return std::nullopt;
    TargetElf elf;
    elf.base = base;
    elf.header = *header;
    if (header->e_phentsize == sizeof(Elf64_Phdr))
        for (std::size_t i = 0; i < std::min<std::size_t>(header->e_phnum, most_segments); ++i) {
            auto segment = memory.load<Elf64_Phdr>(base + header->e_phoff + i * sizeof(Elf64_Phdr));
            if (!segment) break;
            elf.segments.push_back(*segment);
        }
    bool first = true;
    for (const auto& load : elf.segments) {
        if (load.p_type != PT_LOAD) continue;
        if (first) elf.bias = base.value - (load.p_vaddr - load.p_offset);  // offset 0 is mapped at base
        const AddressRange range{{load.p_vaddr + elf.bias}, {load.p_vaddr + elf.bias + load.p_memsz}};
        if (range.end < range.begin) continue;
        elf.range =
            first ? range : AddressRange{std::min(elf.range.begin, range.begin), std::max(elf.range.end, range.end)};
        first = false;
    }
    elf.notes_held = elf.segments.size() == header->e_phnum;
    for (const auto& notes : elf.segments) {
        if (notes.p_type != PT_NOTE) continue;
        auto bytes = memory.view(Address{notes.p_vaddr + elf.bias}, std::min(notes.p_filesz, longest_notes));
        if (bytes) {
            read_build_ids(*bytes, notes.p_align, elf.ids);
            if (auto after = memory.view_up_to(Address{notes.p_vaddr + elf.bias + notes.p_filesz}, 96))
                read_build_id_behind_go(*after, elf.ids);
        } else
            elf.notes_held = false;
    }
    return elf;
}

namespace {

/// Groups the rows of NT_FILE into files that were mapped at one place.
std::vector<MappedElf> group_rows(const CoreFile& core, const Memory& memory) {
    std::vector<LoadSegment> loads(core.load_segments().begin(), core.load_segments().end());
    std::ranges::sort(loads, {}, [](const LoadSegment& s) { return s.range.begin; });
    const auto has_code = [&](AddressRange range) {
        auto it = std::ranges::upper_bound(loads, range.begin, {}, [](const LoadSegment& s) { return s.range.begin; });
        if (it != loads.begin()) --it;
        for (; it != loads.end() && it->range.begin < range.end; ++it)
            if (it->range.overlaps(range) && (it->permissions & PF_X) != 0) return true;
        return false;
    };

    // gcore leaves read-only file pages out without a segment that would tell their permissions.
    const auto undescribed = [&](AddressRange range) {
        return std::ranges::none_of(loads, [&](const LoadSegment& s) { return s.range.overlaps(range); });
    };

    std::vector<MappedElf> groups;
    std::unordered_map<std::string, std::size_t> last;  // path -> its latest group
    for (const MappedFile& row : core.mapped_files()) {
        auto known = last.find(row.path);
        if (known != last.end()) {
            MappedElf& group = groups[known->second];
            // An ELF file may map its first page twice: as headers and again as a small text segment.
            const bool inside = group.elf && group.elf->range.overlaps(row.range);
            if (row.file_offset != 0 || inside) {
                group.rows.push_back(row);
                group.executable_rows |= has_code(row.range) || (group.elf && undescribed(row.range));
                continue;
            }
        }
        MappedElf group{.path = row.path, .deleted = row.deleted};
        group.rows.push_back(row);
        group.executable_rows = has_code(row.range);
        if (row.file_offset == 0) {
            group.base = row.range.begin;
            group.elf = read_target_elf(memory, row.range.begin);
        }
        last[row.path] = groups.size();
        groups.push_back(std::move(group));
    }
    return groups;
}

bool holds(const MappedElf& mapped, Address a) {
    if (mapped.elf && mapped.elf->range.contains(a)) return true;
    return std::ranges::any_of(mapped.rows, [&](const MappedFile& row) { return row.range.contains(a); });
}

/// The dynamic linker's list: struct r_debug {int version; link_map* map; …}, struct link_map {addr, name, ld, next,
/// prev} (glibc and musl, elf/link.h).
std::vector<MappedElf> read_link_map(const Memory& memory, const TargetElf& program) {
    std::vector<MappedElf> out;
    auto debug = program.dynamic_value(memory, DT_DEBUG);
    if (!debug || debug->is_null()) return out;
    auto head = memory.load_address(*debug + 8);
    if (!head) return out;
    walk_chain(*head, most_linked, [&](Address link) -> std::optional<Address> {
        auto bias = memory.load_address(link);
        auto name = memory.load_address(link + 8);
        auto next = memory.load_address(link + 24);
        if (!bias || !name || !next) return std::nullopt;
        auto path = memory.view_cstring(*name, 4096);
        if (path && !path->empty() && path->starts_with('/')) {
            MappedElf mapped{.path = std::string(*path)};
            mapped.by_link_map = true;
            mapped.executable_rows = true;
            mapped.load_bias = *bias;
            mapped.elf = read_target_elf(memory, *bias);  // shared objects begin at ELF address 0
            if (mapped.elf) mapped.base = *bias;
            out.push_back(std::move(mapped));
        }
        return *next;
    });
    return out;
}

/// The program, when there is no NT_FILE: its headers stand in the page of AT_PHDR.
std::optional<MappedElf> program_by_auxv(const CoreFile& core, const Memory& memory) {
    const auto headers = core.aux(AT_PHDR);
    if (!headers) return std::nullopt;
    MappedElf mapped;
    mapped.by_link_map = true;
    mapped.executable_rows = true;
    mapped.elf = read_target_elf(memory, Address{*headers}.align_down(page));
    if (mapped.elf) mapped.base = mapped.elf->base;
    if (const auto name = core.aux(AT_EXECFN))
        if (auto path = memory.view_cstring(Address{*name}, 4096)) mapped.path = *path;
    if (mapped.path.empty() && core.process_info()) mapped.path = core.process_info()->program;
    return mapped;
}

}  // namespace

MappedElfs find_mapped_elfs(const CoreFile& core, const Memory& memory, const BuildIds& program) {
    MappedElfs out;
    out.all = group_rows(core, memory);
    const auto phdr = core.aux(AT_PHDR), entry = core.aux(AT_ENTRY);
    const auto find_main = [&] {
        for (const auto& key : {phdr, entry})
            for (std::size_t i = 0; key && i < out.all.size(); ++i)
                if (holds(out.all[i], Address{*key})) return std::optional(i);
        return std::optional<std::size_t>{};
    };
    out.main = find_main();
    if (out.all.empty()) {
        if (auto mapped = program_by_auxv(core, memory)) {
            out.all.push_back(std::move(*mapped));
            out.main = 0;
            if (out.all[0].elf)
                for (auto& linked : read_link_map(memory, *out.all[0].elf)) out.all.push_back(std::move(linked));
        }
    } else if (!out.main && out.all.size() == 1) {
        out.main = 0;
    }

    // `ld.so ./program`: the kernel's auxv describes ld.so. The program is what EXE names, or what has a live DT_DEBUG.
    if (out.main && is_dynamic_linker(out.all[*out.main].path))
        for (std::size_t i = 0; i < out.all.size(); ++i) {
            const auto& elf = out.all[i].elf;
            if (i == *out.main || !elf) continue;
            const bool named = program.any() && ((program.gnu && elf->ids.gnu == program.gnu) ||
                                                 (program.go && elf->ids.go == program.go));
            const auto debug = elf->dynamic_value(memory, DT_DEBUG);
            if (named || (debug && !debug->is_null())) {
                out.main = i;
                break;
            }
        }

    // Keep ELF files only. A file whose first page the core lacks counts when code was mapped from it.
    std::vector<MappedElf> kept;
    std::optional<std::size_t> main;
    for (std::size_t i = 0; i < out.all.size(); ++i) {
        MappedElf& mapped = out.all[i];
        const bool is_main = out.main == i;
        const bool first_page_held = !mapped.base.is_null() && memory.data_at(mapped.base, SELFMAG) != nullptr;
        // Guile keeps compiled modules in ELF files of no machine, debuggers and linkers map those of others: data.
        const bool foreign = mapped.elf && mapped.elf->header.e_machine != core.machine().elf_machine;
        if (!is_main && (!mapped.executable_rows || (first_page_held && !mapped.elf) || foreign)) continue;
        if (is_main) main = kept.size();
        kept.push_back(std::move(mapped));
    }
    out.all = std::move(kept);
    out.main = main;
    return out;
}

std::optional<std::vector<std::byte>> load_vdso(const CoreFile& core, const Memory& memory) {
    const auto at = core.aux(AT_SYSINFO_EHDR);
    if (!at) return std::nullopt;
    auto elf = read_target_elf(memory, Address{*at});
    if (!elf) return std::nullopt;
    auto bytes = memory.view_up_to(Address{*at}, longest_vdso);
    if (!bytes) return std::nullopt;
    return std::vector<std::byte>(bytes->begin(), bytes->end());
}

}  // namespace incident
