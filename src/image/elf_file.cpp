// libelf maps the file itself (ELF_C_READ_MMAP): it then copies the header tables instead of writing into the mapping
// when it decompresses sections, and we close the descriptor at once, so that a process with a thousand libraries needs
// none. A file that shrinks while we run would still fault, as in every tool that maps files; one that is short already
// does not.
#include "image/elf_file.h"

#include <elfutils/libdwelf.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/byte_reader.h"

namespace incident {
namespace {

constexpr std::uint64_t page = 4096;
constexpr std::size_t most_segments = 4096;  ///< program headers that we look at

}  // namespace

std::string hex_of(std::span<const std::byte> bytes) {
    static constexpr char digits[] = "0123456789abcdef";
    std::string out;
    for (std::byte b : bytes) {
        out += digits[std::to_integer<unsigned>(b) >> 4];
        out += digits[std::to_integer<unsigned>(b) & 15];
    }
    return out;
}

void read_build_ids(std::span<const std::byte> notes, std::uint64_t alignment, BuildIds& ids) {
    const std::size_t align = alignment == 8 ? 8 : 4;
    const auto padded = [align](std::size_t n) { return (n + align - 1) / align * align; };
    ByteReader reader(notes);
    while (reader.remaining() >= sizeof(Elf64_Nhdr)) {
        const auto header = *reader.read<Elf64_Nhdr>();
        auto name = reader.view(std::min<std::size_t>(padded(header.n_namesz), reader.remaining()));
        if (!name || name->size() < header.n_namesz) return;
        auto description = reader.view(std::min<std::size_t>(padded(header.n_descsz), reader.remaining()));
        if (!description || description->size() < header.n_descsz) return;
        const auto value = description->first(header.n_descsz);
        const auto is = [&](std::string_view text) {  // four bytes with its NULs
            std::array<char, 4> wanted{};
            std::ranges::copy(text, wanted.begin());
            return header.n_namesz == wanted.size() && std::memcmp(name->data(), wanted.data(), wanted.size()) == 0;
        };
        if (header.n_type == NT_GNU_BUILD_ID && is("GNU") && !value.empty() && value.size() <= 64 && !ids.gnu) {
            ids.gnu = hex_of(value);
            ids.gnu_in_segment = true;
        }
        // go: cmd/internal/buildid/note.go: name "Go\0\0", type 4
        if (header.n_type == 4 && is("Go") && !value.empty() && value.size() <= 512 && !ids.go)
            ids.go.emplace(reinterpret_cast<const char*>(value.data()), value.size());
    }
}

void read_build_id_behind_go(std::span<const std::byte> after, BuildIds& ids) {
    if (ids.gnu || !ids.go || after.size() < sizeof(Elf64_Nhdr)) return;
    const auto header = *ByteReader(after).read<Elf64_Nhdr>();
    const std::size_t size = sizeof header + 4 + header.n_descsz;
    if (header.n_type != NT_GNU_BUILD_ID || header.n_namesz != 4 || header.n_descsz > 64 || size > after.size()) return;
    read_build_ids(after.first(size), 4, ids);
    ids.gnu_in_segment = false;
}

struct ElfFile::State {
    std::vector<std::byte> copy;  ///< of the vDSO
    Elf* elf = nullptr;
    Elf64_Ehdr header{};
    std::vector<Elf64_Phdr> segments;
    std::span<const std::byte> bytes;
    BuildIds ids;
    ~State() {
        if (elf != nullptr) elf_end(elf);
    }
};

ElfFile::ElfFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
ElfFile::ElfFile(ElfFile&&) noexcept = default;
ElfFile& ElfFile::operator=(ElfFile&&) noexcept = default;
ElfFile::~ElfFile() = default;

Elf* ElfFile::elf() const { return state_->elf; }
const Elf64_Ehdr& ElfFile::header() const { return state_->header; }
std::span<const Elf64_Phdr> ElfFile::segments() const { return state_->segments; }
std::span<const std::byte> ElfFile::bytes() const { return state_->bytes; }
const BuildIds& ElfFile::ids() const { return state_->ids; }

std::span<const std::byte> ElfFile::slice(std::uint64_t offset, std::uint64_t size) const {
    const auto all = state_->bytes;
    if (offset >= all.size()) return {};
    return all.subspan(offset, std::min<std::uint64_t>(size, all.size() - offset));
}

Result<ElfFile> ElfFile::load(std::unique_ptr<State> state) {
    Elf* elf = state->elf;
    if (elf_kind(elf) != ELF_K_ELF) return fail(ErrorKind::unsupported, "not an ELF file");
    std::size_t size = 0;
    const char* raw = elf_rawfile(elf, &size);
    if (raw == nullptr) return fail(ErrorKind::io, elf_errmsg(-1));
    state->bytes = std::as_bytes(std::span(raw, size));
    const char* ident = elf_getident(elf, nullptr);
    if (ident == nullptr || ident[EI_CLASS] != ELFCLASS64 || ident[EI_DATA] != ELFDATA2LSB)
        return fail(ErrorKind::unsupported, "not a 64-bit little-endian ELF file");
    GElf_Ehdr header;
    if (gelf_getehdr(elf, &header) == nullptr) return fail(ErrorKind::corrupt, elf_errmsg(-1));
    state->header = header;
    std::size_t count = 0;
    if (elf_getphdrnum(elf, &count) != 0) count = 0;
    count = std::min(count, most_segments);
    for (std::size_t i = 0; i < count; ++i) {
        GElf_Phdr segment;
        if (gelf_getphdr(elf, static_cast<int>(i), &segment) == nullptr) break;
        state->segments.push_back(segment);
    }
    ElfFile file(std::move(state));
    for (const Elf64_Phdr& segment : file.segments())
        if (segment.p_type == PT_NOTE)
            read_build_ids(file.slice(segment.p_offset, segment.p_filesz), segment.p_align, file.state_->ids);
    if (!file.state_->ids.gnu) {  // separate debug files have the section only
        const void* id = nullptr;
        const auto length = dwelf_elf_gnu_build_id(elf, &id);
        if (length > 0)
            file.state_->ids.gnu =
                hex_of(std::span(static_cast<const std::byte*>(id), static_cast<std::size_t>(length)));
    }
    return file;
}

Result<ElfFile> ElfFile::open(const std::string& path) {
    elf_version(EV_CURRENT);
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);  // never wait on a FIFO
    if (fd < 0)
        return fail(errno == ENOENT || errno == ENOTDIR ? ErrorKind::absent : ErrorKind::io, std::strerror(errno));
    struct stat status{};
    auto state = std::make_unique<State>();
    const bool regular = fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
    if (regular) state->elf = elf_begin(fd, ELF_C_READ_MMAP, nullptr);
    if (state->elf == nullptr) {
        ::close(fd);
        return fail(ErrorKind::unsupported, regular ? "not an ELF file" : "not a regular file");
    }
    auto file = load(std::move(state));
    if (file) elf_cntl(file->elf(), ELF_C_FDDONE);  // all of it is mapped
    ::close(fd);
    return file;
}

Result<ElfFile> ElfFile::from_bytes(std::vector<std::byte> bytes) {
    elf_version(EV_CURRENT);
    auto state = std::make_unique<State>();
    state->copy = std::move(bytes);
    state->elf = elf_memory(reinterpret_cast<char*>(state->copy.data()), state->copy.size());
    if (state->elf == nullptr) return fail(ErrorKind::corrupt, elf_errmsg(-1));
    return load(std::move(state));
}

void ElfFile::hide_debug_sections(const std::function<bool(std::string_view name)>& keep) {
    std::size_t names = 0;
    if (elf_getshdrstrndx(elf(), &names) != 0) return;
    for (Elf_Scn* scn = nullptr; (scn = elf_nextscn(elf(), scn)) != nullptr;) {
        GElf_Shdr header;
        if (gelf_getshdr(scn, &header) == nullptr) continue;
        const char* raw = elf_strptr(elf(), names, header.sh_name);
        std::string_view name = raw == nullptr ? "" : raw;
        if (name.starts_with(".debug_"))
            name.remove_prefix(7);
        else if (name.starts_with(".zdebug_"))
            name.remove_prefix(8);
        else
            continue;
        if (keep(name)) continue;
        header.sh_type = SHT_NOBITS;  // in our copy of the table; libdw skips sections without bytes
        gelf_update_shdr(scn, &header);
    }
}

std::optional<std::uint64_t> ElfFile::bias_for(std::uint64_t address, std::uint64_t file_offset) const {
    for (const Elf64_Phdr& segment : state_->segments) {
        if (segment.p_type != PT_LOAD) continue;
        const std::uint64_t skew = segment.p_offset % page;
        if (segment.p_offset - skew != file_offset) continue;
        const std::uint64_t bias = address - (segment.p_vaddr - skew);
        if (state_->header.e_type == ET_EXEC && bias != 0) continue;
        return bias;
    }
    return std::nullopt;
}

}  // namespace incident
