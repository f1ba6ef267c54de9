// The commands that are about many cores, or about none: triage, merge, doctor, collect. Their options, and their run.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace incident::cli {

struct Invocation;
struct CommandRow;

/// What these commands take beyond the engine's and the output's options.
struct TriageArguments {
    std::vector<std::string> words;  ///< PATHs, stores, or the kernel's words for collect
    std::string store, baseline, shard, timeout, memory, analyzer, root;
    std::vector<std::string> engine;  ///< options that are passed on to each child
    bool resume = false, retry = false, by_program = false, exact = false;
    std::int64_t pid = 0;
    unsigned shard_number = 1, shards = 1;
    double timeout_seconds = 900;
    std::uint64_t memory_bytes = 0;
    // collect
    std::string directory, max_core, max_total, min_free, time_limit;
    std::uint64_t max_core_bytes = 0, max_total_bytes = 0, min_free_bytes = 0;
    double time_limit_seconds = 0;
};

void add_triage_options(CLI::App& sub, const CommandRow& row, TriageArguments& arguments);
/// What CLI11 accepted and these commands do not; empty when all is well.
std::string complete_triage(const CommandRow& row, TriageArguments& arguments);
/// "90", "90s", "15m", "2h" to seconds; negative: no duration.
double parse_duration(std::string_view text);

/// Runs triage, merge, doctor or collect; the exit code.
int run_triage_command(Invocation& invocation);

}  // namespace incident::cli
