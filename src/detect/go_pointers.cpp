// go.pointer.freed: a pointer to a freed heap object or page.
// go.frame-pointer.dangling: a pointer into a frame that is gone: dead part of a stack, freed stack, another stack.
// go.pointer.offheap-only: a Go object, still allocated, that only memory outside the collector's sight names.
//
// Proof: a word of pointer type, or typed uintptr or unsafe.Pointer, in memory that is in use, and what lies at the
// address it holds. Innocent look-alikes, looked for: the runtime's own g, p, m, sudog and defer records; one past the
// end of an object or a stack; slots that are being handed out; stacks of goroutines that run; dead spill slots (only
// words that the collector's maps call live count); integers without a type never count. A uintptr may be kept for
// comparison only: it is never more than a warning; a call's frame pointer and sp beside each other are no variables.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/text.h"
#include "detect/dangling.h"
#include "detect/go_map.h"
#include "detect/hidden_words.h"
#include "detect/off_heap_words.h"
#include "detect/pointers.h"
#include "detect/surely_kept.h"
#include "detect/telling.h"
#include "go/heap/heap_graph.h"
#include "process/holder.h"

namespace incident::detect {

namespace {

using report::Finding;
using report::Severity;
using report::Strength;

constexpr std::size_t most_findings = 16;
constexpr std::size_t most_named = 4096;
constexpr std::size_t most_suspects = 1 << 16;

struct Suspect {
    Address word;
    Address value;
    go::AddressWord::Kind kind = go::AddressWord::Kind::pointer;
    bool off_heap = false;  ///< the collector does not look there
    Judgement judgement;
    AddressRange among;    ///< as in HiddenWord; empty: not known
    std::uint8_t tag = 0;  ///< beside the value
};

/// The runtime's own records that lead to stacks: sudogs, and defers on the heap.
class RuntimeRecords {
public:
    explicit RuntimeRecords(const Process& process) : process_(process) {
        const auto& layout = process.go->layout();
        elem_ = layout.sudog.elem.offset;
        for (const auto& g : process.goroutines->all) {
            records_.push_back(g.g);
            Address record = g.defers;
            for (int i = 0; i < most_defers && !record.is_null(); ++i) {
                if (process.spans->find_object(record)) records_.push_back(record);
                record = go::StructView(process.memory, record).get(layout._defer.link).value_or(Address{});
            }
        }
        for (const auto& m : process.goroutines->machines) records_.insert(records_.end(), {m.m, m.g0, m.gsignal});
        std::ranges::sort(records_);
    }
    /// Is the word at base+offset such a record's?
    bool holds(Address base, std::uint64_t offset) const {
        if (std::ranges::binary_search(records_, base)) return true;
        // A sudog begins with its g.
        if (elem_ < 0 || offset != static_cast<std::uint64_t>(elem_)) return false;
        const auto g = process_.memory.load_address(base);
        return g && process_.goroutines->at(*g) != nullptr;
    }

private:
    static constexpr int most_defers = 1000;
    const Process& process_;
    std::vector<Address> records_;
    std::int32_t elem_ = -1;
};

/// Pointer words that the collector follows: of live objects, package variables and frames.
void check_followed(const Process& process, const Locator& locator, std::vector<Suspect>& suspects,
                    std::uint64_t& checked) {
    const go::HeapGraph& heap = *process.heap;
    const go::HeapSlots& slots = heap.slots();
    auto suspect = [&](Address word, Address value, bool runtime) {
        auto judgement = judge(process, locator, value);
        if (judgement.gone == Gone::no || (runtime && judgement.stack())) return;
        // The collector would have stopped the process for a pointer to a free page: one past the end it passes over.
        if (judgement.place.kind == PlaceKind::go_free_page && !judgement.may_end.empty()) return;
        suspects.push_back({word, value, go::AddressWord::Kind::pointer, false, std::move(judgement)});
    };
    std::optional<RuntimeRecords> records;
    checked += heap.totals().live_objects + heap.roots().all.size();
    for (const go::Stray& stray : heap.strays()) {
        if (!records) records.emplace(process);
        const Address base = slots.base(stray.holder);
        suspect(base + stray.offset, stray.value, records->holds(base, stray.offset));
        if (suspects.size() >= most_suspects) return;
    }
    auto runtime_frame = [&](std::uint32_t g, std::uint32_t frame) {
        const auto found = process.stacks.frame(g, frame);
        if (!found) return g != go::no_owner;
        const auto name = found->name();
        return name.empty() || name.starts_with("runtime.") || name.starts_with("internal/") ||
               name.starts_with("reflect.");
    };
    for (const go::Root& root : heap.roots().all) {
        if (root.conservative || slots.allocated(root.target)) continue;
        if (root.kind > go::RootKind::stack_object) continue;
        const auto value = process.memory.load_address(root.where);
        if (value && !runtime_frame(root.goroutine, root.frame)) suspect(root.where, *value, false);
        if (suspects.size() >= most_suspects) return;
    }
    for (const go::StrayRoot& root : heap.roots().strays) {
        if (root.kind > go::RootKind::stack_object || runtime_frame(root.goroutine, root.frame)) continue;
        suspect(root.where, root.value, false);
        if (suspects.size() >= most_suspects) return;
    }
}

/// An object that nothing keeps but this word, which the collector does not see.
std::optional<Judgement> only_off_heap(const Process& process, const Locator& locator, Address value) {
    Judgement judgement;
    judgement.place = locator.place(value);
    const go::ObjectRef& object = judgement.place.object;
    if (judgement.place.kind != PlaceKind::go_object || object.state != go::SlotState::allocated) return std::nullopt;
    const auto slot = process.heap->slot_of(value);
    if (!slot || process.heap->live(*slot)) return std::nullopt;
    judgement.state = fmt::format("an object of {} B, still allocated, that no root leads to", object.size);
    return judgement;
}

/// Words of boxed objects that lead to what is gone.
void check_boxed(const Process& process, const Locator& locator, const Boxed& boxed, std::vector<Suspect>& suspects,
                 std::uint64_t& checked) {
    const AddressRange hull = process.spans->arenas().empty() ? AddressRange{}
                                                              : AddressRange{process.spans->arenas().front().begin,
                                                                             process.spans->arenas().back().end};
    for (const BoxedObject& object : boxed.objects) {
        if (object.off_heap) {
            // C's memory and threads' stacks are looked at from C's side; in the runtime's own no program has structs.
            const PlaceKind kind = locator.place(object.object).kind;
            if (kind != PlaceKind::anonymous && kind != PlaceKind::mapped_file) continue;
        } else if (process.heap) {
            if (auto slot = process.heap->slot_of(object.object); slot && !process.heap->live(*slot)) continue;
        }
        for (const go::AddressWord& word : boxed.types[object.type].words) {
            // The collector follows pointers in its own memory: those are looked at with the heap, not here.
            if (!object.off_heap && word.kind != go::AddressWord::Kind::uintptr) continue;
            const auto value = process.memory.load_address(object.object + word.offset);
            if (!value) continue;
            ++checked;
            if (!hull.contains(*value) || (word.kind == go::AddressWord::Kind::uintptr && !value->is_aligned(8)))
                continue;
            auto judgement = judge(process, locator, *value);
            if (judgement.gone == Gone::no) {
                if (!object.off_heap || !process.heap || word.kind == go::AddressWord::Kind::uintptr) continue;
                auto alone = only_off_heap(process, locator, *value);
                if (!alone) continue;
                judgement = std::move(*alone);
            }
            suspects.push_back({object.object + word.offset, *value, word.kind, object.off_heap, std::move(judgement)});
        }
    }
}

/// Machine code that is no Go's, as a compiler of WebAssembly makes, keeps the frame pointer and sp that it was called
/// with to go back to them: {fp, sp} in uintptrs. Right above where fp leads lies where that call returned to.
bool is_context(const Process& process, const HiddenWord& word, const Judgement& judgement) {
    if (judgement.place.kind != PlaceKind::go_stack) return false;
    const AddressRange stack = judgement.place.range;
    for (const int beside : {-8, 8}) {
        const Address at = word.word + static_cast<std::uint64_t>(static_cast<std::int64_t>(beside));
        if (!word.among.contains(at)) continue;
        const auto other = process.memory.load_address(at);
        if (!other || !stack.contains(*other)) continue;
        const Address fp = std::max(*other, word.value), sp = std::min(*other, word.value);
        constexpr std::int64_t largest_frame = 256;  // of a few lines of assembly
        const auto pc = process.memory.load_address(fp + 8);
        if (fp != sp && fp - sp <= largest_frame && pc && process.go->find_func(*pc) &&
            may_be_return_address(process.memory, *pc))
            return true;
    }
    return false;
}

/// uintptr words of variables and objects whose type is known.
void check_hidden(const Process& process, const Locator& locator, const std::vector<HiddenWord>& hidden,
                  std::vector<Suspect>& suspects) {
    for (const HiddenWord& word : hidden)
        if (auto judgement = judge(process, locator, word.value);
            judgement.gone != Gone::no && !is_context(process, word, judgement))
            suspects.push_back({word.word, word.value, go::AddressWord::Kind::uintptr, false, std::move(judgement),
                                word.among, word.tag});
}

/// Words off the heap that typed pointers lead to.
void check_off_heap(const Process& process, const Locator& locator, const std::vector<OffHeapWord>& words,
                    std::vector<Suspect>& suspects) {
    for (const OffHeapWord& word : words) {
        auto judgement = judge(process, locator, word.value);
        if (judgement.gone == Gone::no) {
            if (word.kind == go::AddressWord::Kind::uintptr) continue;
            auto alone = only_off_heap(process, locator, word.value);
            if (!alone) continue;
            judgement = std::move(*alone);
        }
        suspects.push_back({word.word, word.value, word.kind, true, std::move(judgement), word.among});
    }
}

/// Words that hold the map which the process died in, when its memory is another object's by now: such a word alone
/// leads to a living object, and nothing would be said of it.
void check_reused(const Process& process, const Locator& locator, const Boxed& boxed,
                  const std::vector<HiddenWord>& hidden, std::vector<Suspect>& suspects) {
    const auto use = died_in_reused_map(process);
    if (!use) return;
    Judgement judgement;
    judgement.gone = Gone::reused;
    judgement.place = locator.place(use->header);
    judgement.state =
        fmt::format("inside an object of {} B: the memory was freed and given away", judgement.place.object.size);
    auto suspect = [&](Address word, bool off_heap) {
        suspects.push_back({word, use->header, go::AddressWord::Kind::uintptr, off_heap, judgement});
    };
    for (const HiddenWord& word : hidden)
        if (word.value == use->header) suspect(word.word, false);
    for (const BoxedObject& object : boxed.objects)
        for (const go::AddressWord& word : boxed.types[object.type].words) {
            if (!object.off_heap && word.kind != go::AddressWord::Kind::uintptr) continue;
            const Address at = object.object + word.offset;
            if (const auto value = process.memory.load_address(at); value && *value == use->header)
                suspect(at, object.off_heap);
        }
}

/// What its type says about a word that has no name yet.
void name_by_type(Holder& holder, const std::vector<HiddenWord>& hidden) {
    auto found = std::ranges::lower_bound(hidden, holder.word, {}, &HiddenWord::word);
    if (found == hidden.end() || found->word != holder.word) return;
    if (!holder.field.empty() && !holder.type.empty()) return;
    holder.base = found->base;
    holder.type = found->type;
    holder.field = found->field;
    if (!found->symbol.empty()) holder.symbol = found->symbol;
    const std::string field = found->field.empty() ? std::string{} : "." + found->field;
    holder.name = holder.symbol.empty()
                      ? fmt::format("field {} of the {} at {:#x}", found->field, found->type, found->base.value)
                      : holder.symbol + field;
    holder.evidence.push_back(
        {fmt::format("its type is {}", found->type), found->base, "", "core", "types of the heap"});
}

std::string_view state_word(Gone gone) {
    switch (gone) {
        case Gone::free_slot: return "free slot";
        case Gone::free_page: return "free page";
        case Gone::reused: return "object of others";
        case Gone::freed_stack: return "freed stack";
        case Gone::dead_stack: return "frame that has returned";
        case Gone::other_stack: return "stack of a thread";
        case Gone::linkage: return "frame's linkage";
        case Gone::runtimes: return "frame of the runtime";
        case Gone::no: break;
    }
    return "";
}

std::string_view kind_word(const Suspect& suspect) {
    switch (suspect.kind) {
        case go::AddressWord::Kind::uintptr: return "uintptr";
        case go::AddressWord::Kind::unsafe_pointer: return "unsafe.Pointer";
        case go::AddressWord::Kind::pointer: break;
    }
    return "pointer";
}

struct Named {
    const Suspect* suspect = nullptr;
    Holder holder;
};

/// The object of the heap, or the value elsewhere, that the word is in: an array's elements are of one object.
Address container(const Process& process, const Named& named) {
    const auto slot = process.heap ? process.heap->slot_of(named.suspect->word) : std::nullopt;
    return slot ? process.heap->slots().base(*slot) : named.holder.base;
}

/// Each word that is bad, and what it leads to.
void add_words(const Process& process, const Locator& locator, std::span<const Named> words, Finding& finding) {
    constexpr std::size_t most_words = 8;
    for (std::size_t i = 0; i < std::min(words.size(), most_words); ++i) {
        const Suspect& each = *words[i].suspect;
        finding.evidence.push_back({fmt::format("{}, a {}", words[i].holder.name, kind_word(each)), each.word,
                                    hex(each.value.value | each.tag), origin_of(process, each.word),
                                    each.kind == go::AddressWord::Kind::uintptr || each.off_heap
                                        ? "types and interface values"
                                        : "the collector's pointer masks"});
        finding.evidence.push_back({each.judgement.state, each.value, locator.describe(each.judgement.place), "core",
                                    each.judgement.gone == Gone::no ? "marking from every root"
                                    : each.judgement.stack()        ? "stack bounds and spans"
                                                                    : "spans and allocation bits"});
    }
    if (words.size() > most_words)
        finding.evidence.push_back(
            {fmt::format("{} more words of the same object", words.size() - most_words), std::nullopt, "", "core", ""});
}

/// The goroutine whose stack it leads into, and its frame there: the one that it hit; of a stack's dead part the
/// program's innermost one above.
void add_owner_of_frame(const Process& process, const Placement& place, Finding& finding) {
    if (!place.goroutine) return;
    finding.goroutines.push_back(*place.goroutine);
    const auto g = process.find_goroutine(*place.goroutine);
    if (!g || *g >= process.stacks.size()) return;
    const auto frames = process.stacks.physical(*g);
    const auto wanted = std::ranges::find_if(frames, [&](const go::PhysicalFrame& frame) {
        return frame.owner == go::StackOwner::goroutine &&
               (place.frame ? frame == *place.frame : !frame.name().starts_with("runtime."));
    });
    if (!frames.empty())
        add_frame_snapshot(process, finding, *g,
                           wanted != frames.end() ? static_cast<std::size_t>(wanted - frames.begin()) : 0);
}

std::string_view remedy_of(const Judgement& judgement) {
    if (judgement.gone == Gone::no)
        return "keep such objects in a Go variable too, or keep indices instead of pointers there: the next collection "
               "frees this one";
    if (judgement.stack())
        return "never keep the address of a local variable in a uintptr: stacks move and end; allocate what must "
               "outlive the call and keep a pointer to it";
    return "keep a real pointer to the object for as long as that word lives (runtime.KeepAlive, a plain field), or "
           "clear the word when the object goes";
}

/// One object's words that lead to what is gone in the same way: one fault.
Finding tell(const Process& process, const Locator& locator, std::span<const Named> words, SurelyKept& surely_kept) {
    const Suspect& suspect = *words.front().suspect;
    const Holder& holder = words.front().holder;
    const Judgement& judgement = suspect.judgement;
    const bool hidden = suspect.kind == go::AddressWord::Kind::uintptr;
    const std::string more =
        words.size() == 1 ? std::string{} : fmt::format(" and {} more words of it", words.size() - 1);
    const bool alone = judgement.gone == Gone::no;
    Finding finding;
    finding.kind = alone               ? "go.pointer.offheap-only"
                   : judgement.stack() ? "go.frame-pointer.dangling"
                                       : "go.pointer.freed";
    const bool doubtful = !judgement.may_end.empty() || suspect.tag != 0;
    finding.strength = hidden && doubtful ? Strength::possible : Strength::likely;
    finding.severity = hidden || alone ? Severity::warning : Severity::error;
    if (alone && !process.heap->gaps().empty()) {
        finding.strength = Strength::possible;
        finding.severity = Severity::info;
        for (const report::Gap& gap : process.heap->gaps())
            finding.innocent.push_back(fmt::format("not known: {} ({})", gap.what, gap.why));
    }
    finding.title =
        alone ? fmt::format("Only memory that the collector does not scan names a Go object: {}{}", holder.name, more)
        : judgement.stack() ? fmt::format("A {} leads into a {}: {}{}", kind_word(suspect), state_word(judgement.gone),
                                          holder.name, more)
                            : fmt::format("A {} leads to a freed {}: {}{}", kind_word(suspect),
                                          judgement.gone == Gone::free_page ? "page" : "object", holder.name, more);
    finding.where = fmt::format("word {:#x}, {}", suspect.word.value, holder.place);
    finding.why = fmt::format(
        "{:#x}{} is {}", suspect.value.value,
        suspect.tag == 0 ? std::string{} : fmt::format(" (without its lowest bits, {})", suspect.tag), judgement.state);
    finding.subject = holder.subject();
    const bool page = judgement.gone == Gone::freed_stack && judgement.place.kind == PlaceKind::go_free_page;
    finding.mark = {fmt::format("{}{}", page ? "free page that was a stack" : state_word(judgement.gone),
                                suspect.off_heap ? ", named by memory that is not scanned" : ""),
                    holder.stable(), ""};
    add_words(process, locator, words, finding);
    for (auto& evidence : holder.evidence) finding.evidence.push_back(evidence);
    if (judgement.gone == Gone::free_slot) {
        const go::Span& span = *judgement.place.object.span;
        finding.evidence.push_back({fmt::format("mspan: freeindex {}, allocBits of slot {} clear", span.free_index,
                                                judgement.place.object.index),
                                    span.mspan, "", "core", "mspan"});
    }
    add_owner_of_frame(process, judgement.place, finding);
    finding.innocent.insert(finding.innocent.end(), judgement.innocent.begin(), judgement.innocent.end());
    if (!surely_kept.holds(suspect.word)) {
        finding.strength = Strength::possible;
        finding.severity = std::min(finding.severity, Severity::warning);
        finding.innocent.emplace_back(SurelyKept::doubt);
    }
    if (suspect.tag != 0)
        finding.innocent.emplace_back("a number that is an address but for its lowest bits by chance");
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
    add_delve_check(process, finding, fmt::format("examinemem -fmt hex -size 8 -count 1 {:#x}", suspect.word.value));
    finding.remedy = remedy_of(judgement);
    return finding;
}

}  // namespace

Detection detect_pointers(const Process& process) {
    Detection detection;
    if (process.spans->arenas().empty()) return detection;
    const Locator& locator = *process.locator;
    const go::HeapGraph* heap = process.heap.get();
    Boxed boxed = find_boxed(process.memory, *process.go, *process.spans, heap, process.jobs);
    std::vector<Suspect> suspects;
    check_boxed(process, locator, boxed, suspects, detection.checked);
    if (process.heap) check_followed(process, locator, suspects, detection.checked);
    auto hidden = find_hidden_words(process, most_suspects, detection.checked);
    check_hidden(process, locator, hidden, suspects);
    const auto off_heap = find_off_heap_words(process, locator, most_suspects, detection.checked);
    check_off_heap(process, locator, off_heap, suspects);
    hidden.insert(hidden.end(), off_heap.begin(), off_heap.end());  // for their names
    std::ranges::sort(hidden, {}, &HiddenWord::word);
    check_reused(process, locator, boxed, hidden, suspects);
    std::ranges::stable_sort(suspects, {}, &Suspect::word);
    suspects.erase(std::ranges::unique(suspects, {}, &Suspect::word).begin(), suspects.end());
    // The runtime's own pointers lead into its frames (sudog.elem): of the program's words only a uintptr can.
    std::erase_if(suspects, [](const Suspect& s) {
        return s.judgement.gone == Gone::runtimes && s.kind != go::AddressWord::Kind::uintptr;
    });
    std::erase_if(suspects,
                  [&](const Suspect& s) { return ends_a_range(process.memory, s.word, s.judgement, s.among); });
    if (suspects.empty()) {
        if (!process.heap) detection.reason = "the objects of the Go heap were not looked at";
        return detection;
    }

    // Now that there is something to tell, a second look at the interfaces names the objects that hold it.
    std::vector<Address> wanted;
    wanted.reserve(suspects.size());
    for (const Suspect& suspect : suspects) wanted.push_back(suspect.word);
    boxed = find_boxed(process.memory, *process.go, *process.spans, heap, process.jobs, wanted);
    std::vector<Named> named;
    for (const Suspect& suspect : suspects) {
        if (named.size() >= most_named) break;
        Holder holder = find_holder(locator, &boxed, suspect.word);
        name_by_type(holder, hidden);
        named.push_back({&suspect, std::move(holder)});
    }
    std::size_t left = suspects.size() - named.size();
    SurelyKept surely_kept(process);
    for (std::size_t begin = 0, end = 0; begin < named.size(); begin = end) {
        auto same = [&](const Named& other) {
            return container(process, other) == container(process, named[begin]) &&
                   (other.suspect->judgement.gone == Gone::no) == (named[begin].suspect->judgement.gone == Gone::no) &&
                   other.suspect->judgement.stack() == named[begin].suspect->judgement.stack();
        };
        for (end = begin + 1; end < named.size() && same(named[end]);) ++end;
        if (detection.findings.size() < most_findings)
            detection.findings.push_back(
                tell(process, locator, std::span(named).subspan(begin, end - begin), surely_kept));
        else
            left += end - begin;
    }
    refine_freed_maps(process, detection.findings);
    if (left != 0)
        detection.reason = fmt::format("{} more words lead to what is gone", left);
    else if (!boxed.complete)
        detection.reason = "more interface values than are kept: not all of their objects were looked at";
    return detection;
}

}  // namespace incident::detect
