// The key of a core in a store. XXH3-128 over the file as it lies there: its size, and every 4 KiB block that is not
// all zero, with its offset. So a sparse copy and a full copy have the same digest, and a cut or damaged one another.
// Of a file with more than 64 MiB of data only the first and last 8 MiB and 4096 blocks spread over the rest are read:
// that tells apart any two cores of two processes (pids, registers and times stand in the notes at the front), though
// not two copies that differ in a few bytes far inside. A compressed core has another digest than the same core
// unpacked.
#pragma once

#include <string>

#include "base/result.h"

namespace incident::triage {

Result<std::string> digest_of(const std::string& path);

}  // namespace incident::triage
