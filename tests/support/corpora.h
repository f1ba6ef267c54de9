// The bundled corpora, for tests: unpacked on first use into the build directory by corpora/tools/unpack.sh (which
// locks, so that parallel tests share one copy), or taken from $INCIDENT_CORPORA when that names a directory of
// unpacked bundles. A missing bundle or tool skips the test, and says so.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace incident::test {

/// Why the last corpus() or probe() gave nothing.
const std::string& corpus_problem();

/// Directory of an unpacked bundle: corpus("go1.18").
std::optional<std::filesystem::path> corpus(std::string_view bundle);
/// Names of all bundles in corpora/bundles whose names begin so: bundles("go1.").
std::vector<std::string> bundles(std::string_view prefix);

/// One process of a bundle: `<build>.<mode>/core` beside its truth, and the executable that it ran.
struct Probe {
    std::string core, executable, truth;
};
/// probe("go1.18", "stripped", "waits"); nullopt when the bundle or this core is not there.
std::optional<Probe> probe(std::string_view bundle, std::string_view build, std::string_view mode);

/// Text of a file; empty when it cannot be read.
std::string read_text(const std::string& path);

}  // namespace incident::test

/// Declares `name`, or skips the test.
#define INCIDENT_NEED_PROBE(name, bundle, build, mode)              \
    const auto name = ::incident::test::probe(bundle, build, mode); \
    if (!name) GTEST_SKIP() << ::incident::test::corpus_problem()
