// Is this file on our disk the one that the target had mapped? Decided by build-id; where the core or the file has
// none, by the bytes that the core does hold, which can refute but not prove.
#pragma once

#include <string>

#include "image/target_elf.h"

namespace incident {

enum class Agreement : std::uint8_t {
    same,     ///< equal build-ids
    unknown,  ///< nothing contradicts, nothing proves
    differs,  ///< another file
};

struct Verdict {
    Agreement agreement = Agreement::unknown;
    std::uint64_t bias = 0;
    std::string why;  ///< for a person: "its build-id is …, the target's is …"
};

Verdict compare_with_target(const ElfFile& file, const MappedElf& mapped, bool is_main, const CoreFile& core,
                            const Memory& memory);

}  // namespace incident
