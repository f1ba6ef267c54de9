#include <fmt/format.h>

#include <CLI/App.hpp>
#include <charconv>

#include "cli/commands.h"
#include "cli/operands.h"
#include "cli/triage_cli.h"

namespace incident::cli {

namespace {

void add_clustering_options(CLI::App& sub, TriageArguments& a) {
    sub.add_option("--baseline", a.baseline, "a store of earlier cores: problems that it does not have are marked NEW")
        ->type_name("STORE");
    sub.add_flag("--by-program", a.by_program, "never two programs in one problem");
    sub.add_flag("--exact", a.exact, "equal signatures only: join nothing that is merely alike");
}

}  // namespace

void add_triage_options(CLI::App& sub, const CommandRow& row, TriageArguments& a) {
    if (row.name == "triage") {
        sub.add_option("paths", a.words, "")->group("");
        sub.add_option("--store", a.store, "append one line of JSON per core to this file")->type_name("FILE");
        sub.add_flag("--resume", a.resume, "go on with a store: no core of it is read again");
        sub.add_flag("--retry", a.retry, "with --resume: try those again that got no verdict");
        sub.add_option("--shard", a.shard, "only the K-th of N parts, chosen by digest")->type_name("K/N");
        sub.add_option("--timeout", a.timeout, "longest one core may take: 90s, 15m (default), 2h")->type_name("TIME");
        sub.add_option("--memory", a.memory, "most memory one core may take (80% of this machine's, by --jobs)")
            ->type_name("SIZE");
        sub.add_option("--analyzer", a.analyzer, "the incident command to run per core (default: this one)")
            ->type_name("FILE");
        add_clustering_options(sub, a);
    } else if (row.name == "merge") {
        sub.add_option("stores", a.words, "")->group("");
        sub.add_option("--store", a.store, "write the joined store to this file")->type_name("FILE");
        add_clustering_options(sub, a);
    } else if (row.name == "doctor") {
        sub.add_option("--pid", a.pid, "also look at this process's own limits and environment")->type_name("PID");
        sub.add_option("--root", a.root, "look below this folder instead of /: a host's, seen from a container")
            ->type_name("DIR");
    } else if (row.name == "collect") {
        sub.add_option("words", a.words, "")->group("");
        sub.add_option("--dir", a.directory, "where cores and executables go (/var/lib/incident)")->type_name("DIR");
        sub.add_option("--max-core", a.max_core, "most bytes of one core that are kept, unpacked (64G)")
            ->type_name("SIZE");
        sub.add_option("--max-total", a.max_total, "most bytes that all cores may take; the oldest go (32G)")
            ->type_name("SIZE");
        sub.add_option("--min-free", a.min_free, "bytes of the disk that stay free (1G)")->type_name("SIZE");
        sub.add_option("--time-limit", a.time_limit, "longest that a dying process is kept waiting (5m)")
            ->type_name("TIME");
    }
}

double parse_duration(std::string_view text) {
    double factor = 1;
    if (text.ends_with('s'))
        text.remove_suffix(1);
    else if (text.ends_with('m'))
        factor = 60, text.remove_suffix(1);
    else if (text.ends_with('h'))
        factor = 3600, text.remove_suffix(1);
    double value = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || text.empty() || !(value > 0) || value > 1e9)
        return -1;
    return value * factor;
}

std::string complete_triage(const CommandRow& row, TriageArguments& a) {
    auto size = [](const std::string& text, std::string_view option, std::uint64_t& into,
                   std::uint64_t otherwise) -> std::string {
        into = otherwise;
        if (text.empty()) return {};
        auto value = parse_size(text);
        if (!value) return fmt::format("{} takes a size such as 4G, not '{}'", option, text);
        into = *value;
        return {};
    };
    auto duration = [](const std::string& text, std::string_view option, double& into,
                       double otherwise) -> std::string {
        into = text.empty() ? otherwise : parse_duration(text);
        return into > 0 ? std::string() : fmt::format("{} takes a time such as 90s, 15m or 2h, not '{}'", option, text);
    };
    if ((row.name == "triage" || row.name == "merge") && a.words.empty())
        return fmt::format("usage: incident {} {}", row.name, row.usage);
    if (row.name == "triage") {
        if (a.resume && a.store.empty()) return "--resume goes on with a --store: name it";
        if (a.retry && !a.resume) return "--retry goes with --resume";
        if (!a.shard.empty()) {
            auto slash = a.shard.find('/');
            auto k = slash == std::string::npos ? std::nullopt : parse_number(a.shard.substr(0, slash), false);
            auto n = slash == std::string::npos ? std::nullopt : parse_number(a.shard.substr(slash + 1), false);
            if (!k || !n || *k < 1 || *k > *n || *n > 1'000'000)
                return fmt::format("--shard takes K/N with 1 <= K <= N, not '{}'", a.shard);
            a.shard_number = static_cast<unsigned>(*k);
            a.shards = static_cast<unsigned>(*n);
        }
        if (auto no = duration(a.timeout, "--timeout", a.timeout_seconds, 900); !no.empty()) return no;
        return size(a.memory, "--memory", a.memory_bytes, 0);
    }
    if (row.name == "collect") {
        if (a.directory.empty()) a.directory = "/var/lib/incident";
        if (auto no = size(a.max_core, "--max-core", a.max_core_bytes, 64ull << 30); !no.empty()) return no;
        if (auto no = size(a.max_total, "--max-total", a.max_total_bytes, 32ull << 30); !no.empty()) return no;
        if (auto no = size(a.min_free, "--min-free", a.min_free_bytes, 1ull << 30); !no.empty()) return no;
        return duration(a.time_limit, "--time-limit", a.time_limit_seconds, 300);
    }
    return {};
}

}  // namespace incident::cli
