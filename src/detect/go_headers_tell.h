// What a finding says of a header that contradicts itself or what it points to. Which ones are found: go_headers.cpp.
#pragma once

#include <string>
#include <string_view>

#include "detect/go_headers_check.h"
#include "report/report.h"

namespace incident::detect {

/// "go.slice.bad"
std::string_view header_kind(const BadHeader& bad);

class HeaderTeller {
public:
    explicit HeaderTeller(const Process& process)
        : process_(process), locator_(*process.locator), types_(process.heap_types->types()) {}

    /// The header's own words, as evidence.
    report::Evidence words(const BadHeader& bad) const;
    /// Everything but the doubts.
    report::Finding tell(const BadHeader& bad) const;

private:
    std::string type_name(const BadHeader& bad) const { return std::string(types_[bad.object_type].name); }
    /// Of the field in its object: ".rows[3]"; empty: the object is the header.
    std::string path(const BadHeader& bad) const;
    std::uint64_t elem_size(const BadHeader& bad) const;
    std::string fault_text(const BadHeader& bad) const;
    void add_name(report::Finding& finding, const BadHeader& bad) const;
    void add_data(report::Finding& finding, const BadHeader& bad) const;
    void add_death(report::Finding& finding, const BadHeader& bad) const;
    void add_frame(report::Finding& finding, const BadHeader& bad) const;

    const Process& process_;
    const Locator& locator_;
    const go::TypeTable& types_;
};

}  // namespace incident::detect
