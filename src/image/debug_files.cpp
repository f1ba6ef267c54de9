// Separate debug information: build-id directories, .gnu_debuglink, dwz's shared file (.gnu_debugaltlink) and the
// packed minisymtab (.gnu_debugdata). A file counts only when its build-id, or the CRC of the link, fits.
#include <archive.h>
#include <archive_entry.h>
#include <elfutils/libdwelf.h>
#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>

#include "base/byte_reader.h"
#include "image/find_file.h"
#include "image/image_state.h"

namespace incident {
namespace {

constexpr std::size_t largest_minidebug = 256 << 20;  ///< bytes, unpacked

const Section* find_section(const ImageState& image, std::string_view name) {
    for (const Section& section : image.sections)
        if (section.name == name) return &section;
    return nullptr;
}

bool has_own_dwarf(const ImageState& image) {
    for (const char* name : {".debug_info", ".zdebug_info"})
        if (const Section* section = find_section(image, name); section != nullptr && !section->bytes.empty())
            return true;
    return false;
}

std::string directory_of(const std::string& path) {
    const auto slash = path.rfind('/');
    return slash == std::string::npos ? "." : path.substr(0, slash);
}

std::vector<std::string> debug_roots(const ImageState& image) {
    std::vector<std::string> out = image.debug_paths->debug_dirs;
    for (const auto& root : image.debug_paths->sysroots) out.push_back(root + "/usr/lib/debug");
    out.push_back("/usr/lib/debug");
    return out;
}

struct DebugLink {
    std::string name;
    std::uint32_t crc = 0;
};

/// .gnu_debuglink: file name, NUL, padding to 4, CRC-32 of the whole debug file.
std::optional<DebugLink> read_debuglink(const ImageState& image) {
    const Section* section = find_section(image, ".gnu_debuglink");
    if (section == nullptr) return std::nullopt;
    ByteReader reader(section->bytes);
    auto name = reader.view_cstring();
    if (!name || name->empty() || name->contains('/')) return std::nullopt;
    if (!reader.seek((reader.position() + 3) / 4 * 4)) return std::nullopt;
    auto crc = reader.read<std::uint32_t>();
    if (!crc) return std::nullopt;
    return DebugLink{std::string(*name), *crc};
}

bool crc_fits(const ElfFile& file, std::uint32_t crc) {
    const auto bytes = file.bytes();
    return crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()) == crc;
}

std::string build_id_file(const std::string& root, const std::string& by_id) {
    return fmt::format("{}/.build-id/{}.debug", root, by_id);
}

std::vector<std::string> debuglink_places(const ImageState& image, const std::string& name) {
    const std::string own = directory_of(image.found_at), target = directory_of(image.path);
    std::vector<std::string> out{own + "/" + name, own + "/.debug/" + name};
    for (const auto& root : debug_roots(image)) {
        out.push_back(fmt::format("{}{}/{}", root, target, name));
        if (target.starts_with("/usr/")) out.push_back(fmt::format("{}{}/{}", root, target.substr(4), name));
        out.push_back(fmt::format("{}/{}", root, name));
    }
    return out;
}

/// dwz: path, NUL, build-id of the shared file.
void attach_alternate(const ImageState& image, DebugInfo& debug, const std::string& link_holder) {
    const char* path_text = nullptr;
    const void* id = nullptr;
    const auto id_size = dwelf_dwarf_gnu_debugaltlink(debug.dwarf.get(), &path_text, &id);
    if (id_size <= 0 || path_text == nullptr || *path_text == '\0') return;
    const std::string_view path = path_text;
    const std::string hex = hex_of(std::span(static_cast<const std::byte*>(id), static_cast<std::size_t>(id_size)));
    std::vector<std::string> places;
    for (const auto& root : debug_roots(image)) {
        if (const auto by_id = build_id_path(hex); !by_id.empty()) places.push_back(build_id_file(root, by_id));
        if (const auto dwz = path.find("/.dwz/"); dwz != path.npos)
            places.push_back(root + std::string(path.substr(dwz)));
    }
    if (path.starts_with('/')) {
        for (const auto& root : image.debug_paths->sysroots) places.push_back(root + std::string(path));
        places.emplace_back(path);
    } else {
        places.push_back(directory_of(link_holder) + "/" + std::string(path));
    }
    for (const auto& place : places) {
        auto file = ElfFile::open(place);
        if (!file || file->ids().gnu != hex) continue;
        debug.alternate.reset(dwarf_begin_elf(file->elf(), DWARF_C_READ, nullptr));
        if (debug.alternate == nullptr) continue;
        debug.alternate_elf = std::move(*file);
        dwarf_setalt(debug.dwarf.get(), debug.alternate.get());
        return;
    }
}

void begin_dwarf(const ImageState& image, const ElfFile& file, const std::string& path, DebugInfo& info) {
    info.dwarf.reset(dwarf_begin_elf(file.elf(), DWARF_C_READ, nullptr));
    if (info.dwarf != nullptr) attach_alternate(image, info, path);
}

/// Opens the file with the DWARF once more, and shows libdw only a part of it.
void begin_part(const ImageState& image, const std::function<bool(std::string_view)>& keep, DebugInfo& info) {
    if (!has_dwarf_sections(image)) return;
    const std::string& path = has_own_dwarf(image) ? image.found_at : image.lazy.debug.path;
    auto file = ElfFile::open(path);
    if (!file || file->ids().gnu != image.file.ids().gnu) return;
    file->hide_debug_sections(keep);
    info.separate = std::move(*file);
    begin_dwarf(image, *info.separate, path, info);
}

}  // namespace

void find_separate_debug(const ImageState& image) {
    auto& lazy = image.lazy;
    if (lazy.searched_separate) return;
    lazy.searched_separate = true;
    const auto take = [&](const std::string& path, const DebugLink* link) {
        if (path == image.found_at) return false;
        auto file = ElfFile::open(path);
        if (!file || file->header().e_machine != image.file.header().e_machine) return false;
        const auto &ours = image.file.ids().gnu, &theirs = file->ids().gnu;
        if (ours && theirs ? *ours != *theirs : link == nullptr || !crc_fits(*file, link->crc)) return false;
        lazy.debug.separate = std::move(*file);
        lazy.debug.path = path;
        return true;
    };
    if (const auto by_id = build_id_path(image.file.ids().gnu); !by_id.empty())
        for (const auto& root : debug_roots(image))
            if (take(build_id_file(root, by_id), nullptr)) return;
    if (const auto link = read_debuglink(image))
        for (const auto& path : debuglink_places(image, link->name))
            if (take(path, &*link)) return;
    if (image.debug_paths->debuginfod && image.file.ids().gnu)
        if (auto path = image.debug_paths->debuginfod->find(Debuginfod::Kind::debuginfo, *image.file.ids().gnu))
            take(*path, nullptr);
}

bool has_dwarf_sections(const ImageState& image) {
    if (has_own_dwarf(image)) return true;
    find_separate_debug(image);
    return image.lazy.debug.separate.has_value();
}

Dwarf* dwarf_of(const ImageState& image) {
    auto& lazy = image.lazy;
    if (lazy.searched_dwarf) return lazy.debug.dwarf.get();
    lazy.searched_dwarf = true;
    if (!has_dwarf_sections(image)) return nullptr;
    const bool own = has_own_dwarf(image);
    begin_dwarf(image, own ? image.file : *lazy.debug.separate, own ? image.found_at : lazy.debug.path, lazy.debug);
    return lazy.debug.dwarf.get();
}

Dwarf* types_dwarf_of(const ImageState& image) {
    auto& lazy = image.lazy;
    if (lazy.debug.dwarf) return lazy.debug.dwarf.get();  // everything is there already
    if (!lazy.searched_types) {
        lazy.searched_types = true;
        static constexpr std::string_view needed[] = {"info",        "abbrev", "str",  "line_str",
                                                      "str_offsets", "addr",   "types"};
        begin_part(
            image, [](std::string_view name) { return std::ranges::find(needed, name) != std::end(needed); },
            lazy.types);
        if (lazy.types.dwarf == nullptr) return dwarf_of(image);
    }
    return lazy.types.dwarf ? lazy.types.dwarf.get() : lazy.debug.dwarf.get();
}

Dwarf* frames_dwarf_of(const ImageState& image) {
    auto& lazy = image.lazy;
    if (lazy.debug.dwarf) return lazy.debug.dwarf.get();
    if (!lazy.searched_frames) {
        lazy.searched_frames = true;
        begin_part(image, [](std::string_view name) { return name == "frame"; }, lazy.frames);
    }
    return lazy.frames.dwarf.get();
}

std::optional<ElfFile> load_minidebug(const ImageState& image) {
    const Section* section = find_section(image, ".gnu_debugdata");
    if (section == nullptr || section->bytes.empty()) return std::nullopt;
    const std::unique_ptr<archive, decltype(&archive_read_free)> reader(archive_read_new(), &archive_read_free);
    archive_entry* entry = nullptr;
    if (reader == nullptr || archive_read_support_filter_xz(reader.get()) != ARCHIVE_OK ||
        archive_read_support_format_raw(reader.get()) != ARCHIVE_OK ||
        archive_read_open_memory(reader.get(), section->bytes.data(), section->bytes.size()) != ARCHIVE_OK ||
        archive_read_next_header(reader.get(), &entry) != ARCHIVE_OK)
        return std::nullopt;
    std::vector<std::byte> out;
    for (std::byte buffer[1 << 16];;) {
        const auto got = archive_read_data(reader.get(), buffer, sizeof buffer);
        if (got < 0 || out.size() > largest_minidebug) return std::nullopt;
        if (got == 0) break;
        out.insert(out.end(), buffer, buffer + got);
    }
    auto file = ElfFile::from_bytes(std::move(out));
    return file ? std::optional(std::move(*file)) : std::nullopt;
}

}  // namespace incident
