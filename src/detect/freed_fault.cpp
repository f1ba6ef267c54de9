// What free() writes is no address: a list pointer xored with its own place >> 12 (2.32 on), and behind it the cache's
// key, a random number (2.34 on). Whoever follows one of them faults, and the value tells where it came from.
#include "detect/freed_fault.h"

#include "detect/native.h"
#include "detect/telling.h"
#include "process/fault_access.h"

namespace incident::detect {

using native::Chunk;
using native::ChunkState;

std::optional<FreedFault> find_freed_fault(const Process& process) {
    const auto& crash = process.crash;
    const auto& heaps = *process.malloc;
    if (!crash || crash->kind != report::CrashKind::signal || !crash->registers || !crash->registers->pc())
        return std::nullopt;
    Address pc = *crash->registers->pc();
    auto access = analyse_access(process, *crash->registers, crash->fault_address, function_range(process, pc));
    if (!access || !access->bad_register) return std::nullopt;
    auto bad = access->deduced ? access->deduced : crash->registers->get(*access->bad_register);
    constexpr std::uint64_t lowest = 0x1000;
    if (!bad || *bad < lowest) return std::nullopt;
    FreedFault fault{.bad = *bad};
    if (auto own = first_frame_to_read(process)) fault.frame = *own;
    if (fault.frame < crash->stack.frames.size()) fault.function = place_in_source(crash->stack.frames[fault.frame]);
    auto leads = [&](std::optional<std::uint64_t> word) {
        // Where free() itself was given it, it looks 16 bytes in front; through a vtable it is read behind.
        return word && *word >= lowest && *bad + 16 >= *word && *bad < *word + fault_reach;
    };
    const auto key = heaps.tcache_key();
    constexpr std::uint64_t beyond_addresses = std::uint64_t{1} << 47;  // up to 2.33 the key is the cache's address
    fault.mark = key > beyond_addresses && leads(key);
    if (access->load && access->load->slot)
        if (auto chunk = heaps.find(*access->load->slot); chunk && chunk->free()) fault.chunks.push_back(*chunk);
    // The value itself: link ^ place >> 12 is nobody else's. A last entry's is place >> 12: of its page's chunks.
    if (fault.chunks.empty())
        heaps.for_each_chunk([&](const Chunk& chunk) {
            if (chunk.state != ChunkState::free_tcache && chunk.state != ChunkState::free_fastbin) return;
            if (fault.mark ? chunk.state == ChunkState::free_tcache
                           : leads(process.memory.load<std::uint64_t>(chunk.user.begin).value_or(0)))
                fault.chunks.push_back(chunk);
        });
    return fault.chunks.empty() ? std::nullopt : std::optional(std::move(fault));
}

}  // namespace incident::detect
