// Old Go executables and programs linked with --build-id=none carry no GNU build-id. Then Go's own build-id decides,
// and without that the bytes in the core may refute a file: the headers, Go's buildinfo and other constant data that
// the core happens to hold. Code is not compared: debuggers and probes patch it.
#include "image/candidate.h"

#include <gelf.h>
#include <libelf.h>

#include <algorithm>
#include <cstring>

namespace incident {
namespace {

constexpr std::uint64_t page = 4096;
constexpr std::uint64_t most_compared = 4 << 20;  ///< bytes

std::string shown(const std::optional<std::string>& id) { return id ? *id : "missing"; }

struct Compared {
    std::uint64_t equal = 0;
    bool differs = false;
};

/// Compares what both hold of [address, address + size), file bytes at `bytes`.
Compared compare_bytes(const Memory& memory, Address address, std::span<const std::byte> bytes) {
    Compared out;
    bytes = bytes.first(std::min<std::size_t>(bytes.size(), most_compared));
    for (std::size_t done = 0; done < bytes.size();) {
        const Address at = address + done;
        auto held = memory.view_up_to(at, bytes.size() - done);
        if (!held) {
            done += page - at.value % page;
            continue;
        }
        if (std::memcmp(held->data(), bytes.data() + done, held->size()) != 0) return {out.equal, true};
        out.equal += held->size();
        done += held->size();
    }
    return out;
}

/// Sections whose bytes never change in the process: read-only data, and Go's buildinfo (constant though in .data
/// from 1.18 on; before, it holds pointers, which a PIE relocates). Relocated data only where nothing is relocated.
Compared compare_sections(const ElfFile& file, std::uint64_t bias, const Memory& memory) {
    Compared out;
    Elf* elf = file.elf();
    std::size_t names = 0;
    if (elf_getshdrstrndx(elf, &names) != 0) return out;
    const bool fixed = file.header().e_type == ET_EXEC;
    for (Elf_Scn* scn = nullptr; (scn = elf_nextscn(elf, scn)) != nullptr;) {
        GElf_Shdr header;
        if (gelf_getshdr(scn, &header) == nullptr || (header.sh_flags & SHF_ALLOC) == 0 || header.sh_type == SHT_NOBITS)
            continue;
        const char* raw_name = elf_strptr(elf, names, header.sh_name);
        const std::string_view name = raw_name == nullptr ? "" : raw_name;
        const bool constant = (header.sh_flags & (SHF_WRITE | SHF_EXECINSTR)) == 0;
        const bool buildinfo = name == ".go.buildinfo" && fixed;
        const bool relocated =
            name == ".data.rel.ro" && fixed && file.ids().go;  // internally linked Go: no relocation at all
        if (!constant && !buildinfo && !relocated) continue;
        const auto one =
            compare_bytes(memory, Address{header.sh_addr + bias}, file.slice(header.sh_offset, header.sh_size));
        out.equal += one.equal;
        if (one.differs) return {out.equal, true};
    }
    return out;
}

Verdict compare_content(const ElfFile& file, const MappedElf& mapped, std::uint64_t bias, const Memory& memory) {
    const TargetElf& target = *mapped.elf;
    Elf64_Ehdr theirs = target.header, ours = file.header();
    for (Elf64_Ehdr* header : {&theirs, &ours})
        header->e_shoff = header->e_shnum = header->e_shstrndx = 0;  // strip moves them
    if (std::memcmp(&theirs, &ours, sizeof ours) != 0) return {Agreement::differs, bias, "its ELF header is another"};
    const std::size_t held = std::min(target.segments.size(), file.segments().size());
    if (held != 0 && std::memcmp(target.segments.data(), file.segments().data(), held * sizeof(Elf64_Phdr)) != 0)
        return {Agreement::differs, bias, "its program headers are others"};
    const Compared sections = compare_sections(file, bias, memory);
    if (sections.differs) return {Agreement::differs, bias, "its read-only data are others"};
    // Equal bytes prove little: a rebuild after a small change keeps sizes, symbols and constants.
    return {Agreement::unknown, bias,
            "neither has a build-id; its headers and " + std::to_string(sections.equal) +
                " constant bytes equal the core's"};
}

/// Is each row of NT_FILE the image of a loaded segment?
bool rows_fit(const ElfFile& file, const MappedElf& mapped, std::uint64_t bias) {
    return std::ranges::all_of(mapped.rows, [&](const MappedFile& row) {
        return std::ranges::any_of(file.segments(), [&](const Elf64_Phdr& load) {
            if (load.p_type != PT_LOAD) return false;
            const std::uint64_t delta = row.range.begin.value - (load.p_vaddr + bias);
            return load.p_offset + delta == row.file_offset;
        });
    });
}

}  // namespace

Verdict compare_with_target(const ElfFile& file, const MappedElf& mapped, bool is_main, const CoreFile& core,
                            const Memory& memory) {
    const auto differs = [](std::uint64_t bias, std::string why) {
        return Verdict{Agreement::differs, bias, std::move(why)};
    };
    if (file.header().e_machine != core.machine().elf_machine) return differs(0, "it is for another machine");

    std::optional<std::uint64_t> bias;
    if (mapped.elf)
        bias = file.bias_for(mapped.elf->base.value, 0);
    else if (mapped.load_bias)
        bias = mapped.load_bias->value;
    for (const MappedFile& row : mapped.rows)
        if (!bias) bias = file.bias_for(row.range.begin.value, row.file_offset);
    const auto phdr = core.aux(AT_PHDR), entry = core.aux(AT_ENTRY);
    if (!bias && is_main && phdr && !file.segments().empty())  // no NT_FILE and no first page
        for (const Elf64_Phdr& segment : file.segments())
            if (segment.p_type == PT_LOAD && segment.p_offset == 0)
                bias = *phdr - file.header().e_phoff - segment.p_vaddr;

    const BuildIds none;
    const BuildIds& ours = file.ids();
    const BuildIds& theirs = mapped.elf ? mapped.elf->ids : none;
    const bool theirs_complete = mapped.elf && mapped.elf->notes_held;
    if (ours.gnu && theirs.gnu) {
        if (*ours.gnu != *theirs.gnu)
            return differs(bias.value_or(0), "its build-id is " + *ours.gnu + ", the target's is " + *theirs.gnu);
        if (bias) return {Agreement::same, *bias, {}};
    }
    if (theirs.gnu || (ours.gnu && ours.gnu_in_segment && theirs_complete))
        return differs(bias.value_or(0),
                       "its build-id is " + shown(ours.gnu) + ", the target's is " + shown(theirs.gnu));
    if ((ours.go && theirs.go) || ((ours.go || theirs.go) && theirs_complete)) {
        if (ours.go != theirs.go)
            return differs(bias.value_or(0),
                           "its Go build-id is " + shown(ours.go) + ", the target's is " + shown(theirs.go));
        if (bias) return {Agreement::same, *bias, "by Go's build-id " + *ours.go};
    }
    if (!bias) return differs(0, "none of its segments fits the mapping");
    if (is_main && entry && mapped.elf == std::nullopt && file.header().e_entry + *bias != *entry)
        return differs(*bias, "its entry point is another");
    if (!rows_fit(file, mapped, *bias)) return differs(*bias, "its segments do not fit the mapping");
    if (mapped.elf) return compare_content(file, mapped, *bias, memory);
    return {Agreement::unknown, *bias, "the core does not hold its first page"};
}

}  // namespace incident
