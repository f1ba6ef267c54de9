// A machine that gives no more threads, as a container does at its limit on tasks.
#pragma once

#include <functional>

namespace incident::test {

/// Runs `body` in a child process that can start no thread. Says whether it returned true; skips the test where such a
/// child cannot be made. `body` prints why it fails: GoogleTest's own failures would be the child's.
void expect_without_threads(const std::function<bool()>& body);

}  // namespace incident::test
