// JSON: the Report, field by field, under the contract's names. docs/incident-report-1.schema.json describes the result
// and a test holds the two together. Nothing is filtered here: what a person may hide with an option, a program must
// see.
#include "report/json.h"

#include <fmt/format.h>

#include "report/verdict.h"

namespace incident::report {

void JsonWriter::strings(std::string_view name, const std::vector<std::string>& values) {
    begin_array(name);
    bool sound = true;
    for (const auto& value : values) {
        string_value(value);
        sound = sound && is_valid_utf8(value);
    }
    end_array();
    if (sound) return;
    begin_array(std::string(name) + "_hex");
    for (const auto& value : values) {
        if (is_valid_utf8(value))
            writer_.Null();
        else
            string_value(bytes_as_hex(value));
    }
    end_array();
}

std::string JsonWriter::bytes_as_hex(std::string_view bytes) {
    std::string out;
    out.reserve(bytes.size() * 2);
    for (char c : bytes) fmt::format_to(std::back_inserter(out), "{:02x}", static_cast<unsigned char>(c));
    return out;
}

namespace {

void write_module(JsonWriter& json, const Module& module) {
    json.string("path", module.path);
    json.text("build_id", module.build_id);
    json.string("status", to_string(module.status));
    json.text("found_at", module.found_at);
    json.text("note", module.note);
}

void write_runtime(JsonWriter& json, const Runtime& runtime) {
    json.begin_object("runtime");
    if (runtime.go) {
        json.begin_object("go");
        json.string("version", runtime.go->version);
        json.text("layout", runtime.go->layout);
        json.text("debug_info", runtime.go->debug_info);
        json.text("variant", runtime.go->variant);
        json.end_object();
    } else {
        json.null("go");
    }
    if (runtime.libc) {
        json.begin_object("libc");
        json.string("name", runtime.libc->name);
        json.text("version", runtime.libc->version);
        json.end_object();
    } else {
        json.null("libc");
    }
    json.end_object();
}

void write_detector(JsonWriter& json, const DetectorOutcome& detector) {
    json.begin_object();
    json.string("id", detector.id);
    json.string("outcome", to_string(detector.outcome));
    json.begin_object("coverage");
    json.number("checked", detector.checked);
    json.number("unchecked", detector.unchecked);
    json.end_object();
    json.text("reason", detector.reason);
    json.end_object();
}

void write_gap(JsonWriter& json, const Gap& gap) {
    json.begin_object();
    json.string("what", gap.what);
    json.text("why", gap.why);
    json.text("weakens", gap.weakens);
    json.boolean("damage", gap.damage);
    json.end_object();
}

void write_location(JsonWriter& json, const Location& location) {
    json.begin_object("location");
    json.address("address", location.address);
    json.string("kind", location.kind);
    json.text("text", location.text);
    json.begin_array("details");
    for (const auto& [name, value] : location.details) {
        json.begin_object();
        json.string("name", name);
        json.string("value", value);
        json.end_object();
    }
    json.end_array();
    json.end_object();
}

void write_word(JsonWriter& json, const Word& word) {
    json.begin_object();
    json.address("address", word.address);
    if (word.value)
        json.hex("value", *word.value);
    else
        json.null("value");
    json.text("symbol", word.symbol);
    json.text("points_to", word.points_to);
    json.text("origin", word.origin);
    json.end_object();
}

/// One element per line; stops when the reader is gone.
template <class T, class Write>
void write_lines(JsonWriter& json, std::string_view name, const std::vector<T>& elements, Write write) {
    json.new_line();
    json.begin_array(name);
    for (const auto& element : elements) {
        if (!json.alive()) break;
        json.new_line();
        write(json, element);
    }
    json.end_array();
}

template <class T, class Write>
void write_lines(JsonWriter& json, std::string_view name, const std::optional<std::vector<T>>& elements, Write write) {
    if (elements) return write_lines(json, name, *elements, write);
    json.new_line();
    json.null(name);
}

void write_judgement(JsonWriter& json, const Report& report, const RenderOptions& options) {
    if (!judged(report)) {
        json.new_line();
        json.null("findings");
        json.new_line();
        json.null("detectors");
        return;
    }
    write_lines(json, "findings", report.findings, [&](JsonWriter& out, const Finding& finding) {
        write_finding(out, finding, options.runbook_for(finding));
    });
    write_lines(json, "detectors", report.detectors, write_detector);
}

}  // namespace

void write_input(JsonWriter& json, const Input& input) {
    json.begin_object("input");
    json.begin_object("core");
    json.string("path", input.core.path);
    json.number("size", input.core.size);
    json.string("compression", input.core.compression.empty() ? "none" : std::string_view(input.core.compression));
    json.text("arch", input.core.arch);
    json.integer("pid", input.core.pid);
    json.text("program", input.core.program);
    json.text("arguments", input.core.arguments);
    if (input.core.truncated) {
        json.begin_object("truncated");
        json.number("at", input.core.truncated->at);
        json.number("missing_bytes", input.core.truncated->missing_bytes);
        json.end_object();
    } else {
        json.null("truncated");
    }
    json.end_object();
    if (input.executable) {
        json.begin_object("executable");
        write_module(json, *input.executable);
        json.end_object();
    } else {
        json.null("executable");
    }
    json.begin_array("modules");
    for (const auto& module : input.modules) {
        json.new_line();
        json.begin_object();
        write_module(json, module);
        json.end_object();
    }
    json.end_array();
    json.end_object();
}

void render_json(const Report& report, const RenderOptions& options, const Sink& sink) {
    JsonWriter json(sink);
    json.begin_object();
    json.string("schema", schema);
    json.text("command", report.command);
    json.begin_object("tool");
    json.string("name", report.tool.name);
    json.text("version", report.tool.version);
    json.end_object();
    json.new_line();
    write_input(json, report.input);
    json.new_line();
    write_runtime(json, report.runtime);
    json.new_line();
    if (report.crash)
        write_crash(json, *report.crash);
    else
        json.null("crash");
    write_lines(json, "threads", report.threads, write_thread);
    write_lines(json, "goroutines", report.goroutines, write_goroutine);
    write_lines(json, "locks", report.locks, write_lock);
    json.new_line();
    if (report.wait_graph)
        write_wait_graph(json, *report.wait_graph);
    else
        json.null("wait_graph");
    json.new_line();
    if (report.heap)
        write_heap(json, *report.heap);
    else
        json.null("heap");
    write_lines(json, "maps", report.maps, write_mapping);
    write_judgement(json, report, options);
    write_lines(json, "gaps", report.gaps, write_gap);
    if (report.memory) json.new_line(), write_memory(json, *report.memory);
    if (report.location) json.new_line(), write_location(json, *report.location);
    if (report.words) write_lines(json, "words", report.words, write_word);
    json.end_object();
    json.finish();
}

}  // namespace incident::report
