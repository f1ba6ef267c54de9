// One look at every slice, string and interface header whose place is typed: package variables, static data and heap
// objects, in parallel and without an allocation per object. What contradicts its invariants comes out as a list; what
// that means, and whether it may be innocent, is decided by go_headers.cpp.
//
// Surprising: most headers point to what is not a heap object: rodata, mapped files, C memory, one past the end with
// nothing in it. Only an address that no mapping holds, or an extent that leaves its heap object, contradicts.
#pragma once

#include <cstdint>
#include <vector>

#include "go/heap/heap_types.h"
#include "process/locate.h"
#include "process/process.h"

namespace incident::detect {

enum class HeaderFault : std::uint8_t {
    negative,      ///< a length or capacity below zero
    len_over_cap,  ///< len > cap
    len_outside,   ///< data + len runs past its heap object
    cap_outside,   ///< data + cap does, len does not
    no_data,       ///< a length, and data nil or a small number
    not_address,   ///< data that no machine address can be
    unmapped,      ///< data, or its end, in no mapping
    runtimes_own,  ///< data in memory that the runtime allots to its own structures
    bad_type,      ///< an interface's first word is no type descriptor
    bad_itab,      ///< … no itab
    no_value,      ///< an interface whose type is kept behind a pointer, and the pointer is nil or a small number
};

struct BadHeader {
    Address at;      ///< of the header
    Address object;  ///< value that holds it: the variable, or the heap object's value
    go::TypeId object_type = go::no_type;
    std::uint64_t offset = 0;                   ///< of the header in one value of object_type
    go::SlotId slot = go::no_slot;              ///< no_slot: a variable or static data
    go::TypeBasis basis = go::TypeBasis::none;  ///< of a heap object's type
    std::uint64_t count = 1;                    ///< values of that type in the object
    std::string_view variable;                  ///< name of a package variable, or of a frame's
    std::uint32_t goroutine = go::no_owner;     ///< of a frame's variable: index into goroutines->all
    std::uint32_t frame = go::no_owner;         ///< and into GoStack::physical
    bool in_cell = false;                       ///< of a map: `object` is the bucket or group
    go::PlanStep::Op op = go::PlanStep::Op::slice;
    go::TypeId elem = go::no_type;
    HeaderFault fault = HeaderFault::negative;
    std::uint64_t words[3] = {};
    AddressRange room;  ///< of the heap object that data lies in

    bool in_frame() const { return frame != go::no_owner; }
};

struct HeaderScan {
    std::vector<BadHeader> bad;  ///< by address; bounded
    std::uint64_t checked = 0;   ///< headers
    std::uint64_t more = 0;      ///< bad ones that were not kept
};

HeaderScan scan_headers(const Process& process, const Locator& locator);

/// Does the memory at `type` read as a type descriptor? nullopt: it cannot be read here.
std::optional<bool> is_type_descriptor(const Process& process, const Locator& locator, Address type);

}  // namespace incident::detect
