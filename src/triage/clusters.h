// Records to clusters. Exact: equal signatures. Near: exact groups whose stacks or places differ a little are joined,
// and say why in words. The order of the input does not matter.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "triage/record.h"

namespace incident::triage {

/// Cores with the same signature.
struct Variant {
    Signature signature;
    std::vector<std::size_t> records;  ///< indices, newest first
    std::string reason;                ///< why it was joined to its cluster; empty: it is the cluster's own
};

struct Cluster {
    std::vector<Variant> variants;     ///< the first is what the cluster is called after
    std::vector<std::size_t> records;  ///< all of them, newest first
    std::int64_t first_seen = 0, last_seen = 0;
    bool is_new = false;      ///< none of its signatures stands in the baseline
    std::size_t example = 0;  ///< record: the one that says most
};

struct ClusterOptions {
    bool near = true;
    bool by_program = false;            ///< never two programs in one cluster
    std::vector<std::string> baseline;  ///< signature ids that were known before
    bool has_baseline = false;
};

struct Clustering {
    std::vector<Cluster> clusters;       ///< largest first, then newest
    std::vector<std::size_t> unsigned_;  ///< records without a verdict
    std::vector<std::size_t> quiet;      ///< analysed: nobody died, nothing was found
};

Clustering cluster(const std::vector<Record>& records, const ClusterOptions& options);

/// How alike two signatures are, 0 to 1, and the words for it. Different kinds are not alike at all.
struct Likeness {
    double value = 0;
    std::string reason;
};
Likeness likeness(const Signature& a, const Signature& b);

/// From here on two groups are one cluster.
inline constexpr double near_enough = 0.6;

}  // namespace incident::triage
