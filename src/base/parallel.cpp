#include "base/parallel.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <system_error>
#include <utility>
#include <vector>

namespace incident {

std::optional<std::jthread> start_thread(std::function<void()> body) {
    try {
        return std::jthread(std::move(body));
    } catch (const std::system_error&) { return std::nullopt; }
}

unsigned worker_count(unsigned asked) {
    constexpr unsigned most = 1024;
    if (asked != 0) return std::min(asked, most);
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return std::max(1u, std::thread::hardware_concurrency());
    return std::max(1, CPU_COUNT(&set));
}

void parallel_chunks(unsigned jobs, std::size_t count, std::size_t grain,
                     const std::function<void(std::size_t, std::size_t, unsigned)>& body) {
    if (count == 0) return;
    grain = std::max<std::size_t>(grain, 1);
    std::atomic<std::size_t> next{0};
    auto work = [&](unsigned worker) {
        for (;;) {
            std::size_t begin = next.fetch_add(grain, std::memory_order_relaxed);
            if (begin >= count) return;
            body(begin, std::min(count, begin + grain), worker);
        }
    };
    auto chunks = (count - 1) / grain + 1;
    auto workers = static_cast<unsigned>(std::min<std::size_t>(std::max(jobs, 1u), chunks));
    std::vector<std::jthread> helpers;
    for (unsigned worker = 1; worker < workers; ++worker) {
        auto helper = start_thread([&work, worker] { work(worker); });
        if (!helper) break;  // those that are there do the work
        helpers.push_back(std::move(*helper));
    }
    work(0);
}

void side_by_side(unsigned jobs, const std::function<void()>& one, const std::function<void()>& other) {
    const auto beside = jobs > 1 ? start_thread(one) : std::nullopt;
    if (!beside) one();
    other();
}

}  // namespace incident
