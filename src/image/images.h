// Images: which ELF files were mapped, and finding our copies of them. The target's own build-id (read from the note in
// the first page, which the kernel dumps) decides: a file with another build-id is refused and named, and the right one
// is searched for; a missing one is a gap, not a failure.
#pragma once

#include <string>
#include <vector>

#include "core/core_file.h"
#include "core/memory.h"
#include "image/image.h"
#include "report/report.h"

namespace incident {

struct ImageOptions {
    std::string executable;               ///< EXE of the command line; empty: by NT_FILE and build-id
    std::vector<std::string> sysroots;    ///< --sysroot
    std::vector<std::string> debug_dirs;  ///< --debug-dir, searched before /usr/lib/debug
    bool allow_mismatch = false;
    bool debuginfod = false;  ///< network only when asked
    unsigned debuginfod_budget_seconds = 20;
};

class Images {
public:
    /// Matches every mapped ELF file. Never fails: what is missing or refused stands in modules() and gaps().
    static Images match(const CoreFile& core, const Memory& core_memory, const ImageOptions& options);
    Images(Images&&) noexcept;
    ~Images();

    std::span<const Image> all() const;
    const Image* find(Address a) const;  ///< the image whose range holds `a` [any thread]
    const Image* executable() const;     ///< null when missing or refused [any thread]

    /// Also for files that are missing or refused: which mapped ELF holds `a`, and where it begins. [any thread]
    struct Place {
        const report::Module* module = nullptr;
        std::uint64_t bias = 0;  ///< target address minus ELF address
    };
    std::optional<Place> find_module(Address a) const;

    const std::vector<report::Module>& modules() const;  ///< every mapped ELF, found or not; executable first
    const std::optional<report::Module>& executable_module() const;
    const std::vector<report::Gap>& gaps() const;

    /// Fills the holes of `memory` with file bytes of matched images. Before Memory::freeze().
    void splice_into(Memory& memory) const;

private:
    struct State;
    class Matching;
    explicit Images(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace incident
