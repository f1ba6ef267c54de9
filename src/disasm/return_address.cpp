// "May this word be a return address?", by bytes alone: it is asked for each word that a stack scan looks at, so it
// builds nothing and decodes nothing. Prefixes (REX, fs:, notrack) stand before the opcode and need no look.
#include <array>
#include <cstdint>
#include <cstring>

#include "disasm/disasm.h"

namespace incident {
namespace {

/// Length from the FF opcode on of `call r/m64` (FF /2) with this ModRM and SIB byte; 0: it is another instruction.
constexpr unsigned indirect_call_length(std::uint8_t modrm, std::uint8_t sib) {
    if ((modrm >> 3 & 7) != 2) return 0;
    const unsigned mod = modrm >> 6, rm = modrm & 7;
    if (mod == 3) return 2;
    const unsigned with_sib = rm == 4 ? 1 : 0;
    if (mod == 1) return 3 + with_sib;
    if (mod == 2) return 6 + with_sib;
    if (rm == 5) return 6;  // rip + disp32
    return 2 + with_sib + (with_sib != 0 && (sib & 7) == 5 ? 4 : 0);
}

}  // namespace

bool may_be_return_address(const Memory& memory, Address pc) {
    constexpr std::size_t reach = 7;  // longest FF /2 form without prefixes
    if (pc.value < reach) return false;
    // bytes[reach - n] is the byte n before pc
    std::array<std::uint8_t, reach> bytes{};
    std::size_t held = reach;
    if (const std::byte* p = memory.data_at(pc - reach, reach)) {
        std::memcpy(bytes.data(), p, reach);
    } else {  // close to the start of a segment
        for (held = 0; held < reach; ++held) {
            const std::byte* one = memory.data_at(pc - (held + 1), 1);
            if (one == nullptr) break;
            bytes[reach - 1 - held] = static_cast<std::uint8_t>(*one);
        }
    }
    auto back = [&](std::size_t n) { return bytes[reach - n]; };

    if (held >= 5 && back(5) == 0xe8) {
        std::int32_t relative;
        std::memcpy(&relative, &bytes[reach - 4], 4);
        if (memory.is_mapped(pc + static_cast<std::uint64_t>(std::int64_t{relative}))) return true;
    }
    for (std::size_t n : {2u, 3u, 4u, 6u, 7u}) {
        if (held < n || back(n) != 0xff) continue;
        const std::uint8_t sib = n >= 3 ? back(n - 2) : 0;
        if (indirect_call_length(back(n - 1), sib) == n) return true;
    }
    return false;
}

}  // namespace incident
