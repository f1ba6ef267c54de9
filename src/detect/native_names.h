// Names of words in C memory: "g_worker->current", by the variable that leads there and the DWARF types on the way; by
// offsets where there are none.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "image/types.h"
#include "process/live_memory.h"
#include "process/locate.h"
#include "report/report.h"

namespace incident::detect {

struct WordName {
    std::string text;                    ///< "g_worker->current", "g_first"; empty: nothing leads there by a name
    std::string type;                    ///< of the word: "struct conn *"; empty: unknown
    bool typed = false;                  ///< DWARF says that the word is a pointer
    TypeRef pointee;                     ///< then: to what
    std::string owner;                   ///< the struct that has it as a member: "_Node_iterator_base<…>"; empty: none
    std::string member;                  ///< its name there
    bool element = false;                ///< it is an element of an array, the `index`-th
    std::uint64_t index = 0, count = 0;  ///< of elements; in malloc's chunks the last may be spare room
};

/// Reads DWARF of the images that it is asked about, once; belongs to the thread of libdw.
class WordNames {
public:
    WordNames(const Process& process, const Locator& locator, const LiveMemory& live)
        : process_(process), locator_(locator), live_(live) {}
    WordName name(const LiveMemory::Word& word);
    /// The object that a chunk is: "*g_worker", and its type: "struct worker".
    WordName object(std::uint32_t chunk);
    /// What is the same in every build: the name, and the place in its chunk or that it is a variable.
    report::Mark mark(const LiveMemory::Word& word);
    /// The word that led to chunk `index`.
    LiveMemory::Word word_to(std::uint32_t index) const;
    /// The variable around `a`, with its type; null: none that DWARF knows.
    const GlobalVariable* global_at(const Image& image, Address a);

private:
    const Image* image_of(std::uint32_t chunk) const;

    const Process& process_;
    const Locator& locator_;
    const LiveMemory& live_;
    std::map<const Image*, std::vector<GlobalVariable>> globals_;
};

}  // namespace incident::detect
