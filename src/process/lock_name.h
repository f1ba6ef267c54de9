// What a Go lock is called: by the variable or the object that it lies in.
#pragma once

#include <string>
#include <string_view>

#include "process/process.h"

namespace incident {

/// "main.accounts[1].mu", or "(*main.session).mu" in an object of the Go heap whose type is known. Empty: it has no
/// name. `type`: the lock's own, "sync.Mutex".
std::string lock_name(const Process& process, const Locator& locator, Address lock, std::string_view type);

}  // namespace incident
