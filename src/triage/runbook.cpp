#include "triage/runbook.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "report/explain.h"
#include "triage/rules.h"
#include "triage/toml_file.h"

namespace incident::triage {

namespace {

constexpr std::array<std::string_view, 6> known_keys{"kind", "signature", "title", "steps", "links", "owner"};

bool names_a_kind(std::string_view pattern) {
    return std::ranges::any_of(report::explanations(),
                               [&](const report::Explanation& e) { return matches(pattern, e.kind); });
}

/// How well an entry fits; 0: not at all.
std::size_t fit(const RunbookEntry& entry, std::string_view kind, const Signature* signature) {
    std::size_t best = 0;
    for (const auto& pattern : entry.kinds)
        if (matches(pattern, kind)) best = std::max(best, 1 + pattern.size() + (pattern == kind ? 1000 : 0));
    if (entry.kinds.empty()) best = 1;
    if (best == 0 || entry.signatures.empty()) return best;
    if (signature == nullptr || signature->kind != kind) return 0;
    for (const auto& pattern : entry.signatures)
        if (pattern == signature->id || matches(pattern, signature->text)) return best + 100'000 + pattern.size();
    return 0;
}

}  // namespace

std::expected<Runbook, std::string> Runbook::parse(std::string_view text, std::string_view source) {
    auto tables = toml_tables(text, "entry", source);
    if (!tables) return std::unexpected(tables.error());
    Runbook book;
    for (const auto& t : *tables) {
        auto wrong = [&](const std::string& what) {
            return std::unexpected(fmt::format("{}: line {}: {}", source, t.line, what));
        };
        for (const auto& [key, values] : t.values)
            if (std::ranges::find(known_keys, key) == known_keys.end())
                return wrong(fmt::format("there is no key '{}' in an entry", key));
        RunbookEntry entry{t.list("kind"),
                           t.list("signature"),
                           {std::string(t.get("title")), std::string(t.get("owner")), t.list("steps"), t.list("links")},
                           t.line};
        if (entry.kinds.empty() && entry.signatures.empty()) return wrong("an entry needs a kind or a signature");
        for (const auto& kind : entry.kinds)
            if (!names_a_kind(kind))
                return wrong(fmt::format("no finding kind is called '{}'; 'incident explain' lists them", kind));
        if (entry.step.title.empty() && entry.step.steps.empty() && entry.step.links.empty())
            return wrong("an entry needs a title, steps or links");
        book.entries_.push_back(std::move(entry));
    }
    if (book.entries_.empty()) return std::unexpected(fmt::format("{}: it has no [[entry]]", source));
    return book;
}

std::expected<Runbook, std::string> Runbook::load(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::stringstream text;
    if (file) text << file.rdbuf();
    if (!file) return std::unexpected(fmt::format("cannot read {}: {}", path, std::strerror(errno)));
    return parse(text.str(), path);
}

const RunbookEntry* Runbook::find(std::string_view kind, const Signature* signature) const {
    const RunbookEntry* best = nullptr;
    std::size_t most = 0;
    for (const auto& entry : entries_) {
        auto here = fit(entry, kind, signature);
        if (here > most) {
            most = here;
            best = &entry;
        }
    }
    return best;
}

report::RunbookSteps Runbook::steps_for(const report::Report& report) const {
    report::RunbookSteps steps;
    auto signature = sign(report);
    for (const auto& finding : report.findings)
        if (const auto* entry = find(finding.kind, &signature)) steps.emplace(&finding, entry->step);
    return steps;
}

}  // namespace incident::triage
