// sync.Pool: every pool that holds something, and every object in it: each P's private slot and the ring of its shared
// chain, and the same of the victims, which the last collection left behind. Read from sync.allPools and sync.oldPools,
// which stripped binaries give away in the code of sync.poolCleanup.
//
// Surprising: a ring keeps stale values outside [tail, head): they are not in the pool. A slot whose type word is nil
// is being emptied.
#pragma once

#include <optional>
#include <vector>

#include "disasm/disasm.h"
#include "go/binary/runtime.h"
#include "go/heap/spans.h"

namespace incident::go {

struct PoolSlot {
    Address slot;    ///< of the interface value
    Address type;    ///< its type word
    Address object;  ///< its data word
    std::uint32_t p = 0;
    bool is_private = false;
    bool victim = false;
};

struct Pool {
    Address address;
    std::vector<PoolSlot> slots;
    bool complete = true;  ///< false: part of it could not be read
};

struct Pools {
    std::vector<Pool> all;  ///< by address, each once
    bool found = false;     ///< the lists of pools were found; a program without sync.Pool has none
    std::string basis;
};

Pools read_pools(const Memory& memory, const Runtime& runtime, const Spans* spans, const Disassembler* disassembler);

}  // namespace incident::go
