// What a fault was, in a sentence, and what the instruction and the registers say of it.
#pragma once

#include <optional>
#include <string>

#include "process/fault_access.h"

namespace incident::detect {

struct FaultStory {
    std::string title;
    std::string why;  ///< may be empty
};

/// `access`: of the instruction at the fault's pc, when it was decoded.
FaultStory tell_fault(const Process& process, const CrashContext& crash, const std::optional<FaultAccess>& access);

/// "SIGSEGV SEGV_MAPERR at 0x18"
std::string signal_words(const SignalInfo& info);

}  // namespace incident::detect
