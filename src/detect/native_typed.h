// What DWARF says of words that lead to freed chunks, where the objects around them contradict it: a node of a list or
// tree in use whose link leads to a freed node, an element of an array in use that was freed while the others live.
//
// Innocent look-alikes, silent: a thread at taking the list or the array apart (it has the node or the array on its
// stack); spare room of arrays; links that nobody clears: of a queue's first node to the one that was taken out, of
// objects that were in a pool once (no node leads to them by the same link, or there are many such).
#pragma once

#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "detect/native_names.h"
#include "detect/native_stale.h"

namespace incident::detect {

struct TypedFault {
    std::string title, why;
    std::string fault;  ///< for the finding's mark
    std::string remedy;
    std::string family;  ///< of faults that are one habit when there are many: the struct and its member, the array
    bool of_array = false;
    bool only_counts = false;  ///< no finding of its own, but it says that such words are let lie
};

class TypedWords {
public:
    /// `on_stack`: addresses in malloc's chunks that threads have on their stacks and in registers, sorted.
    TypedWords(const Process& process, WordNames& names, const LiveMemory& live, std::span<const Stale> all,
               std::span<const std::uint64_t> on_stack);

    std::optional<TypedFault> judge(const Stale& stale);
    /// A pointer that is a variable, or a member of a struct that no thread has on its stack.
    bool member_of_idle(const Stale& stale);
    /// Such a pointer into the middle, beside one of its type that leads to a chunk in use: a buffer that was moved.
    bool left_by_moved_buffer(const Stale& stale);
    /// So many freed chunks are led to that among them some were freed last by chance.
    bool crowded() const { return crowded_; }
    /// A link to another struct of its kind: judge() knows more of it.
    bool links_nodes(const Stale& stale);

private:
    struct Elements {
        std::uint64_t live = 0, others = 0;
        std::vector<std::uint64_t> freed;  ///< indices
        std::uint64_t last_live = 0;       ///< index
        bool null_before_live = false;
    };
    std::optional<TypedFault> judge_link(const Stale& stale, const WordName& name);
    std::optional<TypedFault> judge_element(const Stale& stale, const WordName& name);
    const Elements& elements_of(Address array, std::uint64_t count);
    bool ours(const LiveMemory::Word& word);
    const std::vector<std::uint64_t>& links_of(TypeRef type);
    bool is_led_to(Address node, std::uint64_t node_size, std::uint64_t link);
    bool on_stack(AddressRange range) const;
    AddressRange holder(const LiveMemory::Word& word) const { return live_.chunks()[word.chunk].user; }

    const Process& process_;
    WordNames& names_;
    const LiveMemory& live_;
    std::span<const std::uint64_t> on_stack_;
    std::unordered_map<const void*, std::vector<std::uint64_t>> links_;  ///< by type: offsets
    std::unordered_map<std::uint64_t, Elements> arrays_;                 ///< by address
    std::unordered_multimap<std::uint64_t, const Stale*> by_chunk_;      ///< those that lead to its start
    std::size_t sweeps_ = 0, neighbours_ = 0;
    bool crowded_ = false;
};

}  // namespace incident::detect
