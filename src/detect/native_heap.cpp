// native.heap.double-free, native.heap.bad-free, native.heap.corrupt: malloc died of it, or its structures show it.
//
// Proof: malloc's own abort text, with the argument of the call found in the caller's code or in libc's frames and
// judged by what the chunk is; without an abort, a size, link or list that malloc can never have written. Innocent
// look-alikes: a thread stopped inside malloc leaves lists between two states: such contradictions are called
// transient by the reader and are not reported.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "base/text.h"
#include "detect/free_argument.h"
#include "detect/native.h"
#include "detect/telling.h"

namespace incident::detect {

namespace {

using native::Chunk;
using native::ChunkState;
using native::Corruption;
using report::Finding;

constexpr std::size_t most_findings = 8;
constexpr std::size_t most_looks = 64;  // each over all chunks

class Teller {
public:
    explicit Teller(const Process& process) : process_(process), heaps_(*process.malloc), locator_(*process.locator) {}

    Detection run() {
        Detection detection;
        for (const native::Arena& arena : heaps_.arenas())
            for (const auto& count : arena.counts) detection.checked += count.chunks;
        detection.checked += heaps_.mmapped().chunks;
        const auto& crash = process_.crash;
        if (crash && crash->kind == report::CrashKind::abort && crash->message && is_malloc_text(*crash->message))
            detection.findings.push_back(tell_abort(*crash->message));
        else if (auto fault = tell_fault_in_free())
            detection.findings.push_back(std::move(*fault));
        std::size_t looks = 0;
        for (const Corruption& corruption : heaps_.corruptions()) {
            if (corruption.transient) {
                detection.reason = "a thread was stopped inside malloc, whose data are between two states";
                continue;
            }
            if (told_ == &corruption) continue;
            if (told(corruption)) {
                auto& evidence = detection.findings.front().evidence;
                if (evidence.size() < 8) add_evidence(detection.findings.front(), corruption);
                continue;
            }
            if (detection.findings.size() >= most_findings || ++looks > most_looks) {
                ++more_;
                continue;
            }
            auto damage = tell_damage(corruption);
            // Of one chunk both links, or its size and the links, are often written at once.
            auto known = std::ranges::find_if(detection.findings, [&](const Finding& row) {
                return row.kind == damage.kind && row.subject.address == damage.subject.address;
            });
            if (known == detection.findings.end())
                detection.findings.push_back(std::move(damage));
            else if (known->evidence.size() < 8)
                add_evidence(*known, corruption);
        }
        if (more_ > 0 && !detection.findings.empty())
            detection.findings.back().explanation +=
                fmt::format("; {} more contradictions in malloc's structures", more_);
        if (heaps_.arenas().empty()) detection.reason = "no heap of glibc's malloc was found";
        return detection;
    }

private:
    Finding start(std::string_view kind, Address subject, std::string what, std::string type) {
        Finding finding;
        finding.kind = kind;
        finding.severity = report::Severity::error;
        finding.strength = report::Strength::proved;
        finding.subject.address = subject;
        finding.subject.what = std::move(what);
        finding.subject.type = std::move(type);
        finding.subject.symbol = locator_.symbol(subject);
        return finding;
    }

    std::string caller_text() {
        auto own = first_frame_to_read(process_);
        std::string where =
            own ? place_in_source(process_.crash->stack.frames[*own]) : std::string("an unknown function");
        if (own && *own + 1 < process_.crash->stack.frames.size() &&
            !process_.crash->stack.frames[*own + 1].runtime_internal)
            where += ", called from " + place_in_source(process_.crash->stack.frames[*own + 1]);
        if (process_.crash->goid) return fmt::format("{}, goroutine {}", where, *process_.crash->goid);
        return process_.crash->tid ? fmt::format("{}, thread {}", where, *process_.crash->tid) : where;
    }

    Finding tell_abort(std::string_view text) {
        bool from_free = text.find("malloc") != 0 && text.find("calloc") != 0 && text.find("memalign") != 0;
        auto argument = from_free ? find_free_argument(process_, text) : std::nullopt;
        auto chunk = argument ? heaps_.find(argument->pointer) : std::nullopt;
        Finding finding = judge(text, argument, chunk);
        finding.evidence.insert(finding.evidence.begin(),
                                {"malloc's last words", std::nullopt, std::string(text), "core", "__abort_msg"});
        add_free(finding, argument);
        finding.related.push_back("crash.abort");
        return finding;
    }

    /// malloc reads the size in front of the pointer, and of some the head of their arena, before it checks anything.
    /// In front of what is never malloc's, say an array on the stack, that size is anything, and what it leads to as
    /// well.
    std::optional<Finding> tell_fault_in_free() {
        const auto& crash = process_.crash;
        if (!crash || crash->kind != report::CrashKind::signal || !crash->fault_address || !died_in_free(process_))
            return std::nullopt;
        const Address fault = *crash->fault_address;
        auto argument = find_free_argument(process_, {});
        if (!argument) argument = find_faulting_argument(process_, fault);
        if (!argument) return std::nullopt;
        const Address pointer = argument->pointer, heap = arena_heap_of(pointer);
        if (const auto chunk = heaps_.find(pointer)) {
            // The word in front of the middle of a chunk says what it likes, of the arena too.
            if (!chunk->used() || pointer <= chunk->user.begin || fault != heap) return std::nullopt;
            auto finding = tell_middle(*chunk, pointer);
            finding.evidence.push_back({"fault inside free(), which looks for the arena of the chunk there", fault,
                                        hex(fault.value), "core", "signal"});
            finding.related.push_back("crash.fault");
            add_free(finding, argument);
            return finding;
        }
        if (fault != pointer - 8 && fault != pointer - 16 && fault != heap && !never_malloc(pointer))
            return std::nullopt;
        const bool nowhere = !process_.memory.is_mapped(pointer);
        auto finding = start("native.heap.bad-free", pointer, "pointer", "");
        finding.mark = {"not from malloc", "", std::string(to_string(locator_.place(pointer).kind))};
        finding.title = nowhere ? fmt::format("free() was given {:#x}, where nothing is mapped", pointer.value)
                                : fmt::format("free() was given what malloc never gave: {:#x}", pointer.value);
        finding.why = nowhere && pointer.value % 4096 == 16
                          ? "never malloc's, or a large block that had been freed, and unmapped, before"
                          : locator_.describe(pointer);
        if (finding.why.empty()) finding.why = "malloc found no chunk in front of it";
        finding.remedy = "free only what malloc, calloc, realloc or strdup returned, and once";
        finding.evidence.push_back({"fault inside free()", fault, hex(fault.value), "core", "signal"});
        finding.related.push_back("crash.fault");
        add_free(finding, argument);
        return finding;
    }

    /// The call of free() that the process died in.
    void add_free(Finding& finding, const std::optional<FreeArgument>& argument) {
        finding.where = caller_text();
        if (argument) {
            finding.evidence.push_back(
                {"the pointer given to free()", argument->slot, hex(argument->pointer.value), "core", argument->by});
            finding.evidence.push_back(
                {"where it leads", argument->pointer, locator_.describe(argument->pointer), "core", "malloc's chunks"});
            finding.verify.push_back(gdb_words(process_, argument->pointer - 16, 4));
        } else {
            finding.verify.push_back(gdb_check(process_, {"bt"}));
        }
        if (process_.crash->tid) finding.threads.push_back(*process_.crash->tid);
        if (process_.crash->goid) finding.goroutines.push_back(*process_.crash->goid);
        if (auto own = first_frame_to_read(process_)) add_crash_snapshot(process_, locator_, *own, finding);
    }

    Finding judge(std::string_view text, const std::optional<FreeArgument>& argument,
                  const std::optional<Chunk>& chunk) {
        bool doubled = text.find("double free detected") != std::string_view::npos ||
                       text.find("(fasttop)") != std::string_view::npos ||
                       text.find("(top)") != std::string_view::npos;  // freed before, and joined with the top chunk
        if (argument && chunk && argument->pointer == chunk->user.begin && chunk->free()) doubled = true;
        const bool given_again = argument && chunk && was_joined_with_top(*chunk, argument->pointer);
        doubled = doubled || given_again;
        if (doubled) {
            Address at = argument ? argument->pointer : Address{};
            auto finding = start("native.heap.double-free", at, "malloc chunk", size_text(chunk));
            if (chunk) finding.mark.shape = fmt::format("a {} B chunk", chunk->user.size());
            if (!argument) finding.subject.address.reset();
            finding.title = argument ? fmt::format("the same chunk was freed twice: {:#x}", argument->pointer.value)
                                     : std::string("a chunk was freed twice");
            finding.why =
                given_again ? "its size reaches to the end of the top chunk: it had been freed, and joined with it; by "
                              "now another chunk lies there"
                : chunk && chunk->state != ChunkState::in_use
                    ? fmt::format("when it was given to free() it was already {}", chunk_state_text(heaps_, *chunk))
                : text.find("(top)") != std::string_view::npos ? "it had become a part of the top chunk already"
                                                               : "malloc found it in its own lists";
            finding.remedy = "give the memory one owner, and clear the pointer where it is freed";
            if (argument) add_write_between(finding, argument->pointer);
            return finding;
        }
        bool invalid = text.find("invalid pointer") != std::string_view::npos ||
                       text.find("invalid size") != std::string_view::npos;
        if (argument && !chunk && never_malloc(argument->pointer)) invalid = true;  // whatever malloc took it for
        if (invalid && argument && !(chunk && (argument->pointer == chunk->user.begin || broken(*chunk)))) {
            if (chunk && argument->pointer > chunk->user.begin) return tell_middle(*chunk, argument->pointer);
            const Address at = argument->pointer;
            auto finding = start("native.heap.bad-free", at, "pointer", size_text(chunk));
            finding.mark = {"not from malloc", "", std::string(to_string(locator_.place(at).kind))};
            std::string place = locator_.describe(at);
            finding.title = fmt::format("free() was given what malloc never gave: {:#x}", at.value);
            finding.why = place.empty() ? "no chunk begins there" : place;
            finding.remedy = "free only what malloc, calloc, realloc or strdup returned";
            return finding;
        }
        if (invalid && !argument) {
            auto finding = start("native.heap.bad-free", {}, "pointer", "");
            finding.subject.address.reset();
            finding.title = fmt::format("free() was given a bad pointer: {}", text);
            finding.why = "malloc refused it; the pointer itself could not be recovered";
            finding.remedy = "free only what malloc, calloc, realloc or strdup returned";
            return finding;
        }
        return tell_corrupt_abort(text, argument, chunk);
    }

    Finding tell_middle(const Chunk& chunk, Address pointer) {
        const Address begin = chunk.user.begin;
        auto finding = start("native.heap.bad-free", begin, "malloc chunk", size_text(chunk));
        finding.mark = {"middle of a chunk", "",
                        fmt::format("+{:#x} in a {} B chunk", pointer - begin, chunk.user.size())};
        finding.title = fmt::format("free() was given the middle of a chunk: {:#x} is {:#x} + {}", pointer.value,
                                    begin.value, pointer - begin);
        finding.why = locator_.describe(pointer);
        finding.remedy = "free only what malloc, calloc, realloc or strdup returned";
        if (pointer - begin == 8)
            finding.remedy += "; delete[] what new[] returned: its count of elements may stand in front";
        return finding;
    }

    /// The middle of a chunk in use, behind a size that reaches to the end of its arena's top: a chunk that was joined
    /// with the top, of which another one was given out since.
    bool was_joined_with_top(const Chunk& chunk, Address pointer) const {
        if (!chunk.used() || pointer <= chunk.user.begin || chunk.arena >= heaps_.arenas().size()) return false;
        const Address top = heaps_.arenas()[chunk.arena].top;
        const auto size = process_.memory.load<std::uint64_t>(pointer - 8),
                   rest = process_.memory.load<std::uint64_t>(top + 8);
        return size && rest && pointer - 16 + (*size & ~std::uint64_t{7}) == top + (*rest & ~std::uint64_t{7});
    }

    /// Who frees a chunk twice often writes to it in between (fclose() does): the list that it is in is broken, too.
    void add_write_between(Finding& finding, Address pointer) {
        for (const Corruption& row : heaps_.corruptions()) {
            if (row.kind != Corruption::Kind::list_link || row.at != pointer) continue;
            finding.evidence.push_back({"written after the first free(): " + row.what, row.at, hex(row.value), "core",
                                        std::string(native::to_string(row.kind))});
            told_ = &row;
        }
    }

    /// Memory of which malloc never gave anything, whatever its own structures look like by now.
    bool never_malloc(Address pointer) const {
        switch (locator_.place(pointer).kind) {
            case PlaceKind::malloc_chunk:
            case PlaceKind::malloc_heap:
            case PlaceKind::anonymous:
            case PlaceKind::unmapped:
            case PlaceKind::go_unknown_page: return false;
            default: return true;
        }
    }

    static bool broken(const Chunk& chunk) { return chunk.state == ChunkState::unknown; }

    static std::string size_text(const std::optional<Chunk>& chunk) {
        return chunk ? fmt::format("{} B", chunk->user.size()) : std::string();
    }

    Finding tell_corrupt_abort(std::string_view text, const std::optional<FreeArgument>& argument,
                               const std::optional<Chunk>& chunk) {
        // The damage nearest to the chunk that was freed; without one, the first there is.
        const Corruption* damage = nullptr;
        for (const Corruption& row : heaps_.corruptions()) {
            if (row.transient && row.kind != Corruption::Kind::list_link) continue;
            if (argument && row.chunk + 16 == argument->pointer) damage = &row;
            if (damage == nullptr) damage = &row;
        }
        Address subject = argument ? argument->pointer : Address{};
        std::optional<Address> victim;
        if (damage != nullptr && !argument) {
            victim = overwritten_entry(*damage);
            subject = victim ? *victim : !damage->chunk.is_null() ? damage->chunk + 16 : damage->at;
        }
        if (damage == nullptr && !argument && text.find("unaligned tcache chunk") != std::string_view::npos) {
            victim = entry_of_unread_cache();
            if (victim) subject = *victim;
        }
        auto finding = start("native.heap.corrupt", subject, "malloc chunk", size_text(chunk));
        if (subject.is_null()) finding.subject.address.reset();
        if (victim)
            finding.mark = mark_of_victim(*victim);
        else if (damage != nullptr)
            finding.mark = mark_of(*damage);
        finding.title = subject.is_null()
                            ? fmt::format("malloc's structures are damaged: {}", text)
                            : fmt::format("malloc's data of the chunk {:#x} was overwritten", subject.value);
        finding.why = damage != nullptr ? fmt::format("malloc: \"{}\"; {}", text, damage->what)
                                        : fmt::format("malloc: \"{}\"", text);
        if (victim)
            finding.evidence.push_back(
                {"the chunk that was written after free(): its first word decodes to the bad link", victim,
                 locator_.describe(*victim), "core", "malloc's chunks"});
        if (damage != nullptr) add_evidence(finding, *damage);
        told_ = damage;
        finding.remedy = victim ? "something writes through a pointer after free(): run with ASan"
                                : "the chunk in front of the damage is the first suspect: run with ASan";
        return finding;
    }

    /// A cache's head that cannot be a pointer came out of the chunk that was handed out last: whose first word,
    /// decoded as malloc does, is that value.
    std::optional<Address> overwritten_entry(const Corruption& damage) {
        if (damage.kind != Corruption::Kind::list_link) return std::nullopt;
        std::optional<Address> found;
        bool mangled = heaps_.safe_linking().value_or(true);
        heaps_.for_each_chunk([&](const Chunk& chunk) {
            if (found || chunk.state != ChunkState::in_use) return;
            auto word = process_.memory.load<std::uint64_t>(chunk.user.begin);
            if (word && (mangled ? *word ^ chunk.user.begin.value >> 12 : *word) == damage.value && damage.value != 0)
                found = chunk.user.begin;
        });
        return found;
    }

    /// The same for a cache that holds nothing but the bad head, and was not recognised for that: any chunk of the size
    /// of a cache that holds a word which is no pointer, and a chunk whose first word decodes to it.
    std::optional<Address> entry_of_unread_cache() {
        std::vector<std::uint64_t> heads;
        constexpr std::uint64_t smallest = 0x290, largest = 0x320;  // 2.32 on; 2.42: 76 lists, aligned to a line
        constexpr std::uint64_t beyond_number = 1 << 20;
        heaps_.for_each_chunk([&](const Chunk& chunk) {
            if (chunk.state != ChunkState::in_use || chunk.size < smallest || chunk.size > largest) return;
            for (Address at = chunk.user.begin; at + 8 <= chunk.user.end; at += 8)
                if (auto word = process_.memory.load<std::uint64_t>(at);
                    word && *word % 16 != 0 && *word > beyond_number)
                    heads.push_back(*word);
        });
        std::ranges::sort(heads);
        std::vector<Address> found;
        heaps_.for_each_chunk([&](const Chunk& chunk) {
            if (chunk.state != ChunkState::in_use) return;
            auto word = process_.memory.load<std::uint64_t>(chunk.user.begin);
            if (word && *word != 0 && std::ranges::binary_search(heads, *word ^ chunk.user.begin.value >> 12))
                found.push_back(chunk.user.begin);
        });
        return found.size() == 1 ? std::optional(found.front()) : std::nullopt;
    }

    /// Damage is known by the chunk in front, the usual writer: who notices it, and when, is chance.
    report::Mark mark_of(const Corruption& corruption) {
        report::Mark mark{std::string(native::to_string(corruption.kind)), "", ""};
        if (!corruption.previous.is_null())
            if (auto before = heaps_.find(corruption.previous + 16))
                mark.shape = fmt::format("behind a {} B chunk", before->user.size());
        return mark;
    }
    report::Mark mark_of_victim(Address victim) {
        auto chunk = heaps_.find(victim);
        return {"written after free", "", chunk ? fmt::format("a {} B chunk", chunk->user.size()) : std::string()};
    }

    bool told(const Corruption& corruption) const { return told_ != nullptr && near(*told_, corruption); }
    static bool near(const Corruption& a, const Corruption& b) {
        constexpr std::int64_t reach = 4096;
        return &a == &b || (b.at - a.at < reach && a.at - b.at < reach);
    }

    void add_evidence(Finding& finding, const Corruption& corruption) {
        finding.evidence.push_back({corruption.what, corruption.at, hex(corruption.value), "core",
                                    std::string(native::to_string(corruption.kind))});
        if (!corruption.previous.is_null())
            if (auto before = heaps_.find(corruption.previous + 16))
                finding.evidence.push_back({"the chunk in front, the usual writer", before->user.begin,
                                            locator_.describe(before->user.begin), "core", "malloc's chunks"});
    }

    Finding tell_damage(const Corruption& corruption) {
        bool doubled = corruption.kind == Corruption::Kind::listed_twice;
        auto entry = overwritten_entry(corruption);
        Address subject = entry ? *entry : !corruption.chunk.is_null() ? corruption.chunk + 16 : corruption.at;
        auto finding = start(doubled ? "native.heap.double-free" : "native.heap.corrupt", subject, "malloc chunk", "");
        finding.title = doubled ? fmt::format("the same chunk was freed twice: {:#x}", subject.value)
                                : fmt::format("malloc's data of the chunk {:#x} was overwritten", subject.value);
        finding.mark = entry ? mark_of_victim(*entry) : mark_of(corruption);
        finding.why = corruption.what;
        const auto& crash = process_.crash;
        const bool aborted = crash && crash->kind == report::CrashKind::abort && !crash->message;
        finding.where =
            aborted ? "perhaps what it aborted for: malloc does so when it finds such damage" : "noticed by nobody yet";
        add_evidence(finding, corruption);
        if (corruption.kind == Corruption::Kind::count || corruption.kind == Corruption::Kind::arena) {
            finding.severity = report::Severity::warning;
            finding.strength = report::Strength::likely;
        }
        finding.verify.push_back(gdb_words(process_, corruption.at - 8, 4));
        finding.remedy = "the chunk in front of the damage is the first suspect: run with ASan";
        if (told_ == nullptr && corruption.kind == Corruption::Kind::size) told_ = &corruption;
        return finding;
    }

    const Process& process_;
    const native::Heaps& heaps_;
    const Locator& locator_;
    const Corruption* told_ = nullptr;
    std::size_t more_ = 0;
};

}  // namespace

bool is_malloc_text(std::string_view text) {
    static constexpr std::array beginnings = {"free(): ",
                                              "malloc(): ",
                                              "realloc(): ",
                                              "calloc(): ",
                                              "memalign",
                                              "munmap_chunk(): ",
                                              "double free or corruption",
                                              "corrupted ",
                                              "malloc_consolidate(",
                                              "break adjusted to",
                                              "tcache_thread_shutdown(): ",
                                              "mremap_chunk(): ",
                                              "malloc: top chunk is corrupt"};
    return std::ranges::any_of(beginnings, [&](std::string_view b) { return text.starts_with(b); });
}

Detection detect_heap_faults(const Process& process) { return Teller(process).run(); }

}  // namespace incident::detect
