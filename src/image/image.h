// Image: one ELF file as it was mapped into the target, at one load bias. Names, lines, inlined calls, CFI and DWARF
// types through elfutils. libdw is not thread-safe: all methods of all Images belong to one thread at a time, except
// those marked [any thread].
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "base/result.h"
#include "core/machine.h"
#include "core/memory.h"
#include "report/report.h"

struct Dwarf;
struct Dwarf_CFI_s;

namespace incident {

struct Symbol {
    std::string_view name;  ///< raw (mangled) name, alive as long as the Image
    Address address;        ///< in the target
    std::uint64_t size = 0;
    bool function = false;
    bool object = false;
};

struct Section {
    std::string_view name;
    AddressRange range;                ///< in the target; empty for sections that are not loaded
    std::span<const std::byte> bytes;  ///< file content as it is on disk; empty for NOBITS
    bool writable = false;
    bool executable = false;
    bool compressed = false;  ///< `bytes` are compressed (SHF_COMPRESSED, .zdebug_*); only debug sections ever are, and
                              ///< dwarf() decompresses them
};

struct SourceLine {
    std::string_view file;
    std::uint32_t line = 0;
};

/// One level of inlining at a pc, innermost first; the last is the out-of-line function.
struct InlineFrame {
    std::string function;   ///< demangled
    std::string_view file;  ///< where execution is, within this level
    std::uint32_t line = 0;
};

enum class Encoding : std::uint8_t { other, signed_integer, unsigned_integer, boolean, character, floating, pointer };

/// A parameter or local variable at one pc, located and read by the caller's frame.
struct Variable {
    std::string name;  ///< as in DWARF: Go calls a variable that escaped to the heap "&x"
    std::string type;  ///< source type name: "*main.Order", "struct ctx *"
    bool parameter = false;
    bool result = false;             ///< Go: a result parameter, perhaps not set yet
    std::size_t level = 0;           ///< which of inline_frames_at it belongs to; 0 is the innermost
    std::uint32_t line = 0;          ///< of its declaration; 0 unknown
    std::optional<Address> address;  ///< null: in registers, computed or not available
    std::string place;  ///< "rax", "rax, rbx", "computed", "optimized out", …; empty when it has an address
    std::optional<std::uint64_t> value;  ///< of scalar and pointer variables up to 8 bytes; signed ones sign-extended
    std::vector<std::byte> bytes;  ///< content of what has no address but is known: Go strings and slices in registers
    std::string enumerator;        ///< name of an enumeration's value
    std::uint64_t size = 0;        ///< bytes; 0 unknown
    Encoding encoding = Encoding::other;
    bool pointer = false;  ///< value is an address (pointer, chan, map, func)
};

/// What a register (DWARF number) held when a function was entered; nullopt: not known.
using EntryValue = std::function<std::optional<std::uint64_t>(int dwarf_register)>;

class Image {
public:
    ~Image();
    Image(Image&&) noexcept;
    /// A file on our disk that no core maps, at bias 0: for tools and tests.
    static Result<Image> open(const std::string& path);

    const std::string& path() const;                     ///< as the target knew it [any thread]
    const std::string& found_at() const;                 ///< on our disk [any thread]
    report::ModuleStatus status() const;                 ///< [any thread]
    const std::optional<std::string>& build_id() const;  ///< GNU build-id, hex [any thread]
    std::uint64_t bias() const;                          ///< target address minus ELF address [any thread]
    AddressRange range() const;                          ///< lowest to highest loaded byte in the target [any thread]
    bool position_independent() const;                   ///< ET_DYN [any thread]
    std::optional<std::string> interpreter() const;
    std::uint64_t entry() const;  ///< e_entry, unbiased

    std::span<const Section> sections() const;                 ///< [any thread]
    const Section* find_section(std::string_view name) const;  ///< [any thread]
    /// Loaded segments with their file bytes in target addresses, for splicing.
    std::vector<Segment> file_segments() const;

    bool has_dwarf() const;  ///< own, by .gnu_debuglink, or in a build-id directory
    bool has_symtab() const;
    std::optional<Symbol> symbol_at(
        Address a) const;  ///< containing or, for sizeless ones, nearest below in its section
    std::optional<Symbol> find_symbol(std::string_view name) const;
    std::optional<SourceLine> line_at(Address pc) const;          ///< by DWARF; for a caller pass pc-1
    std::vector<InlineFrame> inline_frames_at(Address pc) const;  ///< empty without DWARF
    /// Variables visible at `pc` (for a caller pass pc-1), read through `registers` and `cfa` of that frame. By level:
    /// its parameters, then its locals, innermost block first.
    std::vector<Variable> variables_at(Address pc, const Registers& registers, std::optional<Address> cfa,
                                       const Memory& memory, const EntryValue& entry_value = {}) const;
    /// The function that `pc` is in, for call_site_value().
    struct Callee {
        std::string name;
        Address entry;
    };
    std::optional<Callee> function_at(Address pc) const;
    /// What the call that returns to `return_pc` in this image passed in a register, told by the compiler's call-site
    /// data and the caller's registers. nullopt also when that call went to another function: a tail call lies between.
    std::optional<std::uint64_t> call_site_value(Address return_pc, int dwarf_register, const Image& callee_image,
                                                 const Callee& callee, const Registers& registers,
                                                 std::optional<Address> cfa, const Memory& memory,
                                                 const EntryValue& entry_value = {}) const;

    /// The same text, alive as long as the Image: for names that report::Frame points to.
    std::string_view keep(std::string text) const;

    /// libdw handles for unwind/ and go/layout; null when there is none.
    ::Dwarf* dwarf() const;
    ::Dwarf_CFI_s* eh_cfi() const;
    ::Dwarf_CFI_s* debug_cfi() const;

private:
    friend class Images;
    friend struct ImageAccess;
    struct State;
    explicit Image(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

/// "std::vector<int>::push_back(int&&)"; the name itself when it is not mangled.
std::string demangle(std::string_view symbol);

}  // namespace incident
