// native.pointer.freed: a word of live memory leads to the start of a freed malloc chunk.
// native.hash.freed-bucket: the same, where a hash table is involved: a bucket or a chain names a freed node, an
// iterator or a pointer to an element outlived its node, or somebody keeps the bucket array from before a resize.
//
// Proof: the faulting instruction used what free() had written into the chunk, a mangled list pointer or the mark
// behind it (glibc's tcache key, a random number): proved. A table whose own chain reaches a freed node: likely; a
// thread that waits inside a freed chunk, too (native_freed_waits.cpp). A word in a variable, or in a small object that
// a variable leads to, which names exactly what malloc returned for the chunk that was freed last of its size:
// possible; likely with DWARF. Innocent look-alikes, measured in python3, bash, postgres and nginx: spare room of
// arrays and of pools (inner words of large chunks), stale elements behind an array's end, buffers, a FILE * kept after
// fclose, a static pointer whose chunk was freed long ago; in g++, which clears none, some point to chunks freed last.
// All of these are counted in one finding of severity info at most.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>

#include "base/text.h"
#include "detect/freed_fault.h"
#include "detect/native.h"
#include "detect/native_chained.h"
#include "detect/native_freed_waits.h"
#include "detect/native_live_tables.h"
#include "detect/native_names.h"
#include "detect/native_stale.h"
#include "detect/native_tables.h"
#include "detect/native_typed.h"
#include "detect/telling.h"
#include "process/live_memory.h"

namespace incident::detect {

namespace {

using native::Chunk;
using report::Finding;
using Word = LiveMemory::Word;
using Source = LiveMemory::Source;

constexpr std::size_t most_stale = 1 << 20;
constexpr std::size_t most_told = 16;
constexpr std::size_t most_named = 10000;  ///< words whose types are asked for

class Detectives {
public:
    explicit Detectives(const Process& process)
        : process_(process), heaps_(*process.malloc), locator_(*process.locator), tables_(process) {}

    Detection run() {
        Detection detection;
        if (heaps_.arenas().empty()) {
            detection.reason = "no heap of glibc's malloc was found";
            return detection;
        }
        fault_ = find_freed_fault(process_);
        auto wanted = [&](const Word& word, const Chunk* chunk) {
            return (chunk != nullptr && (chunk->free() || word.source == Source::stack)) ||
                   may_be_load_factor(word.value) || near_fault(word);
        };
        LiveMemory live(process_, wanted, [&](const Word& word) { look(word); });
        live_ = &live;
        WordNames names(process_, locator_, live);
        names_ = &names;
        detection.checked = live.words();
        tables_.read(names, live);
        if (fault_) tell_fault();
        tell_waits();
        tell_chains();
        for (Stale& stale : stale_) tell_table(stale);
        std::ranges::sort(on_stack_);
        TypedWords typed(process_, names, live, stale_, on_stack_);
        tell_contradicted(typed);
        if (!are_a_habit(process_, live, typed, stale_))
            for (Stale& stale : stale_) tell_word(stale, typed);
        count_rest();
        detection.findings = std::move(findings_);
        if (dropped_ > 0) detection.reason = fmt::format("{} more words into freed chunks", dropped_);
        return detection;
    }

private:
    bool near_fault(const Word& word) const {
        return fault_ && word.value >= fault_->bad && word.value < fault_->bad + fault_reach;
    }

    void look(const Word& word) {
        if (near_fault(word) && word.source != Source::stack && !fault_->keeper) fault_->keeper = word;
        if (word.source == Source::stack) {
            if (heaps_.contains(Address{word.value})) on_stack_.push_back(word.value);
            return;
        }
        if (may_be_load_factor(word.value)) tables_.look(word);
        if (!heaps_.contains(Address{word.value})) return;
        auto chunk = heaps_.find(Address{word.value});
        if (!chunk || !chunk->free() || Address{word.value} < chunk->user.begin) return;
        if (stale_.size() >= most_stale) {
            ++dropped_;
            return;
        }
        stale_.push_back({word, *chunk, chunk->user.begin == Address{word.value}});
    }

    // ---- the fault

    void tell_fault() {
        // Of chunks that hold the same word: one that live memory leads to, else one that was a table's node.
        auto named = std::ranges::find_if(fault_->chunks, [&](const Chunk& c) {
            return std::ranges::any_of(stale_, [&](const Stale& s) { return s.chunk.address == c.address; });
        });
        if (named == fault_->chunks.end())
            named = std::ranges::find_if(fault_->chunks,
                                         [&](const Chunk& c) { return tables_.of_node(c, fault_->keeper) != nullptr; });
        const bool sure = named != fault_->chunks.end() || fault_->chunks.size() == 1;
        const Chunk chunk = named == fault_->chunks.end() ? fault_->chunks.front() : *named;
        Stale* holder = nullptr;
        for (Stale& stale : stale_)
            if (stale.chunk.address == chunk.address && (holder == nullptr || (stale.start && !holder->start)))
                holder = &stale;
        std::optional<Word> word = holder != nullptr ? std::optional(holder->word) : fault_->keeper;
        const UnorderedTable* table = tables_.of_node(chunk, word);
        auto finding = start(table != nullptr ? "native.hash.freed-bucket" : "native.pointer.freed",
                             report::Severity::error, report::Strength::proved);
        if (word)
            set_subject(finding, *word);
        else if (sure)
            finding.subject = {chunk.user.begin, "malloc chunk", fmt::format("{} B", chunk.user.size()), ""};
        finding.mark.fault = "followed";
        finding.title = fmt::format("use after free: {} followed {:#x}, which free() had written into a chunk",
                                    fault_->function, fault_->bad);
        finding.where = fmt::format("{}{}", fault_->function,
                                    process_.crash->tid ? fmt::format(", thread {}", *process_.crash->tid) : "");
        const Address written = chunk.user.begin + (fault_->mark ? 8 : 0);
        auto value = process_.memory.load<std::uint64_t>(written);
        finding.why = fmt::format(
            "{} {} {}", hex(value ? *value : fault_->bad),
            fault_->mark ? "is the mark that free() leaves in the second word of" : "is the mangled list pointer in",
            sure ? locator_.describe(chunk.user.begin)
                 : fmt::format("{}, and which of them was read is not known",
                               count_of(fault_->chunks.size(), "freed chunk")));
        if (sure)
            finding.evidence.push_back({fault_->mark ? "the second word of the freed chunk, malloc's tcache key"
                                                     : "the first word of the freed chunk",
                                        written, hex(value ? *value : 0), "core", "malloc's lists"});
        if (word) add_word(finding, *word);
        if (table != nullptr) add_table(finding, *table);
        if (process_.crash->tid) finding.threads.push_back(*process_.crash->tid);
        if (process_.crash->goid) finding.goroutines.push_back(*process_.crash->goid);
        add_crash_snapshot(process_, locator_, fault_->frame, finding);
        finding.related.push_back("crash.fault");
        finding.verify.push_back(gdb_words(process_, chunk.user.begin, 2));
        finding.remedy = "clear the pointer where the memory is freed; run with ASan";
        findings_.push_back(std::move(finding));
        for (Stale& stale : stale_)
            if (stale.chunk.address == chunk.address || (word && same_object(stale.word, *word))) stale.told = true;
    }

    void tell_waits() {
        for (const FreedWait& wait : find_freed_waits(process_)) {
            auto finding = tell_freed_wait(process_, wait);
            for (Stale& stale : stale_) {
                if (stale.told || stale.chunk.address != wait.chunk.address) continue;
                if (finding.evidence.size() < 8) add_word(finding, stale.word);
                stale.told = true;
            }
            findings_.push_back(std::move(finding));
        }
    }

    // ---- tables

    void tell_table(Stale& stale) {
        if (stale.told || findings_.size() >= most_told) return;
        std::uint64_t offset = stale.word.value - stale.chunk.user.begin.value;
        // An iterator leads to the node, a pointer to an element behind the node's link, perhaps aligned to 16.
        const UnorderedTable* table =
            offset <= 16 && offset % 8 == 0 ? tables_.of_node(stale.chunk, stale.word) : nullptr;
        // One to a part of the element, or kept elsewhere: by its type.
        if (table == nullptr && offset > 0 && ++typed_looks_ <= most_named)
            if (const WordName name = names_->name(stale.word); name.typed && !name.element)
                table = tables_.of_element(stale.chunk, stale.word, name);
        if (table != nullptr) {
            auto finding = start("native.hash.freed-bucket", report::Severity::warning, report::Strength::likely);
            set_subject(finding, stale.word);
            std::string name = text_of(stale.word);
            finding.mark.fault = offset == 0 ? "iterator at an erased element" : "pointer to an erased element";
            finding.title = fmt::format("{} {} an erased element of a hash table", name,
                                        offset == 0 ? "is an iterator at" : "points to");
            finding.why = fmt::format("{}; nodes of the table at {:#x} have this size",
                                      locator_.describe(Address{stale.word.value}), table->header.value);
            add_word(finding, stale.word);
            add_table(finding, *table);
            finding.innocent.push_back("the iterator or pointer may never be used again");
            finish(finding, stale);
            finding.remedy = "use the iterator that erase returns; forget pointers to elements that are erased";
            findings_.push_back(std::move(finding));
            return;
        }
        if (!stale.start || was_table(process_, stale) || tell_typed(stale)) return;
        if (stale.word.source == Source::chunk) {
            const auto& holder = live_->chunks()[stale.word.chunk];
            auto chunk = heaps_.find(holder.user.begin);
            if (auto array = chunk ? read_bucket_array(process_.memory, heaps_, *chunk) : std::nullopt;
                array && array->node_size == stale.chunk.size)
                return tell_bucket(stale, *array);
        }
        // The bucket array from before a resize: what it named are nodes of the table still.
        constexpr std::uint64_t smallest = 128;
        if (stale.chunk.user.size() >= smallest && plausible_holder(process_, *live_, stale))
            if (auto array = read_bucket_array(process_.memory, heaps_, stale.chunk, BucketLinks::unknown);
                array && (array->linked || replaced(*array))) {
                auto finding = start("native.hash.freed-bucket", report::Severity::warning, report::Strength::likely);
                set_subject(finding, stale.word);
                finding.mark.fault = "bucket array";
                finding.title = fmt::format("{} is a bucket array that was freed", text_of(stale.word));
                finding.why = fmt::format("{}; {} of its {} words still lead to nodes of {} B, which are in use",
                                          locator_.describe(stale.chunk.user.begin), array->used, array->buckets,
                                          array->node_size);
                add_word(finding, stale.word);
                finding.innocent.push_back("the pointer may never be used again");
                finish(finding, stale);
                finding.remedy = "do not keep iterators, or the bucket array, over a resize";
                findings_.push_back(std::move(finding));
            }
    }

    /// What DWARF types: an iterator, wherever it is kept; a bucket or a link of a hand-made table.
    bool tell_typed(Stale& stale) {
        if (++typed_looks_ > most_named) return false;
        const WordName name = names_->name(stale.word);
        if (!name.typed) return false;
        auto finding = start("native.hash.freed-bucket", report::Severity::warning, report::Strength::likely);
        if (name.member == "_M_cur" && name.owner.starts_with("_Node_iterator_base<")) {
            const UnorderedTable* table = tables_.of_node(stale.chunk, std::nullopt);
            if (table == nullptr) return false;
            finding.title = fmt::format("{} is an iterator at an erased element of a hash table", name.text);
            finding.why = fmt::format("{}; its type is an iterator's, and the table at {:#x} has nodes of this size",
                                      locator_.describe(stale.chunk.user.begin), table->header.value);
            set_subject(finding, stale.word);
            finding.mark.fault = "iterator at an erased element";
            add_word(finding, stale.word);
            add_table(finding, *table);
            finding.innocent.push_back("the iterator may never be used again");
            finding.remedy = "use the iterator that erase returns";
        } else if (auto bucket = typed_bucket_of(process_, *names_, *live_, stale.word)) {
            finding.title =
                bucket->depth == 0
                    ? fmt::format("bucket {} of a hash table names a freed node: {}", bucket->index, name.text)
                    : fmt::format("the chain of bucket {} leads to a freed node: {}", bucket->index, name.text);
            finding.why = fmt::format("{}; {} other buckets lead to nodes in use, {} of which lead to others",
                                      locator_.describe(stale.chunk.user.begin), bucket->used, bucket->linked);
            finding.subject = {bucket->address, "hash table", bucket->node + " *", bucket->array};
            finding.mark = {bucket->depth == 0 ? "bucket" : "chain", bucket->array, names_->mark(stale.word).shape};
            add_word(finding, stale.word);
            finding.evidence.push_back({fmt::format("the bucket array {}", bucket->array), bucket->address,
                                        fmt::format("{} buckets of {}", bucket->buckets, bucket->node), "core",
                                        "dwarf"});
            finding.remedy = "unlink the node before it is freed";
        } else {
            return false;
        }
        finish(finding, stale);
        findings_.push_back(std::move(finding));
        return true;
    }

    void tell_bucket(Stale& stale, const BucketArray& array) {
        auto finding = start("native.hash.freed-bucket", report::Severity::error, report::Strength::likely);
        const auto& holder = live_->chunks()[stale.word.chunk];
        std::uint64_t bucket = (stale.word.at.value - holder.user.begin.value) / 8;
        // The table is what leads to its array.
        Word owner = owner_of(stale.word.chunk, array);
        set_subject(finding, owner.source == Source::chunk || owner.source == Source::data ? owner : stale.word);
        finding.mark.fault = "bucket";
        finding.title = fmt::format("bucket {} of a hash table names a freed node: {}", bucket, text_of(stale.word));
        finding.why = fmt::format("{}; the other {} buckets in use lead to chunks of the same size",
                                  locator_.describe(stale.chunk.user.begin), array.used - 1);
        add_word(finding, stale.word);
        finding.evidence.push_back({"the bucket array", array.array,
                                    fmt::format("{} words, {} used, nodes of {} B linked at +{}", array.buckets,
                                                array.used, array.node_size, array.link_offset),
                                    "core", "structure"});
        finish(finding, stale);
        finding.remedy = "unlink the node before it is freed";
        findings_.push_back(std::move(finding));
    }

    /// Does another array in use name the same nodes, elsewhere? (At the same places it is a vector that has grown.)
    bool replaced(const BucketArray& old) const {
        for (const LiveMemory::Reached& row : live_->chunks()) {
            if (row.user.size() < old.buckets * 8 / 4 || row.user.begin == old.array) continue;
            std::unordered_map<std::uint64_t, std::uint64_t> places;
            for (Address at = row.user.begin; at + 8 <= row.user.end && places.size() < most_stale; at += 8)
                if (auto word = process_.memory.load<std::uint64_t>(at); word && *word != 0)
                    places.emplace(*word, (at.value - row.user.begin.value) / 8);
            std::size_t found = 0, moved = 0;
            for (std::uint64_t i = 4; i < old.buckets; ++i) {
                auto word = process_.memory.load<std::uint64_t>(old.array + i * 8);
                auto place = word ? places.find(*word) : places.end();
                if (!word || *word == 0 || place == places.end()) continue;
                ++found;
                moved += place->second != i ? 1 : 0;
            }
            if (found * 2 >= old.used && moved * 4 >= found && moved > 0) return true;
        }
        return false;
    }

    /// Who leads to the array: several may, iterators too; the table knows how many buckets there are.
    Word owner_of(std::uint32_t chunk, const BucketArray& array) const {
        Word owner = names_->word_to(chunk);
        for (std::uint32_t i = 0; i < live_->chunks().size(); ++i) {
            AddressRange user = live_->chunks()[i].user;
            if (user.size() > 4096) continue;
            std::optional<Address> leads;
            bool counts = false;
            for (Address at = user.begin; at + 8 <= user.end; at += 8) {
                auto word = process_.memory.load<std::uint64_t>(at);
                if (word && *word == array.array.value) leads = at;
                if (word && (*word == array.buckets || *word + 1 == array.buckets)) counts = true;
            }
            if (leads && counts) return {*leads, array.array.value, Source::chunk, nullptr, i};
        }
        return owner;
    }

    /// Tables of libstdc++ whose own list reaches a freed node.
    void tell_chains() {
        for (const UnorderedTable& table : tables_.all()) {
            if ((table.freed_nodes.empty() && !table.freed_buckets) || findings_.size() >= most_told) continue;
            Address node = table.freed_nodes.empty() ? table.buckets : table.freed_nodes.front();
            auto finding = start("native.hash.freed-bucket", report::Severity::error, report::Strength::likely);
            finding.subject = {table.header, "hash table", "std::unordered_*", locator_.symbol(table.header)};
            const std::string_view name = table.name.empty() ? "a hash table" : std::string_view(table.name);
            finding.title = table.freed_nodes.empty()
                                ? fmt::format("the bucket array of {} is freed: {:#x}", name, node.value)
                                : fmt::format("the elements of {} lead to a freed node: {:#x}", name, node.value);
            finding.mark = {table.freed_nodes.empty() ? "bucket array" : "list",
                            table.name.empty() ? finding.subject.symbol : table.name, ""};
            finding.why = locator_.describe(node);
            add_table(finding, table);
            finding.verify.push_back(gdb_words(process_, table.header, 7));
            finding.remedy = "something frees nodes behind the table's back";
            findings_.push_back(std::move(finding));
            for (Stale& stale : stale_)
                if (stale.chunk.user.begin == node) stale.told = true;
        }
    }

    void add_table(Finding& finding, const UnorderedTable& table) {
        finding.evidence.push_back(
            {table.name.empty() ? "the table" : "the table " + table.name, table.header,
             fmt::format("{} elements in {} buckets{}{}", table.elements, table.bucket_count,
                         table.node_size == 0 ? "" : fmt::format(", nodes of {} B", table.node_size),
                         table.load_factor == 1 ? "" : fmt::format(", max_load_factor {}", table.load_factor)),
             "core", table.name.empty() ? "structure" : "dwarf"});
    }

    // ---- words that the objects around them contradict

    void tell_contradicted(TypedWords& typed) {
        std::vector<std::pair<Stale*, TypedFault>> faults;
        std::map<std::string, std::set<Address>> families;
        std::size_t looks = 0;
        for (Stale& stale : stale_) {
            if (stale.told || was_table(process_, stale) || ++looks > most_named) continue;
            auto fault = typed.judge(stale);
            if (!fault) continue;
            families[fault->family].insert(fault->of_array ? Address{} : stale.chunk.address);
            if (!fault->only_counts) faults.emplace_back(&stale, std::move(*fault));
        }
        // One fault leaves one or two such; more are what the program does.
        std::erase_if(faults, [&](const auto& row) { return families[row.second.family].size() > 2; });
        std::set<std::string> different;
        for (const auto& row : faults) different.insert(row.second.family);
        if (different.size() > 2) return;
        for (auto& [stale, fault] : faults) {
            if (stale->told || findings_.size() >= most_told) continue;
            auto finding = start("native.pointer.freed", report::Severity::warning, report::Strength::likely);
            set_subject(finding, stale->word);
            finding.mark.fault = fault.fault;
            finding.title = std::move(fault.title);
            finding.why = std::move(fault.why);
            add_word(finding, stale->word);
            finding.innocent.push_back("the pointer may never be used again");
            finish(finding, *stale);
            finding.remedy = std::move(fault.remedy);
            findings_.push_back(std::move(finding));
        }
    }

    // ---- single words

    void tell_word(Stale& stale, TypedWords& typed) {
        if (stale.told || findings_.size() >= most_told || !accuses(process_, *live_, typed, stale)) return;
        WordName name = names_->name(stale.word);
        auto finding = start("native.pointer.freed", report::Severity::warning,
                             name.typed && stale.start ? report::Strength::likely : report::Strength::possible);
        set_subject(finding, stale.word);
        finding.title = fmt::format("{} leads to a freed chunk", text_of(stale.word));
        finding.why = locator_.describe(stale.chunk.user.begin);
        add_word(finding, stale.word);
        finding.innocent.push_back("the pointer may never be used again");
        if (!name.typed) finding.innocent.push_back("nothing says that this word is a pointer in use");
        finish(finding, stale);
        finding.remedy = "clear the pointer where the memory is freed; run with ASan";
        findings_.push_back(std::move(finding));
    }

    /// Everything else, in one line of no weight.
    void count_rest() {
        std::size_t rest = 0;
        bool told = false;
        const Stale* example = nullptr;
        for (const Stale& stale : stale_) {
            told = told || stale.told;
            if (stale.told) continue;
            ++rest;
            if (example == nullptr || (stale.start && !example->start)) example = &stale;
        }
        if (rest == 0) return;
        auto finding = start("native.pointer.freed", report::Severity::info, report::Strength::possible);
        set_subject(finding, example->word);
        finding.title =
            rest == 1
                ? fmt::format("one{} word of live memory holds an address in a freed chunk", told ? " more" : "")
                : fmt::format("{}{} words of live memory hold addresses in freed chunks", rest, told ? " more" : "");
        finding.why = "spare room of arrays and pools, and pointers that are never used again, look like this";
        for (const Stale& stale : stale_)
            if (!stale.told && finding.evidence.size() < 4) add_word(finding, stale.word);
        finding.innocent.push_back("stale contents of memory that is not in use yet, or no longer");
        findings_.push_back(std::move(finding));
    }

    // ---- words

    Finding start(std::string_view kind, report::Severity severity, report::Strength strength) const {
        Finding finding;
        finding.kind = kind;
        finding.severity = severity;
        finding.strength = strength;
        return finding;
    }

    std::string text_of(const Word& word) {
        WordName name = names_->name(word);
        return name.text.empty() ? fmt::format("the word at {:#x}", word.at.value) : name.text;
    }

    /// The object that holds the word: the chunk, the variable, the word itself.
    void set_subject(Finding& finding, const Word& word) {
        finding.mark = names_->mark(word);
        if (word.source == Source::chunk) {
            const auto& chunk = live_->chunks()[word.chunk];
            WordName object = names_->object(word.chunk);
            finding.subject = {chunk.user.begin, "malloc chunk", object.type, object.text};
            return;
        }
        finding.subject = {word.at, "variable", names_->name(word).type, locator_.symbol(word.at)};
    }

    void add_word(Finding& finding, const Word& word) {
        std::string held = word.source == Source::chunk ? locator_.describe(word.at) : std::string();
        finding.evidence.push_back({fmt::format("{}{}{}", text_of(word), held.empty() ? "" : ", ", held), word.at,
                                    fmt::format("{:#x}: {}", word.value, locator_.describe(Address{word.value})),
                                    "core", names_->name(word).typed ? "dwarf" : "scan of live memory"});
    }

    void finish(Finding& finding, Stale& stale) {
        finding.mark.shape +=
            fmt::format("{}to a freed chunk of {} B", finding.mark.shape.empty() ? "" : ", ", stale.chunk.user.size());
        finding.verify.push_back(gdb_words(process_, stale.chunk.user.begin - 16, 2));
        for (Stale& other : stale_)
            if (other.chunk.address == stale.chunk.address || same_object(other.word, stale.word)) other.told = true;
        stale.told = true;
    }

    const Process& process_;
    const native::Heaps& heaps_;
    const Locator& locator_;
    const LiveMemory* live_ = nullptr;
    WordNames* names_ = nullptr;
    std::optional<FreedFault> fault_;
    std::vector<Stale> stale_;
    std::vector<std::uint64_t> on_stack_;  ///< addresses in malloc's chunks
    std::size_t typed_looks_ = 0;
    LiveTables tables_;
    std::vector<Finding> findings_;
    std::size_t dropped_ = 0;
};

}  // namespace

Detection detect_native_pointers(const Process& process) { return Detectives(process).run(); }

}  // namespace incident::detect
