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
    TypeRef object;                      ///< what the chunk is that holds the word, when that is no array
    std::string owner;                   ///< the struct that has it as a member: "_Node_iterator_base<…>"; empty: none
    std::string member;                  ///< its name there
    bool element = false;                ///< it is an element of an array, the `index`-th
    std::uint64_t index = 0, count = 0;  ///< of elements; in malloc's chunks the last may be spare room
    std::uint64_t in_use = 0;            ///< of `count`, as the vector says that has the array; 0: it has none
    bool spare = false;                  ///< behind a vector's end: what was there is gone, and its type with it
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
    /// What the pointer `name`, which `word` is, points to, qualified: "app::session"; empty: unknown.
    std::string target(const LiveMemory::Word& word, const WordName& name);
    /// Is `word` in an element in use of an array that a struct holds with a count, { items, n, capacity }?
    bool in_counted_array(const LiveMemory::Word& word);
    /// How many elements of such an array, a chunk, are in use: the least of the integers beside the pointer to it; 0:
    /// none, or unknown.
    std::uint64_t counted(std::uint32_t chunk);
    /// Whose variable the way to `word` begins with; null: no image's.
    const Image* image_of(const LiveMemory::Word& word);
    /// The variable around `a`, with its type; null: none that DWARF knows.
    const GlobalVariable* global_at(const Image& image, Address a);

private:
    /// The pointer that led to a chunk, and the image in whose DWARF its type stands.
    struct Lead {
        WordName name;
        const Image* image = nullptr;
    };
    const Lead& lead(std::uint32_t chunk);
    WordName in_chunk(const LiveMemory::Word& word, const Lead& lead) const;

    const Process& process_;
    const Locator& locator_;
    const LiveMemory& live_;
    std::map<const Image*, std::vector<GlobalVariable>> globals_, statics_;  ///< by address
    std::unordered_map<std::uint32_t, Lead> leads_;
    std::unordered_map<std::uint32_t, std::uint64_t> counted_;
};

}  // namespace incident::detect
