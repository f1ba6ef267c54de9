#pragma once

#include <cstdint>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "detect/detector.h"

namespace incident::detect {

inline constexpr std::string_view leaked_kinds[] = {"go.goroutine.leaked"};
Detection detect_leaked_goroutines(const Process& process);

struct LeaksTold {
    struct Behind {
        std::int64_t explained = 0, goroutine = 0;  ///< who is explained, and who waits behind that one
        report::Evidence evidence;
    };
    std::vector<report::Finding> findings;
    std::vector<Behind> behind;
};
/// `explained`: goroutines whose wait another finding tells; who waits behind one of these is that finding's too.
LeaksTold tell_leaks(const Process& process, const std::unordered_set<std::int64_t>& explained);

}  // namespace incident::detect
