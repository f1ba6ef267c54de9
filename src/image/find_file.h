// Looking for our copy of a mapped ELF file: the candidates in order of trust, each compared with the target.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "image/candidate.h"
#include "image/debuginfod.h"
#include "image/images.h"

namespace incident {

struct FoundFile {
    std::string path;
    ElfFile file;
    Verdict verdict;
};

struct Search {
    std::optional<FoundFile> found;    ///< same or unknown; with allow_mismatch perhaps differs
    std::vector<std::string> refused;  ///< "/bin/x: its build-id is …": files at expected places that are others
    std::string refused_path;          ///< the first of these
    bool no_elf = false;               ///< what lies at the target's own path is no ELF file
    bool executable_refused = false;   ///< the EXE that the user named is among them
};

Search find_file(const MappedElf& mapped, bool is_main, const CoreFile& core, const Memory& memory,
                 const ImageOptions& options, Debuginfod* debuginfod);

/// "ab/cdef…" below a .build-id directory; empty when there is none or it is absurd.
std::string build_id_path(const std::optional<std::string>& id);

}  // namespace incident
