#include "support/corpora.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <mutex>
#include <sstream>

#ifndef INCIDENT_SOURCE_DIR
#error "tests/CMakeLists.txt defines INCIDENT_SOURCE_DIR and INCIDENT_BINARY_DIR"
#endif

namespace incident::test {
namespace {

namespace fs = std::filesystem;

std::string& problem() {
    static std::string text;
    return text;
}

std::optional<fs::path> unpack(const std::string& bundle) {
    if (const char* elsewhere = std::getenv("INCIDENT_CORPORA")) {
        fs::path directory = fs::path(elsewhere) / bundle;
        if (fs::is_directory(directory)) return directory;
    }
    const fs::path source = INCIDENT_SOURCE_DIR, target = fs::path(INCIDENT_BINARY_DIR) / "corpora";
    if (!fs::exists(source / "corpora/bundles" / (bundle + ".tar.zst"))) {
        problem() = "SKIPPED: there is no bundle " + bundle;
        return std::nullopt;
    }
    const std::string command =
        "'" + (source / "corpora/tools/unpack.sh").string() + "' '" + target.string() + "' '" + bundle + "' >/dev/null";
    if (std::system(command.c_str()) != 0 || !fs::is_directory(target / bundle)) {
        problem() = "SKIPPED: cannot unpack " + bundle + " (zstd and tar are needed)";
        return std::nullopt;
    }
    return target / bundle;
}

}  // namespace

const std::string& corpus_problem() { return problem(); }

std::optional<fs::path> corpus(std::string_view bundle) {
    static std::mutex mutex;
    static std::map<std::string, std::optional<fs::path>, std::less<>> known;
    const std::scoped_lock lock(mutex);
    auto found = known.find(bundle);
    if (found == known.end()) found = known.emplace(bundle, unpack(std::string(bundle))).first;
    return found->second;
}

std::vector<std::string> bundles(std::string_view prefix) {
    std::vector<std::string> names;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(fs::path(INCIDENT_SOURCE_DIR) / "corpora/bundles", error)) {
        std::string name = entry.path().filename().string();
        if (!name.starts_with(prefix) || !name.ends_with(".tar.zst")) continue;
        names.push_back(name.substr(0, name.size() - std::string_view(".tar.zst").size()));
    }
    std::sort(names.begin(), names.end());
    return names;
}

std::optional<Probe> probe(std::string_view bundle, std::string_view build, std::string_view mode) {
    auto directory = corpus(bundle);
    if (!directory) return std::nullopt;
    const fs::path process = *directory / (std::string(build) + "." + std::string(mode));
    Probe result{(process / "core").string(), (*directory / ("exe." + std::string(build))).string(),
                 (process / "truth.txt").string()};
    if (fs::exists(result.core) && fs::exists(result.executable)) return result;
    problem() = "SKIPPED: bundle " + std::string(bundle) + " has no " + std::string(build) + "." + std::string(mode);
    return std::nullopt;
}

std::string read_text(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    std::ostringstream out;
    out << in.rdbuf();
    return out.str();
}

}  // namespace incident::test
