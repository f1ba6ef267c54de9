#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <optional>

#include "base/parallel.h"
#include "base/text.h"
#include "cli/answer.h"
#include "cli/invocation.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/triage_cli.h"
#include "report/verdict.h"
#include "triage/collect.h"
#include "triage/doctor.h"
#include "triage/store.h"
#include "triage/summary.h"
#include "triage/triage.h"

namespace incident::cli {

namespace {

std::string own_path() {
    char path[4096];
    auto length = ::readlink("/proc/self/exe", path, sizeof path - 1);
    return length > 0 ? std::string(path, static_cast<std::size_t>(length)) : std::string("/usr/bin/incident");
}

/// The share of one child in four fifths of the memory that is there.
std::uint64_t memory_share(unsigned jobs) {
    auto pages = ::sysconf(_SC_PHYS_PAGES), page = ::sysconf(_SC_PAGESIZE);
    if (pages <= 0 || page <= 0) return 0;
    auto total = static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page);
    return std::max<std::uint64_t>(total / 10 * 8 / jobs, 512ull << 20);
}

/// "triage 135 of 300 · 12.3/s · 13s left"
std::string progress_words(std::size_t done, std::size_t total, std::size_t analysed, double seconds) {
    auto text = fmt::format("triage {} of {}", done, total);
    if (analysed == 0 || seconds <= 0 || done == total) return text;
    auto rate = static_cast<double>(analysed) / seconds;
    text += rate >= 1 ? fmt::format(", {:.1f}/s", rate) : fmt::format(", {:.1f}/min", rate * 60);
    auto left = static_cast<double>(total - done) / rate;
    if (left < 1) return text + ", under 1s left";
    return text + fmt::format(", {} left", human_duration(static_cast<std::uint64_t>(left) * 1'000'000'000));
}

std::expected<std::vector<std::string>, std::string> baseline_ids(const std::string& path) {
    std::vector<std::string> ids;
    auto contents = triage::read_store(path, [&](triage::Record&& record, std::string_view) {
        if (record.verdict) ids.push_back(record.verdict->signature.id);
    });
    if (!contents) return std::unexpected(contents.error());
    return ids;
}

/// Clusters and prints.
int conclude(const Invocation& inv, const triage::TriageResult& result, double seconds) {
    const auto& a = inv.triage;
    triage::ClusterOptions options;
    options.near = !a.exact;
    options.by_program = a.by_program;
    if (!a.baseline.empty()) {
        auto ids = baseline_ids(a.baseline);
        if (!ids) return complain(ids.error());
        options.baseline = std::move(*ids);
        options.has_baseline = true;
    }
    const auto runbook = load_runbook(inv);
    if (!runbook) return complain(runbook.error());
    auto clustering = triage::cluster(result.records, options);
    triage::Summary summary{result, clustering, *runbook ? &**runbook : nullptr, seconds, INCIDENT_VERSION};
    auto failure =
        write_result(inv, [&](std::string_view format, const report::RenderOptions& view, const report::Sink& sink) {
            if (format == "json") return triage::render_summary_json(summary, sink);
            if (format == "markdown") return triage::render_summary_markdown(summary, view, sink);
            triage::render_summary_terminal(summary, view, sink);
        });
    if (!failure.empty()) return complain(failure);
    return triage::exit_code(result.records);
}

int run_triage(const Invocation& inv) {
    const auto& a = inv.triage;
    // A runbook or baseline that cannot be read must not be found out after an hour of work.
    if (auto book = load_runbook(inv); !book) return complain(book.error());
    if (!a.baseline.empty())
        if (auto ids = baseline_ids(a.baseline); !ids) return complain(ids.error());
    Progress progress(inv.progress == "auto" && ::isatty(STDERR_FILENO) == 1);
    triage::TriageOptions options;
    options.paths = a.words;
    options.analyzer = {a.analyzer.empty() ? own_path() : a.analyzer, "signature"};
    options.store = a.store;
    options.resume = a.resume;
    options.retry = a.retry;
    options.shard = a.shard_number;
    options.shards = a.shards;
    options.jobs = worker_count(inv.analyze.jobs);
    options.limits = {a.timeout_seconds, a.memory_bytes != 0 ? a.memory_bytes : memory_share(options.jobs)};
    options.engine_options = a.engine;
    options.engine_options.insert(options.engine_options.end(),
                                  {"--jobs", std::to_string(std::max(1u, worker_count(0) / options.jobs))});
    options.progress = [&](std::size_t done, std::size_t total, std::size_t analysed, double seconds) {
        progress.show(progress_words(done, total, analysed, seconds), done, total);
    };
    auto started = std::chrono::steady_clock::now();
    auto result = triage::run_triage(options);
    progress.clear();
    if (!result) return complain(result.error());
    return conclude(inv, *result, std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count());
}

int run_merge(const Invocation& inv) {
    const auto& a = inv.triage;
    std::optional<triage::Store> out;
    if (!a.store.empty()) {
        auto store = triage::Store::open(a.store, false);
        if (!store) return complain(store.error());
        out.emplace(std::move(*store));
    }
    std::function<std::string(std::string_view)> each;
    if (out) each = [&](std::string_view line) { return out->append(line); };
    auto result = triage::merge_stores(a.words, each);
    if (!result) return complain(result.error());
    return conclude(inv, *result, 0);
}

int run_doctor(const Invocation& inv) {
    triage::DoctorOptions options;
    options.root = inv.triage.root;
    while (options.root.ends_with('/')) options.root.pop_back();
    if (inv.triage.pid != 0) options.pid = inv.triage.pid;
    auto checks = triage::examine(options);
    auto failure =
        write_result(inv, [&](std::string_view format, const report::RenderOptions& view, const report::Sink& sink) {
            triage::render_checks(checks, format, INCIDENT_VERSION, view, sink);
        });
    if (!failure.empty()) return complain(failure);
    return triage::exit_code(checks);
}

int run_collect(const Invocation& inv) {
    const auto& a = inv.triage;
    triage::prepare_as_handler(a.time_limit_seconds);
    triage::CollectOptions options;
    options.directory = a.directory;
    options.max_core = a.max_core_bytes;
    options.max_total = a.max_total_bytes;
    options.min_free = a.min_free_bytes;
    options.seconds = a.time_limit_seconds;
    options.words = a.words;
    auto kept = triage::collect(options);
    if (!kept) {
        triage::log_as_handler(kept.error());
        return report::exit_unusable;
    }
    for (const auto& note : kept->notes) triage::log_as_handler(note);
    triage::log_as_handler(fmt::format("{}: {} of {}{}", kept->path, human_size(kept->bytes_out),
                                       human_size(kept->bytes_in), kept->cut.empty() ? "" : ", cut: " + kept->cut));
    return kept->cut.empty() ? report::exit_nothing : report::exit_not_health;
}

}  // namespace

int run_triage_command(Invocation& inv) {
    if (auto no = overwrites(inv); !no.empty()) return complain(no);
    if (inv.row->name == "triage") return run_triage(inv);
    if (inv.row->name == "doctor") return run_doctor(inv);
    if (inv.row->name == "collect") return run_collect(inv);
    return run_merge(inv);
}

}  // namespace incident::cli
