// RuntimeLayout: where each Go runtime field that we rely on sits in *this* target. One list, runtime_fields.def, names them
// all; a field comes from DWARF when the executable has it, else from the generated table of its Go version (layouts/). A
// field that this runtime does not have is absent: reading it is Error::absent, never 0.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/address.h"
#include "base/result.h"
#include "core/memory.h"
#include "image/image.h"

namespace incident::go {

/// Go release: 1.26.8 is {26, 8}; "devel" and vendor suffixes are kept in the text.
struct Version {
    int minor = 0;
    int patch = 0;
    std::string text;                        ///< "go1.26.8"
    constexpr bool at_least(int m) const { return minor >= m; }
};
std::optional<Version> parse_version(std::string_view text);

/// Typed at compile time, placed at run time.
template <class T>
struct Field {
    using type = T;
    std::int32_t offset = -1;                ///< bytes from the start of its struct; -1: this runtime lacks it
    bool present() const { return offset >= 0; }
};

/// Arrays and nested structs inside a struct: only the place.
struct Place {
    std::int32_t offset = -1;
    bool present() const { return offset >= 0; }
};

enum class LayoutSource : std::uint8_t { dwarf, table };

struct RuntimeLayout {
    LayoutSource source = LayoutSource::table;

    // One nested struct per runtime struct, named as Go names it, each with `size` (bytes, 0 unknown) and its fields:
    //   layout.g.goid   layout.g.sched_sp   layout.mspan.elemsize   layout.g.size
#define INCIDENT_STRUCT(id, go_name) struct id##_fields { std::uint32_t size = 0;
#define INCIDENT_FIELD(id, path, type) Field<type> id;
#define INCIDENT_PLACE(id, path) Place id;
#define INCIDENT_END(id) } id;
#include "go/binary/runtime_fields.def"
#undef INCIDENT_STRUCT
#undef INCIDENT_FIELD
#undef INCIDENT_PLACE
#undef INCIDENT_END
};

/// From the DWARF of the executable; absent fields stay absent.
Result<RuntimeLayout> layout_from_dwarf(const Image& executable, const Version& version);
/// From the generated tables. A minor version newer than the newest table is unsupported, and named.
Result<RuntimeLayout> layout_from_table(const Version& version);

/// Two-word cursor into one runtime struct in dead memory.
class StructView {
public:
    StructView(const Memory& memory, Address at) : memory_(&memory), at_(at) {}
    Address address() const { return at_; }
    const Memory& memory() const { return *memory_; }
    template <class T>
    Result<T> get(Field<T> field) const {
        if (!field.present()) [[unlikely]] return fail(ErrorKind::absent, "this runtime has no such field", at_);
        return memory_->load<T>(at_ + static_cast<std::uint64_t>(field.offset));
    }
    Result<StructView> sub(Place place) const {
        if (!place.present()) return fail(ErrorKind::absent, "this runtime has no such field", at_);
        return StructView(*memory_, at_ + static_cast<std::uint64_t>(place.offset));
    }

private:
    const Memory* memory_;
    Address at_;
};

}  // namespace incident::go
