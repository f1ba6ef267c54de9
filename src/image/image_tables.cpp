// The constant tables of an Image: sections and loaded segments in target addresses.
#include <gelf.h>
#include <libelf.h>

#include <algorithm>

#include "image/image_state.h"

namespace incident {
namespace {

constexpr std::size_t most_sections = 65536;

Origin origin_of(report::ModuleStatus status) {
    return status == report::ModuleStatus::verified ? Origin::file_verified : Origin::file_unverified;
}

}  // namespace

void fill_static_tables(ImageState& image) {
    Elf* elf = image.file.elf();
    bool first = true;
    for (const Elf64_Phdr& load : image.file.segments()) {
        if (load.p_type != PT_LOAD || load.p_memsz == 0 || load.p_vaddr + load.p_memsz < load.p_vaddr) continue;
        const Address begin{load.p_vaddr + image.bias};
        const AddressRange range{begin, begin + load.p_memsz};
        if (range.end < range.begin) continue;
        image.range =
            first ? range
                  : AddressRange{std::min(image.range.begin, range.begin), std::max(image.range.end, range.end)};
        first = false;
        const auto bytes = image.file.slice(load.p_offset, std::min(load.p_filesz, load.p_memsz));
        if (bytes.empty()) continue;
        image.segments.push_back({{begin, begin + bytes.size()},
                                  bytes.data(),
                                  origin_of(image.status),
                                  static_cast<std::uint8_t>(load.p_flags & 7)});
    }

    std::size_t count = 0, names = 0;
    if (elf_getshdrnum(elf, &count) != 0 || elf_getshdrstrndx(elf, &names) != 0) return;
    count = std::min(count, most_sections);
    for (std::size_t i = 1; i < count; ++i) {
        Elf_Scn* scn = elf_getscn(elf, i);
        GElf_Shdr header;
        if (scn == nullptr || gelf_getshdr(scn, &header) == nullptr) continue;
        const char* name = elf_strptr(elf, names, header.sh_name);
        Section section;
        section.name = name == nullptr ? "" : name;
        section.writable = (header.sh_flags & SHF_WRITE) != 0;
        section.executable = (header.sh_flags & SHF_EXECINSTR) != 0;
        section.compressed = (header.sh_flags & SHF_COMPRESSED) != 0 || section.name.starts_with(".zdebug_");
        const bool no_bytes = header.sh_type == SHT_NOBITS;
        const bool tls_space =
            no_bytes && (header.sh_flags & SHF_TLS) != 0;  // .tbss: its addresses belong to the next section
        if ((header.sh_flags & SHF_ALLOC) != 0 && !tls_space && header.sh_addr + header.sh_size >= header.sh_addr) {
            const Address begin{header.sh_addr + image.bias};
            section.range = {begin, begin + header.sh_size};
        }
        if (!no_bytes) section.bytes = image.file.slice(header.sh_offset, header.sh_size);
        image.sections.push_back(section);
    }
}

}  // namespace incident
