// CLI11 does the parsing; what it cannot know is here: usage lines that read as the contract's, CORE and EXE in any
// order, and what an option's value may be.
#include "cli/invocation.h"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <sstream>
#include <tuple>

#include "cli/operands.h"
#include "report/explain.h"
#include "report/verdict.h"

namespace incident::cli {

namespace {

using report::Severity;

constexpr std::string_view exit_codes =
    "Exit code: 0 nothing at or above --min-severity; 1 findings; 2 usage, or the core cannot be analysed at all;\n"
    "3 nothing found, but the input was damaged or incomplete, so that silence must not be read as health.";

std::string usage_of(const CommandRow& row) {
    return fmt::format("incident {}{}{} [options]", row.name, row.usage.empty() ? "" : " ", row.usage);
}

/// Of commands that look for no findings.
constexpr std::string_view list_exit_codes =
    "Exit code: 0 the whole answer; 2 usage, or the core cannot be analysed at all; 3 the input was damaged or\n"
    "incomplete, and so may the answer be.";

class UsageFormatter : public CLI::Formatter {
public:
    UsageFormatter() {
        column_width(28);
        label("REQUIRED", "");
    }
    std::string make_usage(const CLI::App* app, std::string) const override {
        if (const auto* row = find_command(app->get_name()); row != nullptr && app->get_parent() != nullptr)
            return fmt::format("Usage: {}\n", usage_of(*row));
        return "Usage: incident COMMAND CORE [EXE] [options]\n";
    }
    std::string make_help(const CLI::App* app, std::string name, CLI::AppFormatMode mode) const override {
        auto text = CLI::Formatter::make_help(app, std::move(name), mode);
        // Of a group without a heading, such as the operands', two newlines are left.
        for (auto gap = text.find("\n\n\n"); gap != std::string::npos; gap = text.find("\n\n\n", gap))
            text.erase(gap, 1);
        return text;
    }
    std::string make_option_opts(const CLI::Option* option) const override {
        return option->get_type_name().empty() ? std::string() : " " + option->get_type_name();
    }
};

std::span<const std::string_view> formats_of(const CommandRow& row) {
    return std::span(all_formats).first(row.formats);
}

/// "terminal, json or markdown"; `after_first` behind the first.
std::string listed(std::span<const std::string_view> words, std::string_view after_first = "") {
    std::string out;
    for (std::size_t i = 0; i < words.size(); ++i)
        out += fmt::format("{}{}{}",
                           i == 0                  ? ""
                           : i + 1 == words.size() ? " or "
                                                   : ", ",
                           words[i], i == 0 ? after_first : "");
    return out;
}

struct Raw {
    std::vector<std::string> words, only, skip;
    std::string language = "en", min_severity = "warning", max_spool;
    std::string roots, object;
};

void add_input_options(CLI::App& sub, const CommandRow& row, Invocation& inv, Raw& raw) {
    const bool many = !row.command;
    sub.option_defaults()->group("Input");
    auto& images = inv.analyze.images;
    sub.add_option("--sysroot", images.sysroots, "where the crashed machine's files are")
        ->type_name("DIR")
        ->allow_extra_args(false);
    sub.add_option("--debug-dir", images.debug_dirs, "separate debug files, searched before /usr/lib/debug")
        ->type_name("DIR")
        ->allow_extra_args(false);
    sub.add_flag("--allow-mismatch", images.allow_mismatch,
                 "use a wrong executable; what it says is marked unverified");
    sub.add_flag("--debuginfod", images.debuginfod,
                 "ask debuginfod servers for missing files (the only use of a network)");
    sub.add_option("--max-spool", raw.max_spool, "most that decompression may write below $TMPDIR (64G)")
        ->type_name("SIZE");
    sub.add_option("--jobs", inv.analyze.jobs,
                   many ? "cores at a time (0: one per processor)" : "worker threads (0: one per processor)")
        ->type_name("N");
    if (!many) sub.add_flag("--trace", inv.analyze.trace, "every rejected frame and field, with its reason, on stderr");
}

void add_color(CLI::App& sub, Invocation& inv) {
    sub.add_option("--color", inv.color, "auto (default), always or never; NO_COLOR is heeded")->type_name("WHEN");
}

void add_output_options(CLI::App& sub, const CommandRow& row, Invocation& inv, Raw& raw) {
    sub.option_defaults()->group("Output");
    sub.add_option("--format", inv.format, listed(formats_of(row), " (default)"))->type_name("FORMAT");
    sub.add_option("-o,--output", inv.output, "write the result to FILE")->type_name("FILE");
    sub.add_option("--json", inv.json_output, "write the JSON to FILE, beside the human report")->type_name("FILE");
    if (row.command && row.formats > 3)
        sub.add_flag("--all", inv.render.all, "elide nothing: runtime frames, every goroutine, whole paths");
    sub.add_option("--lang", raw.language, "language of the human report: en")->type_name("LANG");
    add_color(sub, inv);
    sub.add_option("--progress", inv.progress, "auto (default: on a terminal) or never")->type_name("WHEN");
}

/// The contract lets every question to a core be asked with these; those that look for no findings do not list them.
void add_finding_options(CLI::App& sub, bool listed, Raw& raw) {
    sub.option_defaults()->group(listed ? "Findings" : "");
    sub.add_option("--min-severity", raw.min_severity,
                   "info, warning (default) or error: what counts for the exit code")
        ->type_name("LEVEL");
    sub.add_option("--only", raw.only, "only these finding kinds or prefixes: go.mutex,crash")
        ->type_name("KIND")
        ->delimiter(',')
        ->allow_extra_args(false);
    sub.add_option("--skip", raw.skip, "not these finding kinds or prefixes")
        ->type_name("KIND")
        ->delimiter(',')
        ->allow_extra_args(false);
}

/// What only this question to a core takes.
void add_own_options(CLI::App& sub, const CommandRow& row, Invocation& inv, Raw& raw) {
    if (row.name == "goroutines") {
        sub.add_flag("--stacks", inv.render.stacks, "with the frames of each");
        sub.add_flag("--group", inv.render.group, "goroutines with equal stacks together");
    }
    if (row.name == "heap") {
        sub.add_flag("--retained", inv.analyze.retained,
                     "what alone keeps how much alive: variables, goroutines, objects, types");
        sub.add_option("--roots", raw.roots, "who keeps the object at ADDR alive, in Go's terms")->type_name("ADDR");
        sub.add_option("--object", raw.object, "the object at ADDR: type, state, fields")->type_name("ADDR");
        sub.add_option("--pprof", inv.analyze.pprof_path, "write the heap by type for `go tool pprof`")
            ->type_name("FILE");
    }
    if (row.name == "locks")
        sub.add_flag(
            "--held", inv.analyze.held,
            "also locks that nobody waits for, in package variables and on the Go heap: takes as long as heap");
    if (row.name == "maps")
        sub.add_flag("--summary", inv.analyze.summary, "one account of memory: every byte of the core file, once");
}

void add_command(CLI::App& app, const CommandRow& row, Invocation& inv, Raw& raw) {
    auto* sub = app.add_subcommand(std::string(row.name), std::string(row.summary));
    if (row.name == "explain") {
        sub->add_option("kind", inv.kind, "")->group("");
        add_color(*sub, inv);
        sub->footer("Without KIND: every kind. A prefix such as go.mutex shows all below it.");
        return;
    }
    if (row.command) {
        sub->add_option("operands", raw.words, "")->group("");
        add_own_options(*sub, row, inv, raw);
    } else {
        add_triage_options(*sub, row, inv.triage);
    }
    if ((row.options & runbook_option) != 0)
        sub->add_option("--runbook", inv.runbook, "print the step of this runbook (TOML) under each finding")
            ->type_name("FILE");
    if ((row.options & input_options) != 0) add_input_options(*sub, row, inv, raw);
    if ((row.options & output_options) != 0) add_output_options(*sub, row, inv, raw);
    const bool judges = (row.options & finding_options) != 0;
    if (judges || (row.command && (row.options & output_options) != 0)) add_finding_options(*sub, judges, raw);
    if (row.name == "collect")
        sub->footer("Never waits without a bound; see docs/runbook.md for core_pattern.");
    else if (row.name == "doctor")
        sub->footer("Exit code: 0 cores would be left whole; 1 something is to be changed.");
    else if (row.name != "serve")
        sub->footer(std::string(judges || row.name == "merge" ? exit_codes : list_exit_codes));
}

std::optional<Severity> severity_of(std::string_view word) {
    for (auto s : {Severity::info, Severity::warning, Severity::error})
        if (to_string(s) == word) return s;
    return std::nullopt;
}

/// What each child of triage is told, as the user said it.
std::vector<std::string> engine_words(const Invocation& inv, const Raw& raw) {
    std::vector<std::string> out;
    auto option = [&](const char* name, const std::string& value) {
        if (!value.empty()) out.insert(out.end(), {name, value});
    };
    for (const auto& dir : inv.analyze.images.sysroots) option("--sysroot", dir);
    for (const auto& dir : inv.analyze.images.debug_dirs) option("--debug-dir", dir);
    if (inv.analyze.images.allow_mismatch) out.emplace_back("--allow-mismatch");
    if (inv.analyze.images.debuginfod) out.emplace_back("--debuginfod");
    option("--max-spool", raw.max_spool);
    option("--min-severity", raw.min_severity);
    for (const auto& kind : raw.only) option("--only", kind);
    for (const auto& kind : raw.skip) option("--skip", kind);
    return out;
}

/// Everything that CLI11 accepted and the contract does not; empty when all is well.
std::string complete(Invocation& inv, const Raw& raw) {
    const auto& row = *inv.row;
    if (inv.color != "auto" && inv.color != "always" && inv.color != "never")
        return fmt::format("--color takes auto, always or never, not '{}'", inv.color);
    if (const auto own = formats_of(row); !own.empty() && std::ranges::find(own, inv.format) == own.end()) {
        const bool known = std::ranges::find(all_formats, inv.format) != all_formats.end();
        return fmt::format("{} no format '{}': {}", known ? fmt::format("{} has", row.name) : "there is", inv.format,
                           listed(own));
    }
    if (raw.language == "zh") return "the language 'zh' is not built yet";
    if (raw.language != "en") return fmt::format("there is no language '{}'", raw.language);
    if (inv.progress != "auto" && inv.progress != "never")
        return fmt::format("--progress takes auto or never, not '{}'", inv.progress);
    auto severity = severity_of(raw.min_severity);
    if (!severity) return fmt::format("--min-severity takes info, warning or error, not '{}'", raw.min_severity);
    // A kind that is none selects nothing: a slip of the pen must not read as health.
    for (auto [kinds, option] : {std::pair(&raw.only, "--only"), std::pair(&raw.skip, "--skip")})
        for (const auto& kind : *kinds)
            if (!report::names_a_kind(kind))
                return fmt::format("{}: no finding kind is called '{}'; 'incident explain' lists them", option, kind);
    if (!raw.max_spool.empty()) {
        auto size = parse_size(raw.max_spool);
        if (!size) return fmt::format("--max-spool takes a size such as 64G, not '{}'", raw.max_spool);
        inv.analyze.open.max_spool = *size;
    }
    if (!row.command) {
        inv.triage.engine = engine_words(inv, raw);
        return complete_triage(row, inv.triage);
    }

    auto& analyze = inv.analyze;
    analyze.command = *row.command;
    analyze.min_severity = inv.render.min_severity = *severity;
    analyze.stacks = inv.render.stacks || inv.render.group;
    analyze.only = raw.only;
    analyze.skip = raw.skip;
    for (auto [text, place, option] :
         {std::tuple(&raw.roots, &analyze.roots, "--roots"), std::tuple(&raw.object, &analyze.object, "--object")}) {
        if (text->empty()) continue;
        auto number = parse_number(*text, true);
        if (!number) return fmt::format("{} takes an address such as 0xc000012340, not '{}'", option, *text);
        *place = Address{*number};
    }
    auto operands = sort_operands(row, raw.words);
    if (!operands) return operands.error();
    analyze.core_path = operands->core;
    analyze.images.executable = operands->exe;
    const std::uint64_t largest = row.extra == Extra::thread_id      ? INT32_MAX
                                  : row.extra == Extra::goroutine_id ? INT64_MAX
                                                                     : UINT64_MAX;
    if (operands->number && *operands->number > largest)
        return fmt::format("{}: {} is no id of this kind", row.name, *operands->number);
    if (operands->number) {
        switch (row.extra) {
            case Extra::goroutine_id: analyze.goroutine = static_cast<std::int64_t>(*operands->number); break;
            case Extra::thread_id: analyze.thread = static_cast<std::int32_t>(*operands->number); break;
            default: analyze.address = Address{*operands->number};
        }
    }
    if (operands->count) {
        if (*operands->count == 0 || *operands->count > 1'000'000) return "read: N is a number of words, 1 to 1000000";
        analyze.words = static_cast<std::size_t>(*operands->count);
    }
    return {};
}

Parsed usage_error(Parsed parsed, const std::string& message) {
    parsed.exit = report::exit_unusable;
    parsed.err = fmt::format("incident: {}\n", message);
    return parsed;
}

}  // namespace

Parsed parse(const std::vector<std::string>& arguments) {
    Parsed parsed;
    auto& inv = parsed.invocation;
    Raw raw;

    // "triage merge STORE…" is how the words come to mind; a folder of that name is a folder.
    if (arguments.size() > 2 && arguments[0] == "triage" && arguments[1] == "merge" &&
        file_kind("merge") == FileKind::unreadable && !std::filesystem::exists("merge")) {
        std::vector<std::string> merge(arguments.begin() + 1, arguments.end());
        return parse(merge);
    }

    // The kernel's words are no options, even if a program is called --help.
    if (!arguments.empty() && arguments[0] == "collect" && std::ranges::find(arguments, "--") == arguments.end()) {
        auto is_number = [](const std::string& word) {
            return !word.empty() && word.find_first_not_of("0123456789") == std::string::npos;
        };
        for (std::size_t i = 1; i + 2 < arguments.size(); ++i) {
            if (!is_number(arguments[i]) || !is_number(arguments[i + 1]) || !is_number(arguments[i + 2])) continue;
            std::vector<std::string> guarded = arguments;
            guarded.insert(guarded.begin() + static_cast<std::ptrdiff_t>(i), "--");
            return parse(guarded);
        }
    }

    // Before CLI11 sees it: the commonest slip, a core where a command belongs.
    if (!arguments.empty() && !arguments[0].starts_with("-")) {
        inv.row = find_command(arguments[0]);
        if (inv.row == nullptr) {
            auto hint = file_kind(arguments[0]) != FileKind::unreadable
                            ? fmt::format(": did you mean 'incident analyze {}'?", arguments[0])
                            : std::string(": see incident --help");
            return usage_error(std::move(parsed), fmt::format("there is no command '{}'{}", arguments[0], hint));
        }
    }

    if (arguments.empty())
        return usage_error(std::move(parsed),
                           "usage: incident COMMAND CORE, such as 'incident analyze CORE'; see incident --help");

    CLI::App app(
        "Says what happened in a core file of a Go, C or C++ service: what, where, why, and what is not known.",
        "incident");
    app.formatter(std::make_shared<UsageFormatter>());
    app.set_version_flag("--version", std::string("incident ") + INCIDENT_VERSION);
    app.set_help_flag("-h,--help", "this text");
    app.get_help_ptr()->configurable(false);
    app.require_subcommand(1);
    app.footer(
        "A compressed core (zstd, xz, lz4, gzip) is read as it is, '-' is stdin. EXE is found by build-id when it is "
        "left out.\n" +
        std::string(exit_codes));
    for (const auto& row : commands()) add_command(app, row, inv, raw);

    try {
        auto reversed = std::vector<std::string>(arguments.rbegin(), arguments.rend());
        app.parse(reversed);
    } catch (const CLI::ParseError& e) {
        std::ostringstream out, err;
        int code = app.exit(e, out, err);
        parsed.exit = code == 0 ? 0 : report::exit_unusable;
        parsed.out = out.str();
        parsed.err = code == 0 ? err.str() : fmt::format("incident: {}\n", e.what());
        return parsed;
    }
    if (auto no = complete(inv, raw); !no.empty()) return usage_error(std::move(parsed), no);
    return parsed;
}

}  // namespace incident::cli
