// parallel_chunks: splits [0, count) over threads. The work per index must be independent; results go into per-index or
// per-worker storage, so that the outcome never depends on scheduling.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <thread>

namespace incident {

/// How many workers `--jobs asked` means. 0: the processors this process may run on. Never more than 1024: some passes
/// keep a table for each two of them.
unsigned worker_count(unsigned asked);

/// A thread that runs `body`; nothing when the machine gives no more of them: a container's limit on tasks.
std::optional<std::jthread> start_thread(std::function<void()> body);

/// Calls `body(begin, end, worker)` for chunks of at most `grain` indices that cover [0, count) exactly once; `worker`
/// is in [0, jobs). Runs in the calling thread when jobs <= 1, the work fits one chunk, or the machine gives no more
/// threads. `body` must not throw.
void parallel_chunks(unsigned jobs, std::size_t count, std::size_t grain,
                     const std::function<void(std::size_t begin, std::size_t end, unsigned worker)>& body);

/// Runs both, side by side when jobs > 1. Neither may throw.
void side_by_side(unsigned jobs, const std::function<void()>& one, const std::function<void()>& other);

}  // namespace incident
