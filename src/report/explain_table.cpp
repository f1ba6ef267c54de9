#include <array>

#include "report/explain.h"

namespace incident::report {

std::span<const Explanation> explanations() {
    static constexpr std::array rows{
        Explanation{"crash.fault", "what the process died of: a fault", "", "", "", ""},
    };
    return rows;
}

}  // namespace incident::report
