// Image's members: thin; the work is in symbols.cpp, debug_files.cpp, units.cpp and variables.cpp.
#include "image/image.h"

#include <elf.h>

#include <algorithm>
#include <cstring>

#include "image/image_state.h"

namespace incident {

Image::Image(std::unique_ptr<State> state) : state_(std::move(state)) {}
Image::Image(Image&&) noexcept = default;
Image::~Image() = default;

const std::string& Image::path() const { return state_->path; }
const std::string& Image::found_at() const { return state_->found_at; }
report::ModuleStatus Image::status() const { return state_->status; }
const std::optional<std::string>& Image::build_id() const { return state_->file.ids().gnu; }
std::uint64_t Image::bias() const { return state_->bias; }
AddressRange Image::range() const { return state_->range; }
bool Image::position_independent() const { return state_->file.header().e_type == ET_DYN; }
std::uint64_t Image::entry() const { return state_->file.header().e_entry; }
std::span<const Section> Image::sections() const { return state_->sections; }
std::vector<Segment> Image::file_segments() const { return state_->segments; }

std::optional<std::string> Image::interpreter() const {
    for (const Elf64_Phdr& segment : state_->file.segments()) {
        if (segment.p_type != PT_INTERP) continue;
        const auto bytes = state_->file.slice(segment.p_offset, std::min<std::uint64_t>(segment.p_filesz, 4096));
        const auto* text = reinterpret_cast<const char*>(bytes.data());
        return std::string(text, strnlen(text, bytes.size()));
    }
    return std::nullopt;
}

const Section* Image::find_section(std::string_view name) const {
    for (const Section& section : state_->sections)
        if (section.name == name) return &section;
    // Go's linker moves .gopclntab, .typelink and .itablink there in position-independent executables.
    constexpr std::string_view moved = ".data.rel.ro";
    for (const Section& section : state_->sections)
        if (section.name.size() == moved.size() + name.size() && section.name.starts_with(moved) &&
            section.name.ends_with(name) && name.starts_with('.'))
            return &section;
    return nullptr;
}

bool Image::has_dwarf() const { return has_dwarf_sections(*state_); }
::Dwarf* Image::dwarf() const { return dwarf_of(*state_); }

::Dwarf_CFI_s* Image::eh_cfi() const {
    auto& lazy = state_->lazy;
    if (!lazy.searched_eh_cfi) {
        lazy.searched_eh_cfi = true;
        // Without PT_GNU_EH_FRAME and without .eh_frame libdw would report an error each time: asked once.
        lazy.eh_cfi.reset(dwarf_getcfi_elf(state_->file.elf()));
    }
    return lazy.eh_cfi.get();
}

::Dwarf_CFI_s* Image::debug_cfi() const {
    Dwarf* info = frames_dwarf_of(*state_);
    return info == nullptr ? nullptr : dwarf_getcfi(info);  // libdw caches it with the Dwarf
}

}  // namespace incident
