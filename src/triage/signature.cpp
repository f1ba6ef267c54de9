// The rules in short. The finding that explains the end decides the kind: a memory finding explains a fault, a fatal
// error and a panic born of a signal, but no panic("…") that the program raised itself; any finding explains an abort
// or a core that was asked for. A memory finding is signed by what exactly is wrong (its mark) and by what holds the
// bad word, because where the process died of it is chance; without such a name, by the frames that it shows. Lock and
// leak findings are signed by the set of places that wait, because which goroutine is first in line is chance; deaths
// by their stack's top; stack overflows by the functions of the recursion; an exhausted memory by its class and program
// alone. A core in which nothing was found is signed by where its goroutines and threads wait.
#include "triage/signature.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <set>
#include <span>
#include <unordered_map>

#include "base/text.h"
#include "triage/normalize.h"

namespace incident::triage {

namespace {

using report::Finding;
using report::Frame;

bool starts_with_any(std::string_view text, std::initializer_list<std::string_view> prefixes) {
    return std::ranges::any_of(prefixes, [&](std::string_view prefix) { return text.starts_with(prefix); });
}

class Signer {
public:
    Signer(const report::Report& report, const Rules& rules) : report_(report), rules_(rules) {
        for (const auto& module : report.input.modules)
            if (module.build_id) build_ids_.emplace(module.path, *module.build_id);
        if (report.input.executable && report.input.executable->build_id)
            build_ids_.emplace(report.input.executable->path, *report.input.executable->build_id);
    }

    Signature sign();

private:
    struct Picked {
        std::vector<SignatureFrame> frames;
        bool any_own = false;
    };

    SignatureFrame frame_of(const Frame& frame) const;
    Picked pick(std::span<const Frame> frames, std::size_t most, std::string_view stack, bool explain);
    const Finding* cause() const;
    const Finding* death() const;
    void sign_death(const Finding* death);
    void sign_overflow();
    void sign_places(const Finding& finding);
    void sign_memory(const Finding& finding);
    void sign_waiting();
    void add_creators(const Finding& finding);
    void add_snapshots(const Finding& finding, std::string_view stack);
    void add_place(const Picked& picked);
    void add_stack(std::span<const Frame> frames, const std::string& stack);
    void add_stack_places(const Finding& finding);
    void fill_context();
    void finish();
    void note(std::string text) { out_.notes.push_back(std::move(text)); }

    const report::Report& report_;
    const Rules& rules_;
    std::unordered_map<std::string_view, std::string_view> build_ids_;
    Signature out_;
};

SignatureFrame Signer::frame_of(const Frame& frame) const {
    auto id = build_ids_.find(frame.module);
    return {frame_text(frame, id == build_ids_.end() ? std::string_view() : id->second),
            std::string(base_name(frame.module)), frame.module_offset, !frame.function.empty()};
}

/// The frames that count, innermost first: the program's own, and the outermost library call above the first of them.
/// When there is no own frame at all, the library's, else whatever is there.
Signer::Picked Signer::pick(std::span<const Frame> frames, std::size_t most, std::string_view stack, bool explain) {
    Picked out;
    std::optional<SignatureFrame> library, any;
    constexpr std::size_t deepest = 512, most_explained = 64;
    for (const auto& frame : frames.first(std::min(frames.size(), deepest))) {
        auto text = frame_of(frame);
        const auto* rule = rules_.find_frame(text.text);
        auto use = rule != nullptr ? rule->use : FrameUse::own;
        if (text.text == "?" || frame.trust == report::Trust::scan) use = FrameUse::skip;
        bool below = out.frames.size() >= most;
        if (explain && out_.choices.size() < most_explained) {
            std::string word = below ? "below" : use == FrameUse::own ? "counts" : std::string(to_string(use));
            std::string why = below             ? most == 1 ? std::string("only the innermost counts")
                                                            : fmt::format("only the innermost {} count", most)
                                          : rule != nullptr ? rule->note
                              : use == FrameUse::skip
                                  ? std::string("its address has no module, or it was found by scanning the stack")
                                  : std::string();
            out_.choices.push_back({text.text, word, why, std::string(stack)});
        }
        if (use == FrameUse::stop || below) break;
        if (!any && text.text != "?" && use != FrameUse::skip) any = text;
        if (use == FrameUse::library && !out.any_own) library = text;
        if (use != FrameUse::own) continue;
        if (!out.any_own && library) out.frames.push_back(*library);
        out.any_own = true;
        // A recursion is one frame, however deep.
        if (out.frames.empty() || out.frames.back().text != text.text) out.frames.push_back(std::move(text));
    }
    if (!out.any_own && library) out.frames.push_back(*library);
    if (out.frames.empty() && any) out.frames.push_back(*any);
    if (out.frames.size() > most) out.frames.resize(most);
    return out;
}

const Finding* Signer::death() const {
    auto crash = std::ranges::find_if(
        report_.findings, [](const Finding& f) { return f.kind.starts_with("crash.") && f.kind != "crash.requested"; });
    return crash == report_.findings.end() ? nullptr : &*crash;
}

/// The finding that explains how the process came to its end, if any does.
const Finding* Signer::cause() const {
    const auto* end = death();
    const bool own_panic = end != nullptr && end->kind == "crash.panic" && report_.crash && !report_.crash->signal;
    const bool any_explains = end == nullptr || end->kind == "crash.abort";
    for (const auto& f : report_.findings) {
        if (f.kind.starts_with("crash.") || f.severity < report::Severity::warning) continue;
        if (any_explains) return &f;
        if (f.severity == report::Severity::error && class_of(f.kind) == "memory" && !own_panic &&
            end->kind != "crash.stack-overflow")
            return &f;
    }
    return nullptr;
}

void Signer::sign_overflow() {
    note("a stack overflow is signed by the functions that recur, in order of name: its depth is chance");
    std::set<std::string> seen;
    constexpr std::size_t looked_at = 256;
    const auto& frames = report_.crash->frames;
    auto picked = pick(std::span(frames).first(std::min(frames.size(), looked_at)), looked_at, "where it died", false);
    std::map<std::string, std::pair<std::size_t, SignatureFrame>> count;
    for (const auto& frame : picked.frames) {
        auto& [times, first] = count[frame.text];
        if (times++ == 0) first = frame;
    }
    bool recursion = std::ranges::any_of(count, [](const auto& entry) { return entry.second.first > 1; });
    for (const auto& [text, entry] : count)
        if (entry.first > 1 || !recursion || count.size() == 1) out_.frames.push_back(entry.second);
    if (out_.frames.size() > most_signature_places) out_.frames.resize(most_signature_places);
    out_.ordered = false;
    for (const auto& frame : out_.frames) out_.choices.push_back({frame.text, "counts", "recurs", "where it died"});
}

void Signer::sign_death(const Finding* death) {
    const auto& crash = *report_.crash;
    out_.kind = death != nullptr ? death->kind : "crash." + std::string(to_string(crash.kind));
    out_.klass = class_of(out_.kind);
    const auto* rule = crash.message ? rules_.find_message(*crash.message) : nullptr;
    if (rule != nullptr) {
        out_.klass = rule->klass;
        note(fmt::format("its message puts it in the class {}: {}", rule->klass, rule->note));
    }
    if (out_.klass == "stack-overflow") return sign_overflow();
    if (out_.klass == "out-of-memory") {
        out_.message = "out of memory";
        out_.frames.push_back({"program " + out_.program, "", 0, true});
        note("whoever happened to allocate when memory ran out is not the cause: the program alone counts");
        pick(crash.frames, most_signature_frames, "where it died (does not count)", true);
        return;
    }
    if (out_.klass == "lock") {
        out_.message = normal_message(*crash.message);
        return sign_waiting();
    }
    if (crash.message && !crash.message->empty()) {
        out_.message = normal_message(*crash.message);
        note("the message counts, with its numbers and quoted texts taken out");
    }
    out_.frames = pick(crash.frames, most_signature_frames, "where it died", true).frames;
    if (out_.klass != "abort" || !out_.message.empty()) return;
    // A program that aborts itself without a word, as watchdogs do, says nothing by where it does so.
    note("an abort without a message: where the other threads and goroutines stand counts too");
    out_.ordered = false;
    for (const auto& place : out_.context)
        if (out_.frames.size() < most_signature_places) add_place({{{place, "", 0, !place.contains('@')}}, true});
}

void Signer::add_place(const Picked& picked) {
    for (const auto& frame : picked.frames) {
        if (out_.frames.size() >= most_signature_places) return;
        auto same = [&](const SignatureFrame& f) { return f.text == frame.text; };
        if (std::ranges::none_of(out_.frames, same)) out_.frames.push_back(frame);
    }
}

/// The innermost own frame; explained only when it is new: a hundred waiters in one place are one line.
void Signer::add_stack(std::span<const Frame> frames, const std::string& stack) {
    auto before = out_.frames.size();
    add_place(pick(frames, 1, stack, false));
    if (out_.frames.size() != before) pick(frames, 1, stack, true);
}

void Signer::add_stack_places(const Finding& finding) {
    constexpr std::size_t most_stacks = 64;  // of 10^5 waiters the first say where they wait
    std::size_t looked_at = 0;
    if (report_.goroutines) {
        std::set<std::int64_t> wanted(finding.goroutines.begin(), finding.goroutines.end());
        for (const auto& g : *report_.goroutines) {
            if (!wanted.contains(g.id) || looked_at++ >= most_stacks) continue;
            add_stack(g.frames.stored(),
                      fmt::format("goroutine {}", g.id));  // not g.start: "go f(x)" is a wrapper since Go 1.17
        }
    }
    if (report_.threads && (looked_at == 0 || finding.goroutines.empty())) {
        std::set<std::int32_t> wanted(finding.threads.begin(), finding.threads.end());
        for (const auto& t : *report_.threads) {
            if (!wanted.contains(t.tid) || looked_at++ >= most_stacks) continue;
            add_stack(t.frames, fmt::format("thread {}", t.tid));
        }
    }
}

void Signer::sign_places(const Finding& finding) {
    out_.ordered = false;
    const bool self = finding.kind.ends_with(".self-deadlock");
    // Who holds the lock already stands in the stack of who asks for it: the finding shows both frames.
    if (self && finding.snapshots.size() > 1) add_snapshots(finding, "who asks, and who holds it already");
    if (out_.frames.empty()) add_stack_places(finding);
    if (out_.frames.empty()) add_snapshots(finding, "frame");
    note(self ? "signed by the function that asks for the lock and the one that holds it, both of one stack"
              : "a wait is signed by where those who wait stand, as a set: who came first is chance");
    if (out_.klass == "leak") add_creators(finding);
}

/// Many functions may wait in one helper: who started them tells leaks apart.
void Signer::add_creators(const Finding& finding) {
    if (!report_.goroutines) return;
    std::set<std::string> creators;
    constexpr std::size_t most_creators = 3;
    for (const auto& g : *report_.goroutines)
        if (!g.created_by.empty() && std::ranges::binary_search(finding.goroutines, g.id))
            creators.insert("created by " + normal_go_name(g.created_by));
    if (creators.size() > most_creators) return;
    for (const auto& text : creators) out_.frames.push_back({text, "", 0, true});
    if (!creators.empty()) note("and by who started these goroutines: many leaks wait in the same helper");
}

void Signer::add_snapshots(const Finding& finding, std::string_view stack) {
    for (const auto& snapshot : finding.snapshots) add_place(pick(std::span(&snapshot.frame, 1), 1, stack, true));
}

void Signer::sign_memory(const Finding& finding) {
    const auto& mark = finding.mark;
    out_.message = mark.fault;
    out_.shape = mark.shape;
    out_.ordered = false;
    if (!mark.holder.empty()) {
        out_.frames.push_back({"object " + normal_message(mark.holder), "", 0, true});
        note("signed by what is wrong and by what holds it, by type or symbol: where it was noticed is chance");
        return;
    }
    if (finding.kind == "native.heap.corrupt" && !mark.shape.empty()) {
        out_.frames.push_back({mark.shape, "", 0, false});
        out_.frames.push_back({"program " + out_.program, "", 0, true});
        note("damage to malloc's own data is signed by the chunk that was overrun: who calls malloc next is chance");
        return;
    }
    add_snapshots(finding, "frame of the finding");
    if (!out_.frames.empty()) {
        note("nothing that holds it has a name: signed by the frames that the finding shows");
    } else if (const auto* end = death(); end != nullptr && end->kind != "crash.abort" && report_.crash) {
        out_.frames = pick(report_.crash->frames, most_signature_frames, "where it died", true).frames;
        out_.ordered = true;
        note("the finding shows no frame, and nothing that holds it has a name: signed by where the process died");
        return;
    } else {
        add_stack_places(finding);
        if (!out_.frames.empty()) note("signed by where the goroutines and threads of the finding stand");
    }
    if (!out_.frames.empty()) return;
    if (!mark.shape.empty()) {
        out_.frames.push_back({mark.shape, "", 0, false});
        out_.frames.push_back({"program " + out_.program, "", 0, true});
        note("nothing about it has a name: signed by the shape of what holds it, and the program");
        return;
    }
    for (const auto& words : {finding.subject.symbol, finding.subject.type, finding.subject.what}) {
        if (words.empty()) continue;
        out_.frames.push_back({"object " + normal_message(words), "", 0, true});
        note("the finding belongs to no stack: signed by the object that it is about");
        return;
    }
}

/// Where the process's own goroutines and threads wait, the most common places first: what a hang looks like.
void Signer::fill_context() {
    std::map<std::string, std::size_t> places;
    constexpr std::size_t most_goroutines = 20'000;
    std::size_t looked_at = 0;
    auto add = [&](std::span<const Frame> frames) {
        auto picked = pick(frames, 1, "", false);
        if (picked.any_own) ++places[picked.frames.back().text];
    };
    if (report_.goroutines) {
        for (const auto& g : *report_.goroutines) {
            if (g.system || g.status == "dead" || g.frames.empty() || ++looked_at > most_goroutines) continue;
            add(g.frames.stored());
        }
    }
    if (places.empty() && report_.threads)
        for (const auto& t : *report_.threads) add(t.frames);
    std::vector<std::pair<std::size_t, std::string>> order;
    for (auto& [text, count] : places) order.emplace_back(count, text);
    std::ranges::stable_sort(order, [](const auto& a, const auto& b) { return a.first > b.first; });
    constexpr std::size_t most_context = 24;
    for (auto& [count, text] : order)
        if (out_.context.size() < most_context) out_.context.push_back(std::move(text));
}

void Signer::sign_waiting() {
    out_.ordered = false;
    for (const auto& place : out_.context)
        if (out_.frames.size() < most_signature_places) out_.frames.push_back({place, "", 0, !place.contains('@')});
    note("nothing explains why somebody took this core: signed by the places where most goroutines and threads stand");
}

void Signer::finish() {
    if (!out_.ordered) std::ranges::sort(out_.frames, {}, &SignatureFrame::text);
    std::string canonical = fmt::format("{}\n{}\n{}\n", out_.klass, out_.kind, out_.message);
    for (const auto& frame : out_.frames) canonical += frame.text + "\n";
    out_.id = fmt::format("{:016x}", XXH3_64bits(canonical.data(), canonical.size()));
    out_.text = out_.kind;
    if (!out_.message.empty()) out_.text += fmt::format(" \"{}\"", out_.message);
    constexpr std::size_t most_text = 255;  // as Socorro's
    for (const auto& frame : out_.frames) {
        auto next = fmt::format(" {} {}", out_.ordered ? "|" : "&", frame.text);
        if (&frame == &out_.frames.front()) next.replace(1, 1, "|");
        if (out_.text.size() + next.size() > most_text) {
            out_.text += " …";
            break;
        }
        out_.text += next;
    }
}

Signature Signer::sign() {
    out_.program = normal_program(report_.input.executable ? base_name(report_.input.executable->path)
                                                           : std::string_view(report_.input.core.program));
    fill_context();
    if (const auto* finding = cause()) {
        out_.kind = finding->kind;
        out_.klass = class_of(finding->kind);
        note(fmt::format("{} ({}, {}) explains the end", finding->kind, to_string(finding->severity),
                         to_string(finding->strength)));
        if (out_.klass == "lock" || out_.klass == "leak")
            sign_places(*finding);
        else
            sign_memory(*finding);
    } else if (const auto* end = death();
               report_.crash && (end != nullptr || report_.crash->kind != report::CrashKind::requested)) {
        sign_death(end);
    } else if (report_.crash) {
        out_.klass = "requested";
        out_.kind = "crash.requested";
        sign_waiting();
    } else {
        out_.klass = "unknown";
        out_.kind = "unknown";
        sign_waiting();
    }
    finish();
    return std::move(out_);
}

}  // namespace

std::string_view class_of(std::string_view kind) {
    if (kind == "crash.fault" || kind == "crash.signal") return "fault";
    if (kind == "crash.panic" || kind == "crash.go-panic") return "panic";
    if (kind == "crash.fatal" || kind == "crash.go-fatal") return "fatal";
    if (kind == "crash.abort") return "abort";
    if (kind == "crash.stack-overflow") return "stack-overflow";
    if (kind == "crash.requested") return "requested";
    if (kind == "go.goroutine.leaked") return "leak";
    if (starts_with_any(kind,
                        {"go.mutex.", "go.rwmutex.", "lock.", "go.waitgroup.", "native.mutex.", "native.rwlock."}))
        return "lock";
    if (starts_with_any(kind, {"go.", "native.", "cgo."})) return "memory";
    return "unknown";
}

Signature sign(const report::Report& report, const Rules& rules) { return Signer(report, rules).sign(); }

}  // namespace incident::triage
