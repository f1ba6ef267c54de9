// `incident triage` without its printing: finds cores, runs a child per core, keeps records, and clusters them.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <string>
#include <vector>

#include "triage/child.h"
#include "triage/clusters.h"
#include "triage/record.h"

namespace incident::triage {

struct TriageOptions {
    std::vector<std::string> paths;
    std::vector<std::string> analyzer;        ///< the command that prints a verdict: {"/usr/bin/incident", "signature"}
    std::vector<std::string> engine_options;  ///< passed on to it
    std::string store;                        ///< empty: none
    bool resume = false;
    bool retry = false;  ///< with resume: cores that got no verdict are tried again
    unsigned shard = 1, shards = 1;
    unsigned jobs = 1;
    ChildLimits limits;
    std::function<void(std::size_t done, std::size_t total, std::size_t analysed, double seconds)> progress;
    std::function<void(const std::string& line)> log;
};

struct TriageResult {
    std::vector<Record> records;  ///< of this run and of the store that it resumed
    std::size_t found = 0, other_shards = 0, known_before = 0;
    std::vector<std::string> complaints;  ///< folders that could not be read, broken lines
};

/// Fails when nothing can be done at all: a path that is not there, a store that cannot be written.
std::expected<TriageResult, std::string> run_triage(const TriageOptions& options);

/// Reads stores and joins them: one record per digest and path, a verdict wins over none.
/// `each`: called with every line that is kept, for writing a merged store.
std::expected<TriageResult, std::string> merge_stores(const std::vector<std::string>& stores,
                                                      const std::function<std::string(std::string_view line)>& each);

/// The contract's exit code for the worst core: 1 findings, 3 something could not be judged, 2 nothing could, 0 else.
int exit_code(const std::vector<Record>& records);

}  // namespace incident::triage
