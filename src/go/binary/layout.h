// RuntimeLayout: where each Go runtime field that we rely on sits in *this* target. One list, runtime_fields.def, names
// them all; a field comes from DWARF when the executable has it, else from the generated table of its Go version
// (layouts/). A field that this runtime does not have is absent: reading it is Error::absent, never 0.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "base/result.h"
#include "core/memory.h"
#include "image/image.h"

namespace incident::go {

/// Go release: 1.26.8 is {26, 8}; "devel" and vendor suffixes are kept in the text.
struct Version {
    int minor = 0;
    int patch = 0;
    std::string text;  ///< "go1.26.8"
    std::vector<std::string>
        experiments;     ///< "nogreenteagc": what the toolchain wrote behind " X:" or "-X:" when GOEXPERIMENT was set
    bool devel = false;  ///< "devel go1.28-abcdef …": between releases
    bool at_least(int m) const { return minor >= m; }
};
/// "go1.26.8", "go1.25.12 X:greenteagc", "go1.26.8-X:nogreenteagc", "go1.27rc1", "devel go1.28-…", vendor suffixes.
/// nullopt: no Go 1 version in it.
std::optional<Version> parse_version(std::string_view text);

/// Typed at compile time, placed at run time.
template <class T>
struct Field {
    using type = T;
    std::int32_t offset = -1;  ///< bytes from the start of its struct; -1: this runtime lacks it
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
#define INCIDENT_STRUCT(id, go_name) \
    struct id##_fields {             \
        std::uint32_t size = 0;
#define INCIDENT_FIELD(id, path, type) Field<type> id;
#define INCIDENT_PLACE(id, path) Place id;
#define INCIDENT_END(id) \
    }                    \
    id;
#include "go/binary/runtime_fields.def"
#undef INCIDENT_STRUCT
#undef INCIDENT_FIELD
#undef INCIDENT_PLACE
#undef INCIDENT_END
};

/// From the DWARF of the executable; absent fields stay absent. Structs that the program's DWARF lacks altogether (a
/// program without sync.Pool) come from the table of its version when there is one.
Result<RuntimeLayout> layout_from_dwarf(const Image& executable, const Version& version);
/// DWARF alone, nothing filled in: for the table generator and the conformance test.
Result<RuntimeLayout> layout_from_dwarf_only(const Image& executable);

/// Build-time choices that change structs within one version.
struct LayoutVariant {
    bool classic_maps = false;  ///< 1.24, 1.25 built with noswissmap
    bool green_tea = false;     ///< 1.25 with greenteagc; 1.26 unless nogreenteagc
};
/// What the version's own text says; its release's default otherwise.
LayoutVariant variant_of(const Version& version);

/// From the generated tables. A minor version older than the oldest or newer than the newest table is unsupported, and
/// named.
Result<RuntimeLayout> layout_from_table(const Version& version);
Result<RuntimeLayout> layout_from_table(const Version& version, const LayoutVariant& variant);
/// False for builds whose layout the tables know only in part: between two measured patch releases, development
/// versions, and GOEXPERIMENTs without an overlay. DWARF, when there is some, is the better source then.
bool table_is_exact(const Version& version);
/// A GOEXPERIMENT that this executable was built with and that moves fields in a way that was not measured.
std::optional<std::string_view> unmeasured_experiment(const Version& version);
inline constexpr int oldest_table = 16, newest_table = 27;  // minor versions

/// The list of all structs and fields as data: for filling, comparing and printing layouts.
struct LayoutMember {
    std::string_view struct_name;  ///< ours: "sync_Mutex"
    std::string_view field_name;   ///< ours; empty: the line stands for the struct, and its value is the size
    std::string_view path;         ///< alternatives by '|'; for a struct, its Go type names
    std::uint8_t size = 0;         ///< bytes of the C++ type; 0: a place or a struct
    std::size_t where = 0;         ///< byte offset of our int32 within RuntimeLayout
};
std::span<const LayoutMember> layout_members();
/// Offset of the field (-1 absent) or size of the struct (0 unknown).
std::int32_t get_member(const RuntimeLayout& layout, const LayoutMember& member);
void set_member(RuntimeLayout& layout, const LayoutMember& member, std::int32_t value);

/// Two-word cursor into one runtime struct in dead memory.
class StructView {
public:
    StructView(const Memory& memory, Address at) : memory_(&memory), at_(at) {}
    Address address() const { return at_; }
    const Memory& memory() const { return *memory_; }
    template <class T>
    Result<T> get(Field<T> field) const {
        if (!field.present()) [[unlikely]]
            return fail(ErrorKind::absent, "this runtime has no such field", at_);
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
