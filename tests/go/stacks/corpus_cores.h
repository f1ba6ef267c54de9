// The probe cores of one bundle.
#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "support/corpora.h"

namespace incident::go::testing {

struct ProbeCore {
    std::string name;  ///< "go1.24/dwarf.waits"
    std::string core, truth, executable;
};

/// Every core of `bundle` whose name contains `part`; none when the bundle is not there.
inline std::vector<ProbeCore> probe_cores(const std::string& bundle, const std::string& part) {
    namespace fs = std::filesystem;
    std::vector<ProbeCore> cores;
    auto directory = test::corpus(bundle);
    if (!directory) return cores;
    for (const auto& mode : fs::directory_iterator(*directory)) {
        const std::string name = mode.path().filename().string();
        if (name.find(part) == std::string::npos || !fs::exists(mode.path() / "core") ||
            !fs::exists(mode.path() / "truth.txt"))
            continue;
        cores.push_back({bundle + "/" + name, (mode.path() / "core").string(), (mode.path() / "truth.txt").string(),
                         (*directory / ("exe." + name.substr(0, name.find('.')))).string()});
    }
    std::sort(cores.begin(), cores.end(), [](const ProbeCore& a, const ProbeCore& b) { return a.name < b.name; });
    return cores;
}

}  // namespace incident::go::testing
