#include "report/json_writer.h"
#include "triage/runbook.h"
#include "triage/summary_totals.h"

namespace incident::triage {

using report::JsonWriter;

void render_summary_json(const Summary& s, const report::Sink& sink) {
    auto t = totals_of(s);
    const auto& records = s.result.records;
    JsonWriter json(sink);
    json.begin_object();
    json.string("schema", summary_schema);
    json.begin_object("tool");
    json.string("name", "incident");
    json.text("version", s.version);
    json.end_object();
    json.begin_object("totals");
    json.number("cores", t.cores);
    json.number("analysed", t.analysed);
    json.number("copies", t.copies);
    json.number("quiet", t.quiet);
    json.number("doubtful", t.doubtful.size());
    json.number("other_shards", s.result.other_shards);
    json.number("known_before", s.result.known_before);
    json.begin_object("not_analysed");
    for (auto outcome :
         {Outcome::unusable, Outcome::out_of_time, Outcome::out_of_memory, Outcome::died, Outcome::failed})
        json.number(to_string(outcome), t.lost.contains(outcome) ? t.lost[outcome].size() : 0);
    json.end_object();
    json.real("seconds", s.seconds);
    json.real("cpu_seconds", t.cpu);
    json.end_object();
    auto time = [&](std::string_view name, std::int64_t value) {
        if (value > 0)
            json.integer(name, value);
        else
            json.null(name);
    };
    json.new_line();
    json.begin_array("clusters");
    for (const auto& c : s.clustering.clusters) {
        const auto& example = records[c.example];
        const auto& v = *example.verdict;
        json.new_line();
        json.begin_object();
        json.string("id", c.variants.front().signature.id);
        json.number("cores", c.records.size());
        json.boolean("new", c.is_new);
        json.string("class", v.signature.klass);
        json.string("kind", v.signature.kind);
        json.string("signature", c.variants.front().signature.text);
        time("first_seen", c.first_seen);
        time("last_seen", c.last_seen);
        json.begin_array("variants");
        for (const auto& variant : c.variants) {
            json.begin_object();
            json.string("id", variant.signature.id);
            json.string("signature", variant.signature.text);
            json.number("cores", variant.records.size());
            json.text("reason", variant.reason);
            std::vector<std::string> paths;
            for (auto i : variant.records) paths.push_back(records[i].path);
            json.strings("paths", paths);
            json.end_object();
        }
        json.end_array();
        json.begin_object("example");
        json.string("path", example.path);
        json.string("digest", example.digest);
        json.text("what", v.what);
        json.text("where", v.where);
        json.text("why", v.why);
        json.text("program", v.program);
        json.text("go", v.go);
        json.text("excerpt", v.excerpt);
        json.end_object();
        const RunbookEntry* entry = s.runbook != nullptr ? s.runbook->find(v.signature.kind, &v.signature) : nullptr;
        if (entry != nullptr) {
            json.begin_object("runbook");
            json.text("title", entry->step.title);
            json.text("owner", entry->step.owner);
            json.strings("steps", entry->step.steps);
            json.strings("links", entry->step.links);
            json.end_object();
        } else {
            json.null("runbook");
        }
        json.end_object();
    }
    json.end_array();
    json.new_line();
    std::vector<std::string> quiet;
    for (auto i : s.clustering.quiet) quiet.push_back(records[i].path);
    json.strings("quiet", quiet);
    json.begin_array("awaited");
    for (auto i : t.awaited) {
        json.new_line();
        json.begin_object();
        json.string("path", records[i].path);
        json.string("awaited", records[i].verdict->awaited);
        json.end_object();
    }
    json.end_array();
    json.new_line();
    json.begin_array("not_analysed");
    for (const auto& [outcome, which] : t.lost) {
        for (auto i : which) {
            json.new_line();
            json.begin_object();
            json.string("path", records[i].path);
            json.string("digest", records[i].digest);
            json.string("outcome", to_string(outcome));
            json.text("reason", records[i].reason);
            json.end_object();
        }
    }
    json.end_array();
    json.strings("complaints", s.result.complaints);
    json.end_object();
    json.finish();
}

}  // namespace incident::triage
