// cgo.pointer.outlived: C memory holds a pointer to a Go object that is freed, reused, or kept by nothing else.
//
// Proof rule: a word of C's data, or of a small malloc chunk that C's variables lead to, names the beginning of a Go
// object whose slot is free, or which is garbage (nothing that the collector knows leads to it), or lies in pages that
// were given back, free ones or those of a free stack; likely. Proved when the faulting C instruction followed a
// pointer that it had loaded from the object that such a word names: whatever is in that slot now, it is not what C
// put there. Innocent look-alikes: an object that Go keeps too (pinned ones are kept
// by their Pinner, arguments of a call in progress by the caller's frame); cgo.Handle, a small number; runtime-owned
// words (g, m, stacks: all of them live); C stacks, which are not looked at; stale words in large chunks, buffers and
// arrays of C.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "base/text.h"
#include "detect/native.h"
#include "detect/native_names.h"
#include "detect/telling.h"
#include "go/heap/heap_graph.h"
#include "process/fault_access.h"

namespace incident::detect {

namespace {

using report::Finding;
using Word = LiveMemory::Word;
using Source = LiveMemory::Source;

constexpr std::size_t most_told = 16;
constexpr std::size_t most_evidence = 8;
constexpr std::uint64_t small_object = 136;

class Border {
public:
    explicit Border(const Process& process) : process_(process), locator_(*process.locator) {}

    Detection run() {
        Detection detection;
        find_fault();
        struct Hit {
            Word word;
            Placement place;
        };
        std::vector<Hit> hits;
        auto of_the_border = [&](const Word& word, const native::Chunk*) {
            return word.source != Source::stack && in_arena(Address{word.value});
        };
        LiveMemory live(process_, of_the_border, [&](const Word& word) {
            if (word.source == Source::data &&
                (process_.go->is_variable(word.at) || LiveMemory::of_system_library(word)))
                return;
            ++detection.checked;
            Placement place = locator_.place(Address{word.value});
            if (place.kind != PlaceKind::go_object && !given_back(place)) return;
            if (!gone(place) && !followed(place)) return;
            hits.push_back({word, place});
        });
        WordNames names(process_, locator_, live);
        // The words of one table, or that lead to one object, are one fault; of them one that was followed tells most.
        std::ranges::stable_partition(hits, [&](const Hit& hit) { return followed(hit.place); });
        std::map<std::string, std::size_t> holders;
        std::map<Address, std::size_t> objects;
        std::vector<std::size_t> more;
        std::optional<Address> last_at;
        std::string last_holder;
        for (const Hit& hit : hits) {
            const bool followed_now = followed(hit.place);
            if (!followed_now && !plausible(live, names, hit.word, hit.place)) continue;
            // Words of data without a name that stand side by side are one table's.
            std::string holder = holder_of(live, names, hit.word);
            if (hit.word.source == Source::data && last_at && hit.word.at == *last_at + 8 &&
                names.name(hit.word).text.empty())
                holder = last_holder;
            last_at = hit.word.source == Source::data ? std::optional(hit.word.at) : std::nullopt;
            last_holder = holder;
            const Address object = hit.place.kind == PlaceKind::go_object ? hit.place.object.base : hit.place.address;
            auto known = objects.find(object);
            std::size_t finding = known != objects.end()     ? known->second
                                  : holders.contains(holder) ? holders.at(holder)
                                                             : detection.findings.size();
            if (finding == detection.findings.size()) {
                if (finding >= most_told) continue;
                detection.findings.push_back(tell(live, names, hit.word, hit.place, followed_now));
                more.push_back(0);
            } else {
                ++more[finding];
                add_word(detection.findings[finding], names, hit.word, hit.place);
            }
            if (known == objects.end()) holders.emplace(holder, finding);
            objects.emplace(object, finding);
        }
        for (std::size_t i = 0; i < more.size(); ++i)
            if (more[i] > 0) detection.findings[i].title += fmt::format(", and {}", count_of(more[i], "more word"));
        if (!process_.heap)
            detection.reason = "objects that are allocated still: whether Go keeps them was not looked at";
        return detection;
    }

private:
    bool in_arena(Address a) const { return process_.spans && process_.spans->in_arena(a); }

    /// A free page; or one that stacks were cut from since, and this one is free again.
    static bool given_back(const Placement& place) {
        return place.kind == PlaceKind::go_free_page || place.kind == PlaceKind::go_freed_stack;
    }

    bool gone(const Placement& place) const {
        if (given_back(place)) return true;
        if (place.object.state == go::SlotState::free) return true;
        if (place.object.state != go::SlotState::allocated || !process_.heap) return false;
        auto slot = process_.heap->slot_of(place.object.base);
        return slot && !process_.heap->live(*slot) && process_.heap->gaps().empty();
    }

    /// The fault in C, when the bad pointer came out of a Go object.
    void find_fault() {
        const auto& crash = process_.crash;
        if (!crash || crash->kind == report::CrashKind::requested || !crash->registers || !crash->registers->pc())
            return;
        Address pc = *crash->registers->pc();
        if (process_.go->find_func(pc)) return;
        AddressRange function = function_range(process_, pc);
        bool guessed = function.empty();
        if (guessed) function = line_to(pc);
        auto access = analyse_access(process_, *crash->registers, crash->fault_address, function);
        function_ = crash->stack.frames.empty() ? hex(pc.value) : place_in_source(crash->stack.frames.front());
        if (access && !access->load) return follow_variable(access->instruction, function);
        if (!access || !access->load || !access->load->slot || !in_arena(*access->load->slot)) return;
        if (guessed && !access->load->confirmed) return;
        Placement place = locator_.place(*access->load->slot);
        if (place.kind == PlaceKind::go_object) followed_ = place.object.base;
    }
    /// The registers are gone (up to 1.20 a later signal overwrites them): the code alone tells that the bad pointer
    /// came from an object, and that object's address from a variable.
    void follow_variable(const Instruction& faulting, AddressRange function) {
        if (faulting.memory.empty() || !faulting.memory.front().base) return;
        auto code = process_.disassembler->decode_range(process_.memory, function, 2000);
        auto at = std::ranges::find(code, faulting.pc, &Instruction::pc);
        if (at == code.end()) return;
        unsigned wanted = *faulting.memory.front().base;
        bool inside = false;  // the object's own word was seen
        while (at != code.begin()) {
            --at;
            if (at->flow != Flow::next) return;
            if (!at->destination || *at->destination != wanted) continue;
            if (at->lea || at->memory.empty() || !at->mnemonic.starts_with("mov")) return;
            const MemoryOperand& from = at->memory.front();
            if (from.absolute && inside) {
                auto word = process_.memory.load_address(*from.absolute);
                if (!word || !in_arena(*word)) return;
                Placement place = locator_.place(*word);
                if (place.kind == PlaceKind::go_object) followed_ = place.object.base;
                return;
            }
            if (!from.base || from.index || inside) return;
            wanted = *from.base;
            inside = true;
        }
    }
    /// A few instructions before `pc`, when nobody says where its function begins: from where decoding hits it.
    AddressRange line_to(Address pc) const {
        constexpr std::uint64_t window = 24;
        if (!process_.disassembler) return {};
        for (Address begin = pc - window; begin < pc; begin += 1) {
            auto code = process_.disassembler->decode_range(process_.memory, {begin, pc + 1}, window);
            if (!code.empty() && code.back().pc == pc && code.size() > 1) return {begin, pc + 1};
        }
        return {};
    }
    bool followed(const Placement& place) const {
        return followed_ && place.kind == PlaceKind::go_object && place.object.base == *followed_;
    }

    /// C's own variable, or a small object that one leads to, or what DWARF calls a member of an object; and the word
    /// is a pointer to a beginning.
    bool plausible(const LiveMemory& live, WordNames& names, const Word& word, const Placement& place) const {
        if (place.kind == PlaceKind::go_object && place.address != place.object.base) return false;
        if (word.source == Source::data) return true;
        const auto& holder = live.chunks()[word.chunk];
        if (holder.depth <= 2 && holder.user.size() <= small_object) return true;
        const WordName name = names.name(word);
        return name.typed && !name.spare && (name.object || names.in_counted_array(word));
    }

    /// The same for the words of one table, and of one list: the variable that leads there, and which member it is.
    static std::string holder_of(const LiveMemory& live, WordNames& names, const Word& word) {
        const WordName name = names.name(word);
        if (!name.typed && word.source == Source::chunk) return hex(live.chunks()[word.chunk].user.begin.value);
        if (!name.typed) return name.text.empty() ? hex(word.at.value) : name.text.substr(0, name.text.find('+'));
        return fmt::format("{} {} {}", name.text.substr(0, name.text.find_first_of(".-[")), name.owner, name.member);
    }

    void add_word(Finding& finding, WordNames& names, const Word& word, const Placement& place) const {
        if (finding.evidence.size() >= most_evidence) return;
        const WordName name = names.name(word);
        finding.evidence.push_back(
            {fmt::format("{} of C memory",
                         name.text.empty() ? fmt::format("the word at {:#x}", word.at.value) : name.text),
             word.at, fmt::format("{:#x}: {}", word.value, locator_.describe(place)), "core",
             name.typed ? "dwarf" : "scan of C memory"});
    }

    Finding tell(const LiveMemory& live, WordNames& names, const Word& word, const Placement& place, bool now) {
        Finding finding;
        finding.kind = "cgo.pointer.outlived";
        bool certain = now;
        bool free = place.freed();
        finding.severity = certain || free ? report::Severity::error : report::Severity::warning;
        finding.strength = certain ? report::Strength::proved : report::Strength::likely;
        WordName name = names.name(word);
        std::string text = name.text.empty() ? fmt::format("the word at {:#x}", word.at.value) : name.text;
        if (word.source == Source::chunk) {
            WordName object = names.object(word.chunk);
            finding.subject = {live.chunks()[word.chunk].user.begin, "malloc chunk", object.type, object.text};
        } else {
            finding.subject = {word.at, "C variable", name.type, locator_.symbol(word.at)};
        }
        finding.mark = names.mark(word);
        std::string state = now && !free ? "whose slot was used again"
                            : free       ? "that was freed"
                                         : "that nothing in Go keeps";
        const std::string_view what = place.kind == PlaceKind::go_freed_stack ? "into Go memory" : "to a Go object";
        finding.title = fmt::format("C keeps a pointer {} {}: {}", what, state, text);
        finding.where = now ? fmt::format("followed by C in {}{}", function_,
                                          process_.crash->goid ? fmt::format(", goroutine {}", *process_.crash->goid)
                                                               : std::string())
                            : fmt::format("held at {:#x}, {}", word.at.value, locator_.describe(word.at));
        finding.why = locator_.describe(place);
        add_word(finding, names, word, place);
        if (now) {
            finding.evidence.push_back({"the faulting C instruction followed a pointer from this object", followed_,
                                        function_, "core", "disassembly"});
            if (process_.crash->tid) finding.threads.push_back(*process_.crash->tid);
            if (process_.crash->goid) finding.goroutines.push_back(*process_.crash->goid);
            add_crash_snapshot(process_, locator_, 0, finding);
            for (std::string_view death : {"crash.fault", "crash.panic"}) finding.related.emplace_back(death);
        } else {
            finding.innocent.push_back("C may never use the pointer again");
        }
        finding.verify.push_back(gdb_words(process_, word.at, 1));
        finding.remedy = "pass cgo.Handle or C.malloc memory; pin what C keeps (runtime.Pinner)";
        return finding;
    }

    const Process& process_;
    const Locator& locator_;
    std::optional<Address> followed_;
    std::string function_;
};

}  // namespace

Detection detect_cgo_pointers(const Process& process) {
    // Without C there is no C memory: no malloc, nothing to look at.
    if (process.malloc->arenas().empty()) return {};
    return Border(process).run();
}

}  // namespace incident::detect
