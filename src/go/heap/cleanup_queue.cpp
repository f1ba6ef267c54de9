#include "go/heap/cleanup_queue.h"

#include <algorithm>

#include "base/bounded_walk.h"

namespace incident::go {

namespace {

// go1.25–1.27 src/runtime/mcleanup.go: cleanupBlock is {lfnode, alllink, n uint32, entries} in cleanupBlockSize = 512
// bytes, aligned to tagAlign (tagptr.go); cleanupQueue.all stands two cache lines of 64 bytes behind the queue's start
// (amd64). The same in all three but for an entry: *funcval in 1.25, cleanupFn {call, fn, arg} since.
constexpr std::uint64_t link_at = 16, count_at = 24, entries_at = 32, block_size = 512, block_align = 512, all_at = 128;
constexpr std::size_t most_blocks = 1 << 16;

/// Each entry in use begins with a funcval: a pointer to a function's entry. Entries that ran are zero.
bool begins_with_functions(const Memory& memory, const Runtime& runtime, const std::vector<AddressRange>& blocks,
                           std::uint64_t entry_words) {
    bool any = false;
    MemoryCursor cursor(memory);
    for (const AddressRange& block : blocks)
        for (Address at = block.begin; at < block.end; at += entry_words * 8) {
            Address funcval, entry;
            if (!cursor.load(at, funcval.value)) return false;
            if (funcval.is_null()) continue;
            if (!cursor.load(funcval, entry.value)) return false;
            auto func = runtime.find_func(entry);
            if (!func || func->entry != entry) return false;
            any = true;
        }
    return any;
}

}  // namespace

std::optional<std::vector<AddressRange>> CleanupBlocks::read(const Memory& memory, Address head) const {
    std::vector<AddressRange> found;
    bool sound = true;
    auto end = walk_chain(head, most_blocks, [&](Address at) -> std::optional<Address> {
        auto next = memory.load_address(at + link_at);
        auto count = memory.load<std::uint32_t>(at + count_at);
        if (!at.is_aligned(block_align) || !next || !count || *count > (block_size - entries_at) / (entry_words * 8)) {
            sound = false;
            return std::nullopt;
        }
        if (*count != 0) found.push_back({at + entries_at, at + entries_at + *count * entry_words * 8});
        return *next;
    });
    if (!sound || end != WalkEnd::done) return std::nullopt;
    return found;
}

std::vector<AddressRange> queued_cleanups(const Memory& memory, const Runtime& runtime) {
    const Version& version = runtime.version();
    if (!version.at_least(25)) return {};
    const CleanupBlocks blocks{.entry_words = version.at_least(26) ? 3u : 1u};
    if (auto queue = runtime.find_variable("runtime.gcCleanups")) {
        auto head = memory.load_address(*queue + all_at);
        return head ? blocks.read(memory, *head).value_or(std::vector<AddressRange>{}) : std::vector<AddressRange>{};
    }
    // By shape: a word that leads to such blocks, all of whose entries begin with functions.
    MemoryCursor cursor(memory);
    for (const ModuleData& module : runtime.modules())
        for (AddressRange range : {module.bss, module.data})
            for (Address at{(range.begin.value + 7) / 8 * 8}; at + 8 <= range.end; at += 8) {
                Address head;
                if (!cursor.load(at, head.value) || head.is_null() || !head.is_aligned(block_align)) continue;
                auto found = blocks.read(memory, head);
                if (found && begins_with_functions(memory, runtime, *found, blocks.entry_words)) return *found;
            }
    return {};
}

}  // namespace incident::go
