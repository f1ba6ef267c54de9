// go.pointer.bad: the runtime's own word: "found bad pointer in Go heap".
//
// Proof: the fatal error. Which word it was: runtime.badPointer(s, p, refBase, refOff) prints the three numbers, and it
// and its caller findObject keep them in their frames, spilled in whatever order the compiler chose (what prints may
// have overwritten them). They are believed only when p leads to memory that no span holds, and the word at
// refBase+refOff still holds it. The collector of Go 1.25 and later scans small objects without saying where (both are
// 0): then the marked heap says which words hold p. Innocent look-alikes: none; the pointer may be older than the code
// that the collector was in.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/text.h"
#include "detect/pointers.h"
#include "detect/telling.h"
#include "go/heap/heap_graph.h"
#include "process/holder.h"

namespace incident::detect {

namespace {

constexpr std::string_view said = "found bad pointer in Go heap";
constexpr std::uint64_t searched = 1024;  // bytes of stack from badPointer's frame on
constexpr std::uint64_t largest_offset = 1ull << 40;

struct Words {
    Address bad;     ///< the pointer
    Address holder;  ///< the word that holds it
    Address base;    ///< the object, or the section, that the collector was scanning
};

/// Is it what badPointer is called for? Nothing was allocated there since: the process stopped.
bool leads_nowhere(const Process& process, std::uint64_t value) {
    const Address at{value};
    return !process.spans || (process.spans->in_arena(at) && process.spans->find(at) == nullptr);
}

/// What badPointer printed before the throw, so far as the ring still holds it.
struct Printed {
    std::string line;  ///< "runtime: pointer 0x… to unallocated span span.base()=…"
    Address bad;
    Address base;  ///< null: not said
    std::uint64_t offset = 0;
};

std::uint64_t number_behind(std::string_view text, std::string_view mark) {
    const auto at = text.find(mark);
    if (at == std::string_view::npos) return 0;
    std::uint64_t value = 0;
    const char* begin = text.data() + at + mark.size();
    std::from_chars(begin, text.data() + text.size(), value, 16);
    return value;
}

Printed what_was_printed(const Process& process) {
    Printed printed;
    const auto& globals = process.go->globals();
    if (!globals.print_backlog) return printed;
    std::string ring(512, '\0');
    if (!process.memory.load(*globals.print_backlog, std::as_writable_bytes(std::span(ring)))) return printed;
    if (globals.print_backlog_index)
        if (auto index = process.memory.load<std::uint64_t>(*globals.print_backlog_index);
            index && *index < ring.size())
            std::ranges::rotate(ring, ring.begin() + static_cast<std::ptrdiff_t>(*index));
    constexpr std::string_view pointer = "runtime: pointer 0x", object = "found in object at *(0x";
    const auto begin = ring.rfind(pointer);
    if (begin == std::string::npos) return printed;
    const std::string_view text = std::string_view(ring).substr(begin);
    printed.line = text.substr(0, text.find('\n'));
    printed.bad = Address{number_behind(text, pointer)};
    if (const auto at = text.find(object); at != std::string_view::npos) {
        printed.base = Address{number_behind(text, object)};
        printed.offset = number_behind(text.substr(at), "+0x");
    }
    return printed;
}

/// The three numbers: what the runtime printed of them, or the words of the frames of badPointer and findObject.
std::optional<Words> find_words(const Process& process, const go::GoStack& stack, const Printed& printed) {
    auto frame = std::ranges::find_if(stack.physical, [](auto& f) { return f.name() == "runtime.badPointer"; });
    if (frame == stack.physical.end() || frame->sp.is_null()) return std::nullopt;
    std::vector<std::uint64_t> words;
    for (Address at = frame->sp; at < frame->sp + searched; at += 8) {
        auto word = process.memory.load<std::uint64_t>(at);
        if (!word) break;
        words.push_back(*word);
    }
    auto fits = [&](std::uint64_t bad, std::uint64_t base, std::uint64_t offset) {
        if (bad < 4096 || base < 4096 || offset >= largest_offset || offset % 8 != 0) return false;
        if (process.spans && !process.spans->in_arena(Address{base}) && !process.go->is_variable(Address{base}))
            return false;  // the collector scans nothing else: the span's own words name its end, too
        auto held = process.memory.load<std::uint64_t>(Address{base} + offset);
        return held && *held == bad && leads_nowhere(process, bad);
    };
    if (fits(printed.bad.value, printed.base.value, printed.offset))
        return Words{printed.bad, printed.base + printed.offset, printed.base};
    // The arguments in their order: on the stack up to Go 1.16, in their spill slots later.
    for (std::size_t i = 0; i + 2 < words.size(); ++i)
        if (fits(words[i], words[i + 1], words[i + 2]))
            return Words{Address{words[i]}, Address{words[i + 1]} + words[i + 2], Address{words[i + 1]}};
    const auto in_hand = [&](Address value) {
        return leads_nowhere(process, value.value) &&
               (value == printed.bad || std::ranges::find(words, value.value) != words.end());
    };
    if (process.heap != nullptr) {
        for (const go::Stray& stray : process.heap->strays())
            if (in_hand(stray.value)) {
                const Address base = process.heap->slots().base(stray.holder);
                return Words{stray.value, base + stray.offset, base};
            }
        for (const go::StrayRoot& root : process.heap->roots().strays)
            if (in_hand(root.value)) return Words{root.value, root.where, root.where};
    }
    for (std::uint64_t base : words)
        for (std::uint64_t offset : words)
            for (std::uint64_t bad : words)
                if (bad != base && fits(bad, base, offset))
                    return Words{Address{bad}, Address{base} + offset, Address{base}};
    return std::nullopt;
}

}  // namespace

Detection detect_bad_pointer(const Process& process) {
    Detection detection;
    const CrashContext& crash = *process.crash;
    detection.checked = 1;
    if (crash.kind != report::CrashKind::go_fatal || !crash.message || crash.message->find(said) == std::string::npos)
        return detection;
    const Locator& locator = *process.locator;
    report::Finding finding;
    finding.kind = "go.pointer.bad";
    finding.severity = report::Severity::error;
    finding.strength = report::Strength::proved;
    finding.title = "The collector met a bad pointer";
    finding.why = "the runtime stops a process whose pointers lead into memory that it has given back";
    finding.evidence.push_back(
        {"the runtime's fatal error", std::nullopt, *crash.message, "core", "frame of " + crash.runtime_function});
    const Printed printed = what_was_printed(process);
    if (!printed.line.empty())
        finding.evidence.push_back(
            {"printed before it", std::nullopt, escape_for_terminal(printed.line), "core", "runtime.printBacklog"});
    if (auto words = find_words(process, crash.stack, printed)) {
        Boxed boxed;
        if (process.spans)
            boxed = find_boxed(process.memory, *process.go, *process.spans, process.heap.get(), process.jobs,
                               {&words->holder, 1});
        const Holder holder = find_holder(locator, &boxed, words->holder);
        const std::string is = locator.describe(words->bad);
        finding.title = fmt::format("The collector met a bad pointer in {}: {:#x}", holder.name, words->bad.value);
        finding.where = fmt::format("word {:#x}, {}", words->holder.value, holder.place);
        finding.why = fmt::format("{:#x} is now {}; the pointer outlived its object", words->bad.value, is);
        finding.subject = holder.subject();
        finding.mark.holder = holder.stable();
        finding.evidence.push_back({fmt::format("the word still holds it; {}", is), words->holder,
                                    hex(words->bad.value), origin_of(process, words->holder),
                                    "frames of badPointer and findObject, marked heap"});
        for (auto& evidence : holder.evidence) finding.evidence.push_back(evidence);
        finding.verify.push_back(gdb_words(process, words->holder, 1, "holds the pointer"));
        add_delve_check(process, finding,
                        fmt::format("examinemem -fmt hex -size 8 -count 1 {:#x}", words->holder.value));
    } else {
        detection.unchecked = 1;
        detection.reason = "which word held the bad pointer: the frames of badPointer no longer say";
    }
    if (crash.tid) finding.threads.push_back(*crash.tid);
    finding.remedy =
        "look at how that word was written: a uintptr turned back into a pointer, cgo or unsafe code that kept an "
        "address beyond the life of its object; GODEBUG=invalidptr=0 would only hide it";
    detection.findings.push_back(std::move(finding));
    return detection;
}

}  // namespace incident::detect
