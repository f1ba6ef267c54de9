// Writing and reading of the two schemas. Reading is forgiving (a store may come from a newer version, or have been cut
// by a full disk): unknown members are passed over, a missing one has its default, and only a line that is no object of
// the right schema is refused. It may as well come from a stranger, and hold what a core says: numbers are bounded
// here, strings where they are rendered.
#include "triage/record.h"

#define RAPIDJSON_HAS_STDSTRING 1
#include <fmt/format.h>
#include <rapidjson/document.h>
#include <rapidjson/error/en.h>

#include <algorithm>
#include <array>

#include "base/text.h"
#include "report/answer.h"
#include "report/json_writer.h"
#include "report/terminal/views.h"
#include "report/verdict.h"
#include "triage/normalize.h"

namespace incident::triage {

namespace {

using report::JsonWriter;

constexpr std::array outcomes{Outcome::analysed,      Outcome::unusable, Outcome::out_of_time,
                              Outcome::out_of_memory, Outcome::died,     Outcome::failed};

void write_signature(JsonWriter& json, const Signature& s) {
    json.begin_object("signature");
    json.string("id", s.id);
    json.string("class", s.klass);
    json.string("kind", s.kind);
    json.text("message", s.message);
    json.text("shape", s.shape);
    json.string("text", s.text);
    json.boolean("ordered", s.ordered);
    json.begin_array("frames");
    for (const auto& frame : s.frames) {
        json.begin_object();
        json.string("text", frame.text);
        json.text("module", frame.module);
        json.hex("offset", frame.offset);
        json.boolean("named", frame.named);
        json.end_object();
    }
    json.end_array();
    json.strings("context", s.context);
    json.strings("notes", s.notes);
    json.begin_array("choices");
    for (const auto& choice : s.choices) {
        json.begin_object();
        json.string("text", choice.text);
        json.string("use", choice.use);
        json.text("note", choice.note);
        json.text("stack", choice.stack);
        json.end_object();
    }
    json.end_array();
    json.end_object();
}

struct Answer {
    std::string what, where, why;
};

Answer answer_of(const report::Report& report, const Signature& signature) {
    auto finding = std::ranges::find(report.findings, signature.kind, &report::Finding::kind);
    if (finding == report.findings.end() && !report.findings.empty()) finding = report.findings.begin();
    if (finding != report.findings.end()) return {finding->title, finding->where, finding->why};
    return {report.crash ? report.crash->cause : std::string(), "", ""};
}

/// The finding that the signature rests on, as the terminal report draws it, without colour.
std::string excerpt_of(const report::Report& report, const Signature& signature, report::Severity min_severity) {
    constexpr std::size_t most_bytes = 8000, most_lines = 40;
    report::RenderOptions options;
    options.width = 96;
    options.min_severity = min_severity;
    std::string drawn;
    report::Sink sink = [&](std::string_view text) {
        constexpr std::size_t enough = 256 * 1024;
        drawn += text;
        return drawn.size() < enough;
    };
    {
        report::terminal::Canvas canvas(options, sink);
        report::terminal::Context context(canvas, report);
        report::terminal::print_findings(context);
        canvas.flush();
    }
    // Findings begin with a rule: "━━ 1 of 2 ━━ go.mutex.orphaned ━━…".
    auto begin = drawn.find(" " + signature.kind + " ");
    if (begin == std::string::npos) return {};
    begin = drawn.find('\n', begin);
    if (begin == std::string::npos) return {};
    auto end = drawn.find("\n\u2501\u2501 ", ++begin);
    auto text = drawn.substr(begin, end == std::string::npos ? end : end - begin);
    // What, where and why stand above the excerpt already.
    for (std::string_view label : {"what ", "where ", "why "}) {
        if (!text.starts_with(label)) continue;
        auto rest = text.find('\n');
        while (rest != std::string::npos && text.substr(rest + 1).starts_with(' ')) rest = text.find('\n', rest + 1);
        text.erase(0, rest == std::string::npos ? rest : rest + 1);
    }
    std::size_t lines = 0, at = 0;
    while (at < text.size() && lines < most_lines && at < most_bytes) {
        auto next = text.find('\n', at);
        at = next == std::string::npos ? text.size() : next + 1;
        ++lines;
    }
    bool cut = at < text.size();
    text.resize(at);
    while (text.ends_with('\n')) text.pop_back();
    if (cut) text += "\n  \u2026";
    return text;
}

std::string text_of(const rapidjson::Value& object, const char* name) {
    auto member = object.FindMember(name);
    return member != object.MemberEnd() && member->value.IsString()
               ? std::string(member->value.GetString(), member->value.GetStringLength())
               : std::string();
}

std::int64_t integer_of(const rapidjson::Value& object, const char* name, std::int64_t otherwise) {
    auto member = object.FindMember(name);
    return member != object.MemberEnd() && member->value.IsInt64() ? member->value.GetInt64() : otherwise;
}

/// Seconds that a child took: what cannot be one (negative, more than thirty years) is none.
double seconds_of(const rapidjson::Value& object, const char* name) {
    constexpr double most = 1e9;
    auto member = object.FindMember(name);
    if (member == object.MemberEnd() || !member->value.IsNumber()) return 0;
    auto value = member->value.GetDouble();
    return value >= 0 && value <= most ? value : 0;
}

/// Seconds since 1970; 0: unknown, or behind the year 9999.
std::int64_t time_of(const rapidjson::Value& object, const char* name) {
    constexpr std::int64_t latest = 253'402'300'799;
    auto value = integer_of(object, name, 0);
    return value >= 0 && value <= latest ? value : 0;
}

std::uint64_t bytes_of(const rapidjson::Value& object, const char* name) {
    return static_cast<std::uint64_t>(std::max<std::int64_t>(integer_of(object, name, 0), 0));
}

bool boolean_of(const rapidjson::Value& object, const char* name, bool otherwise) {
    auto member = object.FindMember(name);
    return member != object.MemberEnd() && member->value.IsBool() ? member->value.GetBool() : otherwise;
}

template <class Each>
void each_of(const rapidjson::Value& object, const char* name, Each each) {
    auto member = object.FindMember(name);
    if (member == object.MemberEnd() || !member->value.IsArray()) return;
    for (const auto& element : member->value.GetArray()) each(element);
}

std::vector<std::string> texts_of(const rapidjson::Value& object, const char* name) {
    std::vector<std::string> out;
    each_of(object, name, [&](const rapidjson::Value& v) {
        if (v.IsString()) out.emplace_back(v.GetString(), v.GetStringLength());
    });
    return out;
}

Signature signature_of(const rapidjson::Value& json) {
    Signature s;
    s.id = text_of(json, "id");
    s.klass = text_of(json, "class");
    s.kind = text_of(json, "kind");
    s.message = text_of(json, "message");
    s.shape = text_of(json, "shape");
    s.text = text_of(json, "text");
    s.ordered = boolean_of(json, "ordered", true);
    s.context = texts_of(json, "context");
    s.notes = texts_of(json, "notes");
    each_of(json, "frames", [&](const rapidjson::Value& f) {
        constexpr std::size_t most = 64;  // ten times what this version writes: comparing two stacks is quadratic
        if (!f.IsObject() || s.frames.size() >= most) return;
        auto offset = text_of(f, "offset");
        s.frames.push_back({text_of(f, "text"), text_of(f, "module"),
                            offset.empty() ? 0 : std::strtoull(offset.c_str(), nullptr, 16),
                            boolean_of(f, "named", true)});
    });
    return s;
}

Verdict verdict_of(const rapidjson::Value& json) {
    Verdict v;
    v.program = text_of(json, "program");
    v.executable = text_of(json, "executable");
    v.build_id = text_of(json, "build_id");
    v.go = text_of(json, "go");
    v.stripped = boolean_of(json, "stripped", false);
    v.what = text_of(json, "what");
    v.where = text_of(json, "where");
    v.why = text_of(json, "why");
    v.awaited = text_of(json, "awaited");
    v.excerpt = text_of(json, "excerpt");
    v.gaps = texts_of(json, "gaps");
    each_of(json, "findings", [&](const rapidjson::Value& f) {
        if (f.IsObject())
            v.findings.push_back(
                {text_of(f, "kind"), text_of(f, "severity"), text_of(f, "strength"), text_of(f, "title")});
    });
    if (auto s = json.FindMember("signature"); s != json.MemberEnd() && s->value.IsObject()) {
        v.signature = signature_of(s->value);
        v.signature.program = normal_program(v.program);
    }
    return v;
}

std::expected<rapidjson::Document, std::string> document_of(std::string_view text, std::string_view schema) {
    rapidjson::Document document;
    document.Parse<rapidjson::kParseIterativeFlag>(text.data(), text.size());
    if (document.HasParseError())
        return std::unexpected(std::string(rapidjson::GetParseError_En(document.GetParseError())));
    if (!document.IsObject() || text_of(document, "schema") != schema)
        return std::unexpected(fmt::format("it is not of the schema {}", schema));
    return document;
}

}  // namespace

std::string_view to_string(Outcome outcome) {
    constexpr std::array<std::string_view, outcomes.size()> words{"analysed",      "unusable", "out-of-time",
                                                                  "out-of-memory", "died",     "failed"};
    return words[static_cast<std::size_t>(outcome)];
}

void render_verdict(const report::Report& report, const Signature& signature, report::Severity min_severity,
                    const report::Sink& sink) {
    JsonWriter json(sink);
    json.begin_object();
    json.string("schema", verdict_schema);
    json.begin_object("tool");
    json.string("name", report.tool.name);
    json.text("version", report.tool.version);
    json.end_object();
    const auto& executable = report.input.executable;
    json.text("program", executable ? base_name(executable->path) : std::string_view(report.input.core.program));
    json.text("executable", executable ? std::string_view(executable->path) : std::string_view());
    json.text("build_id", executable && executable->build_id ? std::string_view(*executable->build_id) : "");
    json.text("go", report.runtime.go ? std::string_view(report.runtime.go->version) : std::string_view());
    json.boolean("stripped", report.runtime.go && report.runtime.go->debug_info == "stripped");
    json.integer("pid", report.input.core.pid);
    if (report.input.core.truncated)
        json.number("truncated_at", report.input.core.truncated->at);
    else
        json.null("truncated_at");
    write_signature(json, signature);
    auto [what, where, why] = answer_of(report, signature);
    json.text("what", what);
    json.text("where", where);
    json.text("why", why);
    json.begin_array("findings");
    for (const auto& f : report.findings) {
        json.begin_object();
        json.string("kind", f.kind);
        json.string("severity", to_string(f.severity));
        json.string("strength", to_string(f.strength));
        json.string("title", f.title);
        json.end_object();
    }
    json.end_array();
    std::vector<std::string> gaps;
    constexpr std::size_t most_gaps = 8;
    for (const auto& gap : report.gaps)
        if (gap.damage && gaps.size() < most_gaps) gaps.push_back(gap.what + (gap.why.empty() ? "" : ": " + gap.why));
    json.strings("gaps", gaps);
    json.text("awaited", signature.klass == "requested" ? report::most_awaited(report) : std::string());
    json.text("excerpt", excerpt_of(report, signature, min_severity));
    json.end_object();
    json.finish();
}

std::string record_line(const Record& r, std::string_view verdict_json) {
    std::string out;
    report::Sink sink = [&](std::string_view text) { return out += text, true; };
    {
        JsonWriter json(sink);
        json.begin_object();
        json.string("schema", record_schema);
        json.string("digest", r.digest);
        json.string("path", r.path);
        json.text("copy_of", r.copy_of);
        json.number("size", r.size);
        if (r.time != 0)
            json.integer("time", r.time);
        else
            json.null("time");
        json.text("program", r.name.program);
        json.integer("pid", r.name.pid);
        json.string("outcome", to_string(r.outcome));
        if (r.exit >= 0)
            json.integer("exit", r.exit);
        else
            json.null("exit");
        json.text("reason", r.reason);
        json.real("seconds", r.seconds);
        json.real("cpu_seconds", r.cpu_seconds);
        if (r.peak_bytes != 0)
            json.number("peak_bytes", r.peak_bytes);
        else
            json.null("peak_bytes");
        while (!verdict_json.empty() && verdict_json.back() == '\n') verdict_json.remove_suffix(1);
        json.raw("verdict", verdict_json.empty() ? std::string_view("null") : verdict_json);
        json.end_object();
        json.finish();
    }
    // One line whatever the child wrote: outside of strings a line break is white space, inside it is escaped.
    std::replace(out.begin(), out.end() - 1, '\n', ' ');
    return out;
}

std::expected<Verdict, std::string> parse_verdict(std::string_view json) {
    auto document = document_of(json, verdict_schema);
    if (!document) return std::unexpected(document.error());
    return verdict_of(*document);
}

std::expected<Record, std::string> parse_record(std::string_view line) {
    auto document = document_of(line, record_schema);
    if (!document) return std::unexpected(document.error());
    const auto& json = *document;
    Record r;
    r.digest = text_of(json, "digest");
    r.path = text_of(json, "path");
    if (r.digest.empty()) return std::unexpected("it has no digest");
    r.copy_of = text_of(json, "copy_of");
    r.size = bytes_of(json, "size");
    r.time = time_of(json, "time");
    r.name.program = text_of(json, "program");
    if (auto pid = integer_of(json, "pid", -1); pid >= 0) r.name.pid = pid;
    auto word = text_of(json, "outcome");
    for (auto outcome : outcomes)
        if (to_string(outcome) == word) r.outcome = outcome;
    r.exit = static_cast<int>(integer_of(json, "exit", -1));
    r.reason = text_of(json, "reason");
    r.seconds = seconds_of(json, "seconds");
    r.cpu_seconds = seconds_of(json, "cpu_seconds");
    r.peak_bytes = bytes_of(json, "peak_bytes");
    if (auto v = json.FindMember("verdict"); v != json.MemberEnd() && v->value.IsObject())
        r.verdict = verdict_of(v->value);
    return r;
}

}  // namespace incident::triage
