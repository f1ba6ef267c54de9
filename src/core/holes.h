// Holes: parts of the target's memory that a sparse core file does not store. They are zeros; whoever looks at every
// page of the memory asks here first, because each page of a hole that is touched costs a page fault and is filled with
// zeros (thousands of thread stacks: 29 GB of holes in a file of 100 MB, 30 s).
//
// Surprising: a compressed core, and one from stdin, has none. Its name leads to another file than the one that is
// read.
#pragma once

#include <vector>

#include "base/address.h"

namespace incident {

class CoreFile;

class Holes {
public:
    /// Asks the file system; only large ones count.
    explicit Holes(const CoreFile& core);

    /// The first address from `a` on that lies in no hole.
    Address next_data(Address a) const noexcept;

private:
    std::vector<AddressRange> ranges_;  // sorted, disjoint
};

}  // namespace incident
