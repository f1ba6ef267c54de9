// SARIF is made for source code, a core is not: the place of a result is the innermost frame of the finding that is not
// the runtime's and whose file is known, and the core itself when there is none (consumers such as code scanning
// refuse results without a place). Whatever SARIF has no word for stands in `properties`: strength, evidence, what is
// not ruled out. Its objects allow no further members, so a string that is not UTF-8 has no `_hex` sibling here: the
// bytes become U+FFFD. Nothing is filtered by severity; info is SARIF's level "note". A report for which nobody looked
// for findings has no `results` at all: an empty list would say that a scan found nothing.
#include "report/sarif.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include "base/text.h"
#include "report/explain.h"
#include "report/json_writer.h"
#include "report/verdict.h"

namespace incident::report {

namespace {

constexpr std::size_t most_frames = 64, most_stacks = 8;

std::string_view level_of(Severity severity) {
    switch (severity) {
        case Severity::error: return "error";
        case Severity::warning: return "warning";
        case Severity::info: return "note";
    }
    return "none";
}

/// RFC 3986: a path as a URI, absolute ones with their scheme; "go/src/a b.go" stays relative.
std::string uri_of(std::string_view path) {
    constexpr std::string_view plain = "-._~/!$&'()*+,;=@";
    std::string out = path.starts_with('/') ? "file://" : "";
    for (char c : path) {
        auto byte = static_cast<unsigned char>(c);
        if (byte < 0x80 && (std::isalnum(byte) != 0 || plain.contains(c)))
            out += c;
        else
            fmt::format_to(std::back_inserter(out), "%{:02X}", byte);
    }
    // A first segment with a colon would read as a scheme; ':' is escaped above.
    return out;
}

class Writer {
public:
    Writer(const Report& report, const RenderOptions& options, const Sink& sink)
        : report_(report), options_(options), json_(sink) {}

    void write();

private:
    void text(std::string_view name, std::string_view value) { json_.string(name, to_valid_utf8(value)); }
    void message(std::string_view name, std::string_view value) {
        json_.begin_object(name);
        text("text", value);
        json_.end_object();
    }
    void tool();
    void rule(const std::string& kind);
    void notification(std::string_view level, std::string_view words);
    void invocation();
    void core_location();
    void physical(const Frame& frame);
    void location_members(const Frame& frame);
    void stack(std::string_view title, std::span<const Frame> frames);
    void result(const Finding& finding);
    void properties(const Finding& finding);

    std::vector<Frame> frames_of_goroutine(std::int64_t id) const;
    std::vector<Frame> frames_of_thread(std::int32_t tid) const;
    std::vector<std::pair<std::string, std::vector<Frame>>> stacks_of(const Finding& finding) const;

    const Report& report_;
    const RenderOptions& options_;
    JsonWriter json_;
    std::vector<std::string> rules_;
};

/// Empty: there is no such goroutine, or its frames are not known.
std::vector<Frame> Writer::frames_of_goroutine(std::int64_t id) const {
    if (!report_.goroutines) return {};
    auto g = std::ranges::find(*report_.goroutines, id, &Goroutine::id);
    return g == report_.goroutines->end() ? std::vector<Frame>() : g->frames.load();
}

std::vector<Frame> Writer::frames_of_thread(std::int32_t tid) const {
    if (!report_.threads) return {};
    auto t = std::ranges::find(*report_.threads, tid, &Thread::tid);
    return t == report_.threads->end() ? std::vector<Frame>() : t->frames;
}

std::vector<std::pair<std::string, std::vector<Frame>>> Writer::stacks_of(const Finding& finding) const {
    std::vector<std::pair<std::string, std::vector<Frame>>> out;
    if (finding.kind.starts_with("crash.") && report_.crash && !report_.crash->frames.empty())
        out.emplace_back("where the process died", report_.crash->frames);
    for (auto id : finding.goroutines) {
        if (out.size() >= most_stacks) break;
        if (auto frames = frames_of_goroutine(id); !frames.empty())
            out.emplace_back(fmt::format("goroutine {}", id), std::move(frames));
    }
    for (auto tid : finding.threads) {
        if (out.size() >= most_stacks) break;
        if (auto frames = frames_of_thread(tid); !frames.empty())
            out.emplace_back(fmt::format("thread {}", tid), std::move(frames));
    }
    if (out.empty() && !finding.snapshots.empty()) {
        auto& [title, frames] = out.emplace_back("frames", std::vector<Frame>());
        for (const auto& snapshot : finding.snapshots) frames.push_back(snapshot.frame);
    }
    return out;
}

void Writer::rule(const std::string& kind) {
    json_.begin_object();
    text("id", kind);
    if (const auto* explanation = find_explanation(kind)) {
        message("shortDescription", explanation->says);
        message("fullDescription", explanation->meaning);
        message("help", fmt::format("Proof: {}\nInnocent look-alikes: {}\nRemedy: {}", explanation->proof,
                                    explanation->innocent, explanation->remedy));
    }
    json_.end_object();
}

void Writer::tool() {
    json_.begin_object("tool");
    json_.begin_object("driver");
    text("name", report_.tool.name);
    if (!report_.tool.version.empty()) text("version", report_.tool.version);
    json_.begin_array("rules");
    for (const auto& finding : report_.findings) {
        if (std::ranges::find(rules_, finding.kind) != rules_.end()) continue;
        rules_.push_back(finding.kind);
        json_.new_line();
        rule(finding.kind);
    }
    json_.end_array();
    json_.end_object();
    json_.end_object();
}

void Writer::notification(std::string_view level, std::string_view words) {
    json_.new_line();
    json_.begin_object();
    text("level", level);
    message("message", words);
    json_.end_object();
}

/// What is not known, as the tool's notifications: silence is not health here either.
void Writer::invocation() {
    json_.begin_array("invocations");
    json_.begin_object();
    json_.boolean("executionSuccessful", true);
    json_.integer("exitCode", exit_code(report_, options_.min_severity));
    json_.begin_array("toolExecutionNotifications");
    if (!judged(report_)) notification("note", "this command looks for no findings; `incident analyze` does");
    for (const auto& gap : report_.gaps) {
        auto words = gap.what;
        if (!gap.why.empty()) words += ": " + gap.why;
        if (!gap.weakens.empty()) words += " (weakens " + gap.weakens + ")";
        notification(gap.damage ? "warning" : "note", words);
    }
    json_.end_array();
    json_.end_object();
    json_.end_array();
}

void Writer::core_location() {
    json_.begin_object("physicalLocation");
    json_.begin_object("artifactLocation");
    text("uri", uri_of(report_.input.core.path));
    json_.integer("index", 0);
    json_.end_object();
    json_.end_object();
}

void Writer::physical(const Frame& frame) {
    json_.begin_object("physicalLocation");
    json_.begin_object("address");
    json_.number("absoluteAddress", frame.pc.value & 0x7fff'ffff'ffff'ffff);  // SARIF's integers are signed
    json_.end_object();
    if (!frame.file.empty()) {
        json_.begin_object("artifactLocation");
        text("uri", uri_of(frame.file));
        json_.end_object();
        if (frame.line != 0) {
            json_.begin_object("region");
            json_.number("startLine", frame.line);
            json_.end_object();
        }
    }
    json_.end_object();
}

void Writer::location_members(const Frame& frame) {
    physical(frame);
    if (frame.function.empty()) return;
    json_.begin_array("logicalLocations");
    json_.begin_object();
    text("fullyQualifiedName", frame.function);
    text("kind", "function");
    json_.end_object();
    json_.end_array();
}

void Writer::stack(std::string_view title, std::span<const Frame> frames) {
    json_.new_line();
    json_.begin_object();
    message("message", title);
    json_.begin_array("frames");
    for (const auto& frame : frames.first(std::min(frames.size(), most_frames))) {
        json_.begin_object();
        if (!frame.module.empty()) text("module", frame.module);
        json_.begin_object("location");
        location_members(frame);
        json_.end_object();
        json_.begin_object("properties");
        text("trust", to_string(frame.trust));
        json_.end_object();
        json_.end_object();
    }
    json_.end_array();
    json_.end_object();
}

void Writer::properties(const Finding& finding) {
    json_.begin_object("properties");
    text("strength", to_string(finding.strength));
    json_.begin_array("evidence");
    for (const auto& e : finding.evidence) {
        json_.begin_object();
        text("what", e.what);
        if (e.address) json_.address("address", *e.address);
        if (!e.value.empty()) text("value", e.value);
        if (!e.by.empty()) text("by", e.by);
        json_.end_object();
    }
    json_.end_array();
    std::vector<std::string> innocent, verify;
    for (const auto& words : finding.innocent) innocent.push_back(to_valid_utf8(words));
    for (const auto& v : finding.verify) verify.push_back(to_valid_utf8(v.command));
    json_.strings("notRuledOut", innocent);
    json_.strings("verify", verify);
    json_.integers("goroutines", finding.goroutines);
    json_.integers("threads", finding.threads);
    if (const auto* entry = options_.runbook_for(finding)) {
        std::vector<std::string> steps, links;
        for (const auto& step : entry->steps) steps.push_back(to_valid_utf8(step));
        for (const auto& link : entry->links) links.push_back(to_valid_utf8(link));
        text("runbook", entry->title);
        json_.strings("runbookSteps", steps);
        json_.strings("runbookLinks", links);
    }
    if (finding.subject.address) json_.address("address", *finding.subject.address);
    json_.end_object();
}

void Writer::result(const Finding& finding) {
    auto stacks = stacks_of(finding);
    const Frame* place = nullptr;
    for (const auto& [title, frames] : stacks) {
        auto frame =
            std::ranges::find_if(frames, [](const Frame& f) { return !f.runtime_internal && !f.file.empty(); });
        if (place == nullptr && frame != frames.end()) place = &*frame;
    }

    json_.new_line();
    json_.begin_object();
    text("ruleId", finding.kind);
    json_.integer("ruleIndex", std::ranges::find(rules_, finding.kind) - rules_.begin());
    text("level", level_of(finding.severity));
    std::string words = finding.title;
    if (!finding.where.empty()) words += "\n" + finding.where;
    if (!finding.why.empty()) words += "\n" + finding.why;
    message("message", words);
    json_.begin_object("analysisTarget");
    text("uri", uri_of(report_.input.core.path));
    json_.integer("index", 0);
    json_.end_object();
    json_.begin_array("locations");
    json_.begin_object();
    if (place != nullptr)
        location_members(*place);
    else
        core_location();
    json_.end_object();
    json_.end_array();
    json_.begin_object("partialFingerprints");
    text("kindAndFunction/v1",
         fmt::format("{} {}", finding.kind, place != nullptr ? std::string(place->function) : finding.subject.symbol));
    json_.end_object();
    json_.begin_array("stacks");
    for (const auto& [title, frames] : stacks) stack(title, frames);
    json_.end_array();
    properties(finding);
    json_.end_object();
}

void Writer::write() {
    json_.begin_object();
    json_.string("$schema",
                 "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json");
    json_.string("version", "2.1.0");
    json_.begin_array("runs");
    json_.begin_object();
    tool();
    json_.new_line();
    invocation();
    json_.new_line();
    json_.begin_array("artifacts");
    json_.begin_object();
    json_.begin_object("location");
    text("uri", uri_of(report_.input.core.path));
    json_.end_object();
    json_.number("length", report_.input.core.size);
    json_.begin_array("roles");
    json_.string_element("analysisTarget");
    json_.end_array();
    json_.end_object();
    json_.end_array();
    if (judged(report_)) {  // SARIF 2.1.0, 3.14.23: absent where no scan was attempted
        json_.new_line();
        json_.begin_array("results");
        for (const auto& finding : report_.findings) {
            if (!json_.alive()) break;
            result(finding);
        }
        json_.end_array();
    }
    json_.end_object();
    json_.end_array();
    json_.end_object();
    json_.finish();
}

}  // namespace

void render_sarif(const Report& report, const RenderOptions& options, const Sink& sink) {
    Writer(report, options, sink).write();
}

}  // namespace incident::report
