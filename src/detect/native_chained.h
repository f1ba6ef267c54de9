// Hand-made hash tables whose pointers DWARF types: an array of `struct node *` where a node has a link to the next
// one. Unlike read_bucket_array() this knows small tables, arrays that are variables, and nodes of any size.
//
// Innocent look-alike: an array that is used as a stack of such nodes, with stale words above its top. A table has
// empty buckets between used ones, and nodes that lead to others; a full one chains in most of its buckets.
#pragma once

#include <optional>
#include <string>

#include "detect/native_names.h"

namespace incident::detect {

struct TypedBucket {
    std::string array;  ///< "g_table->buckets"
    Address address;    ///< of its first bucket
    std::uint64_t index = 0, buckets = 0, used = 0, linked = 0;
    std::string node;       ///< "struct entry"
    std::string link;       ///< "next"
    std::size_t depth = 0;  ///< links from the bucket to the word; 0: the word is the bucket
};

/// The table of which `word` is a bucket or, in one of its nodes, a link; nullopt: none that its types show.
std::optional<TypedBucket> typed_bucket_of(const Process& process, WordNames& names, const LiveMemory& live,
                                           const LiveMemory::Word& word);

}  // namespace incident::detect
