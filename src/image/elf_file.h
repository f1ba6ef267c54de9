// ElfFile: one ELF file on our disk (or a copy of bytes from the core: the vDSO), opened and bounded, by libelf.
// Opening reads the headers and the notes, nothing more; the rest is paged in when somebody looks.
#pragma once

#include <elf.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

struct Elf;

namespace incident {

/// What identifies a build. The GNU id is hex; Go's own is the text that `go tool buildid` prints.
struct BuildIds {
    std::optional<std::string> gnu;
    std::optional<std::string> go;
    bool gnu_in_segment = false;  ///< the GNU note lies in a PT_NOTE, so that a target that lacks it lacks it for good
    bool any() const { return gnu || go; }
};

std::string hex_of(std::span<const std::byte> bytes);

/// Adds what the notes in `notes` (the bytes of one PT_NOTE) say.
void read_build_ids(std::span<const std::byte> notes, std::uint64_t alignment, BuildIds& ids);

/// Go's linker (1.25 on) writes .note.gnu.build-id right behind .note.go.buildid but spans only the latter with
/// PT_NOTE. `after` are the bytes that follow the segment: one GNU build-id note, or anything else.
void read_build_id_behind_go(std::span<const std::byte> after, BuildIds& ids);

class ElfFile {
public:
    /// Fails with absent (no such file), unsupported (not a 64-bit little-endian ELF, not a regular file), corrupt or
    /// io.
    static Result<ElfFile> open(const std::string& path);
    /// Takes over the bytes.
    static Result<ElfFile> from_bytes(std::vector<std::byte> bytes);
    ElfFile(ElfFile&&) noexcept;
    ElfFile& operator=(ElfFile&&) noexcept;
    ~ElfFile();

    Elf* elf() const;
    const Elf64_Ehdr& header() const;
    std::span<const Elf64_Phdr> segments() const;  ///< program headers; those whose bytes lie past the file's end too
    std::span<const std::byte> bytes() const;      ///< the whole file, mapped read-only
    /// Bytes [offset, offset + size) as far as the file has them.
    std::span<const std::byte> slice(std::uint64_t offset, std::uint64_t size) const;
    const BuildIds& ids() const;

    /// Makes libdw see only those .debug_ sections whose names (without prefix: "info") `keep` accepts. libdw
    /// decompresses all that it sees at once, needed or not. For an ElfFile of its own, before dwarf_begin_elf().
    void hide_debug_sections(const std::function<bool(std::string_view name)>& keep);

    /// Target address minus ELF address, when the file's byte `file_offset` (a page boundary) is mapped at `address`.
    std::optional<std::uint64_t> bias_for(std::uint64_t address, std::uint64_t file_offset) const;

private:
    struct State;
    explicit ElfFile(std::unique_ptr<State> state);
    static Result<ElfFile> load(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace incident
