// go.pointer.freed: a pointer to a freed heap object or page.
// go.frame-pointer.dangling: a pointer into a frame that is gone: dead part of a stack, freed stack, another stack.
// go.pointer.offheap-only: a Go object, still allocated, that only memory outside the collector's sight names.
//
// Proof: a word of pointer type, or typed uintptr or unsafe.Pointer, in memory that is in use, and what lies at the
// address it holds. Innocent look-alikes, looked for: the runtime's own g, p, m, sudog and defer records; one past the
// end of an object or a stack; slots that are being handed out; stacks of goroutines that run; dead spill slots (only
// words that the collector's maps call live count); integers without a type never count. A uintptr may be kept for
// comparison only: it is never more than a warning.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/text.h"
#include "detect/dangling.h"
#include "detect/pointers.h"
#include "process/holder.h"

namespace incident::detect {

namespace {

using report::Finding;
using report::Severity;
using report::Strength;

constexpr std::size_t most_findings = 16;
constexpr std::size_t most_named = 4096;
constexpr std::uint64_t largest_section = 1ull << 30;  // of .data or .bss that we read

struct Suspect {
    Address word;
    Address value;
    go::TypeWord::Kind kind = go::TypeWord::Kind::pointer;
    bool off_heap = false;  ///< the collector does not look there
    Judgement judgement;
};

/// Words of boxed objects that lead to what is gone.
void check_boxed(const Process& process, const Locator& locator, const Boxed& boxed, std::vector<Suspect>& suspects,
                 std::uint64_t& checked) {
    const AddressRange hull = process.spans->arenas().empty() ? AddressRange{}
                                                              : AddressRange{process.spans->arenas().front().begin,
                                                                             process.spans->arenas().back().end};
    for (const BoxedObject& object : boxed.objects) {
        for (const go::TypeWord& word : boxed.types[object.type].words) {
            // The collector follows pointers in its own memory: those are looked at with the heap, not here.
            if (!object.off_heap && word.kind != go::TypeWord::Kind::uintptr) continue;
            const auto value = process.memory.load_address(object.object + word.offset);
            if (!value) continue;
            ++checked;
            if (!hull.contains(*value)) continue;
            auto judgement = judge(process, locator, *value);
            if (judgement.gone == Gone::no) continue;
            suspects.push_back({object.object + word.offset, *value, word.kind, object.off_heap, std::move(judgement)});
        }
    }
}

/// Words of .data and .bss that the collector takes for pointers.
void check_sections(const Process& process, const Locator& locator, std::vector<Suspect>& suspects,
                    std::uint64_t& checked) {
    for (const go::ModuleData& module : process.go->modules())
        for (auto [section, mask] :
             {std::pair(module.data, module.gcdatamask), std::pair(module.bss, module.gcbssmask)}) {
            const Address begin = section.begin;
            const std::uint64_t words = section.size() / 8;
            if (words == 0 || words > largest_section / 8) continue;
            const std::byte* bits = process.memory.data_at(mask, (words + 7) / 8);
            const std::byte* data = process.memory.data_at(begin, words * 8);
            if (bits == nullptr || data == nullptr) continue;
            for (std::uint64_t i = 0; i < words; ++i) {
                if ((std::to_integer<unsigned>(bits[i / 8]) >> (i % 8) & 1) == 0) continue;
                Address value;
                std::memcpy(&value.value, data + i * 8, 8);
                ++checked;
                if (!process.spans->in_arena(value)) continue;
                const Address word = begin + i * 8;
                if (auto judgement = judge(process, locator, value); judgement.gone != Gone::no)
                    suspects.push_back({word, value, go::TypeWord::Kind::pointer, false, std::move(judgement)});
            }
        }
}

std::string_view state_word(Gone gone) {
    switch (gone) {
        case Gone::free_slot: return "free slot";
        case Gone::free_page: return "free page";
        case Gone::freed_stack: return "freed stack";
        case Gone::dead_stack: return "frame that has returned";
        case Gone::other_stack: return "stack of a thread";
        case Gone::linkage: return "frame's linkage";
        case Gone::no: break;
    }
    return "";
}

std::string_view kind_word(const Suspect& suspect) {
    switch (suspect.kind) {
        case go::TypeWord::Kind::uintptr: return "uintptr";
        case go::TypeWord::Kind::unsafe_pointer: return "unsafe.Pointer";
        case go::TypeWord::Kind::pointer: break;
    }
    return "pointer";
}

struct Named {
    const Suspect* suspect = nullptr;
    Holder holder;
};

/// One object's words that lead to what is gone in the same way: one fault.
Finding tell(const Process& process, const Locator& locator, std::span<const Named> words) {
    const Suspect& suspect = *words.front().suspect;
    const Holder& holder = words.front().holder;
    const Judgement& judgement = suspect.judgement;
    const bool hidden = suspect.kind == go::TypeWord::Kind::uintptr;
    const std::string more =
        words.size() == 1 ? std::string{} : fmt::format(" and {} more words of it", words.size() - 1);
    Finding finding;
    finding.kind = judgement.stack() ? "go.frame-pointer.dangling" : "go.pointer.freed";
    finding.strength = Strength::likely;
    finding.severity = hidden ? Severity::warning : Severity::error;
    finding.title = judgement.stack()
                        ? fmt::format("A {} leads into a {}: {}{}", kind_word(suspect), state_word(judgement.gone),
                                      holder.name, more)
                        : fmt::format("A {} leads to a freed {}: {}{}", kind_word(suspect),
                                      judgement.gone == Gone::free_slot ? "object" : "page", holder.name, more);
    finding.where = fmt::format("word {:#x}, {}", suspect.word.value, holder.place);
    finding.why = fmt::format("{:#x} is {}", suspect.value.value, judgement.state);
    finding.subject = holder.subject();
    constexpr std::size_t most_words = 8;
    for (std::size_t i = 0; i < std::min(words.size(), most_words); ++i) {
        const Suspect& each = *words[i].suspect;
        finding.evidence.push_back({fmt::format("{}, a {}", words[i].holder.name, kind_word(each)), each.word,
                                    hex(each.value.value), origin_of(process, each.word),
                                    each.kind == go::TypeWord::Kind::uintptr || each.off_heap
                                        ? "interface value and rtype"
                                        : "the collector's pointer masks"});
        finding.evidence.push_back({each.judgement.state, each.value, locator.describe(each.judgement.place), "core",
                                    each.judgement.stack() ? "stack bounds and spans" : "spans and allocation bits"});
    }
    if (words.size() > most_words)
        finding.evidence.push_back(
            {fmt::format("{} more words of the same object", words.size() - most_words), std::nullopt, "", "core", ""});
    for (auto& evidence : holder.evidence) finding.evidence.push_back(evidence);
    if (judgement.gone == Gone::free_slot) {
        const go::Span& span = *judgement.place.object.span;
        finding.evidence.push_back({fmt::format("mspan: freeindex {}, allocBits of slot {} clear", span.free_index,
                                                judgement.place.object.index),
                                    span.mspan, "", "core", "mspan"});
    }
    if (judgement.place.goroutine) {
        finding.goroutines.push_back(*judgement.place.goroutine);
        if (auto g = process.find_goroutine(*judgement.place.goroutine); g && *g < process.stacks.size())
            if (const auto& frames = process.stacks[*g].physical; !frames.empty()) {
                std::size_t nearest = 0;
                for (std::size_t i = 0; i < frames.size(); ++i)
                    if (frames[i].owner == go::StackOwner::goroutine) {
                        nearest = i;
                        if (&frames[i] == judgement.place.frame || judgement.place.frame == nullptr) break;
                    }
                add_frame_snapshot(process, locator, finding, *g, nearest);
            }
    }
    finding.innocent = judgement.innocent;
    if (hidden) finding.innocent.push_back("a uintptr that is only compared or printed, never made a pointer again");
    if (suspect.off_heap) finding.innocent.push_back("a struct in memory of its own that nobody reads any more");
    finding.verify.push_back(gdb_words(process, suspect.word, 1, "the word"));
    if (judgement.gone == Gone::free_slot && process.go->layout().mspan.freeindex.present())
        finding.verify.push_back(gdb_words(process,
                                           judgement.place.object.span->mspan +
                                               static_cast<std::uint64_t>(process.go->layout().mspan.freeindex.offset),
                                           5, "freeindex of its mspan, and the words that name its allocBits"));
    else
        finding.verify.push_back(gdb_words(process, suspect.value, 4, "what lies there now"));
    if (process.go->description().debug_info == "dwarf")
        finding.verify.push_back(
            {"dlv", fmt::format("dlv core {} {}   then: examinemem -fmt hex -size 8 -count 1 {:#x}",
                                executable_path(process), process.core.path(), suspect.word.value)});
    finding.remedy =
        judgement.stack()
            ? "never keep the address of a local variable in a uintptr: stacks move and end; allocate what "
              "must outlive the call and keep a pointer to it"
            : "keep a real pointer to the object for as long as that word lives (runtime.KeepAlive, a plain "
              "field), or clear the word when the object goes";
    return finding;
}

}  // namespace

Detection detect_pointers(const Process& process) {
    Detection detection;
    if (process.spans->arenas().empty()) return detection;
    Locator locator(process.locate_context());
    Boxed boxed = find_boxed(process.memory, *process.go, *process.spans, process.jobs);
    std::vector<Suspect> suspects;
    check_boxed(process, locator, boxed, suspects, detection.checked);
    check_sections(process, locator, suspects, detection.checked);
    std::ranges::stable_sort(suspects, {}, &Suspect::word);
    suspects.erase(std::ranges::unique(suspects, {}, &Suspect::word).begin(), suspects.end());
    if (suspects.empty()) return detection;

    // Now that there is something to tell, a second look at the interfaces names the objects that hold it.
    std::vector<Address> wanted;
    for (const Suspect& suspect : suspects) wanted.push_back(suspect.word);
    boxed = find_boxed(process.memory, *process.go, *process.spans, process.jobs, wanted);
    std::vector<Named> named;
    for (const Suspect& suspect : suspects) {
        if (named.size() >= most_named) break;
        named.push_back({&suspect, find_holder(process, locator, &boxed, suspect.word)});
    }
    std::size_t left = suspects.size() - named.size();
    for (std::size_t begin = 0, end = 0; begin < named.size(); begin = end) {
        auto same = [&](const Named& other) {
            return other.holder.base == named[begin].holder.base &&
                   other.suspect->judgement.stack() == named[begin].suspect->judgement.stack();
        };
        for (end = begin + 1; end < named.size() && same(named[end]);) ++end;
        if (detection.findings.size() < most_findings)
            detection.findings.push_back(tell(process, locator, std::span(named).subspan(begin, end - begin)));
        else
            left += end - begin;
    }
    if (left != 0)
        detection.reason = fmt::format("{} more words lead to what is gone", left);
    else if (!boxed.complete)
        detection.reason = "more interface values than are kept: not all of their objects were looked at";
    return detection;
}

}  // namespace incident::detect
