// What an Image holds. Private to src/image. Everything above `lazy` is filled while matching and then constant, so any
// thread may read it; what is below is made on first use, by the one thread that talks to libdw.
#pragma once

#include <elfutils/libdw.h>

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "image/debuginfod.h"
#include "image/elf_file.h"
#include "image/image.h"

namespace incident {

/// Where debug files may lie. Shared by all images of a process.
struct DebugPaths {
    std::vector<std::string> sysroots;
    std::vector<std::string> debug_dirs;     ///< searched before <sysroot>/usr/lib/debug and /usr/lib/debug
    std::shared_ptr<Debuginfod> debuginfod;  ///< null: no network
};

struct SymbolEntry {
    std::uint64_t address = 0;  ///< ELF address, unbiased
    std::uint64_t size = 0;
    const char* name = nullptr;
    std::uint16_t section = 0;
    std::uint8_t type = 0;     ///< STT_*
    std::uint8_t binding = 0;  ///< STB_*
};

struct SymbolTable {
    std::vector<SymbolEntry> entries;                             ///< by address
    std::vector<std::string> synthetic_names;                     ///< "read@plt"
    std::vector<ElfFile> owners;                                  ///< the minisymtab's ELF
    std::unordered_map<std::string_view, std::uint32_t> by_name;  ///< filled at the first search by name
    std::uint64_t largest = 0;  ///< size of the largest symbol: bounds the search backwards
    bool has_symtab = false;
};

struct CloseDwarf {
    void operator()(Dwarf* dwarf) const { dwarf_end(dwarf); }
};
struct EndCfi {
    void operator()(Dwarf_CFI* cfi) const { dwarf_cfi_end(cfi); }
};

/// DWARF of one image: its own or a separate file's. `elf` outlives `dwarf`.
struct DebugInfo {
    std::optional<ElfFile> separate;  ///< when it is not the image itself
    std::string path;                 ///< of `separate`
    std::optional<ElfFile> alternate_elf;
    std::unique_ptr<Dwarf, CloseDwarf> alternate;  ///< dwz's shared part (.gnu_debugaltlink)
    std::unique_ptr<Dwarf, CloseDwarf> dwarf;
};

/// Compile units by address, and the functions of those that were asked about.
struct UnitIndex;
struct DropUnitIndex {
    void operator()(UnitIndex* index) const;
};

struct ImageState {
    std::string path, found_at;
    ElfFile file;
    report::ModuleStatus status = report::ModuleStatus::unverified;
    std::uint64_t bias = 0;
    AddressRange range;
    std::vector<Section> sections;
    std::vector<Segment> segments;
    std::shared_ptr<const DebugPaths> debug_paths;

    struct Lazy {
        std::optional<SymbolTable> symbols;
        bool searched_separate = false;
        bool searched_dwarf = false;
        DebugInfo debug;
        bool searched_types = false, searched_frames = false;
        DebugInfo types;   ///< the same DWARF without lines, locations and ranges
        DebugInfo frames;  ///< .debug_frame alone
        std::unique_ptr<UnitIndex, DropUnitIndex> units;
        std::unordered_map<std::uint64_t, std::vector<InlineFrame>> inline_frames;  ///< by ELF address
        std::unordered_set<std::string> kept;                                       ///< names that frames point to
        bool searched_eh_cfi = false;
        std::unique_ptr<Dwarf_CFI, EndCfi> eh_cfi;
    };
    mutable Lazy lazy;

    explicit ImageState(ElfFile f) : file(std::move(f)) {}
};

// image_tables.cpp
/// Reads section headers; fills sections, range and segments from file, bias and status.
void fill_static_tables(ImageState& image);

// symbols.cpp
const SymbolTable& symbols_of(const ImageState& image);

// debug_files.cpp
/// Fills lazy.debug.separate when there is a separate debug file; cheap when already looked for.
void find_separate_debug(const ImageState& image);
Dwarf* dwarf_of(const ImageState& image);
/// Is there DWARF at all? Looks for the sections, reads none.
bool has_dwarf_sections(const ImageState& image);
/// For questions about types, static variables and constants only: far less to decompress than dwarf_of(). DIEs of the
/// two do not mix.
Dwarf* types_dwarf_of(const ImageState& image);
/// For .debug_frame only.
Dwarf* frames_dwarf_of(const ImageState& image);
/// ELF inside .gnu_debugdata (xz), if any.
std::optional<ElfFile> load_minidebug(const ImageState& image);

// units.cpp
/// The compile unit that covers `elf_address`; false when none does.
bool find_unit(const ImageState& image, Dwarf_Addr elf_address, Dwarf_Die& unit);
/// The function and the blocks and inlined calls around `elf_address`, outermost (the function) first; empty: none.
std::vector<Dwarf_Die> scopes_at(const ImageState& image, Dwarf_Addr elf_address);
/// Demangled name of a function DIE, through its abstract origin and specification.
std::string function_name(const ImageState& image, Dwarf_Die& die);
/// The name of a DIE behind the namespaces and classes around its declaration.
std::string qualified_name(const ImageState& image, Dwarf_Die die);

struct Image::State : ImageState {
    using ImageState::ImageState;
};

struct ImageAccess {
    static const ImageState& state(const Image& image) { return *image.state_; }
};

}  // namespace incident
