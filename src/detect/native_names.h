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

namespace incident::detect {

struct WordName {
    std::string text;    ///< "g_worker->current", "g_first"; empty: nothing leads there by a name
    std::string type;    ///< of the word: "struct conn *"; empty: unknown
    bool typed = false;  ///< DWARF says that the word is a pointer
};

/// Reads DWARF of the images that it is asked about, once; belongs to the thread of libdw.
class WordNames {
public:
    WordNames(const Process& process, const Locator& locator, const LiveMemory& live)
        : process_(process), locator_(locator), live_(live) {}
    WordName name(const LiveMemory::Word& word);
    /// The object that a chunk is: "*g_worker", and its type: "struct worker".
    WordName object(std::uint32_t chunk);
    /// The word that led to chunk `index`.
    LiveMemory::Word word_to(std::uint32_t index) const;

private:
    const StructLayout* layout(const Image& image, const std::string& type);
    const GlobalVariable* global_at(const Image& image, Address a);
    WordName member(const Image& image, const WordName& base, bool pointer, std::uint64_t offset, unsigned depth);
    const Image* image_of(std::uint32_t chunk) const;

    const Process& process_;
    const Locator& locator_;
    const LiveMemory& live_;
    std::map<const Image*, std::vector<GlobalVariable>> globals_;
    std::map<std::pair<const Image*, std::string>, std::optional<StructLayout>> layouts_;
};

}  // namespace incident::detect
