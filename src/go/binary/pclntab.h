// Pclntab: what the Go linker leaves in every binary, stripped or not: function names, files, lines, sp deltas, inline
// trees, stack maps and defer info. One per module (plugins add more). Immutable after parse: any thread may read.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "base/result.h"
#include "core/memory.h"
#include "go/binary/layout.h"

namespace incident::go {

/// Functions the unwinder must treat specially; by name, since the runtime's funcID numbers shift by version.
enum class SpecialFunc : std::uint8_t {
    none,
    goexit,
    mstart,
    mcall,
    systemstack,
    systemstack_switch,
    asmcgocall,
    cgocallback,
    morestack,
    gogo,
    rt0_go,
    async_preempt,
    sigpanic,
    sigtramp,
    sigreturn,
    gopanic,
    goroutine_main /* runtime.main */,
    other_asm_top,
};

/// funcdata indices by meaning; the number may be missing in a version.
enum class FuncData : std::uint8_t {
    args_pointer_maps,
    locals_pointer_maps,
    stack_objects,
    inline_tree,
    open_coded_defer_info,
    arg_info,
    arg_live_info,
    wrap_info
};
enum class PcData : std::uint8_t { unsafe_point, stack_map_index, inline_tree_index, arg_live_index };

class Pclntab;

/// One decoded _func.
struct Func {
    const Pclntab* table = nullptr;
    Address entry;
    Address end;                    ///< entry of the next function or end of text
    std::string_view name;          ///< "main.(*Order).Total", generics as in the table ("main.F[...]")
    std::int32_t args = 0;          ///< bytes of arguments
    std::uint32_t deferreturn = 0;  ///< offset of the deferreturn call, 0 = no defers
    std::int32_t start_line = 0;    ///< 1.20+, else 0
    std::uint8_t flag = 0;          ///< TOPFRAME 1, SPWRITE 2, ASM 4 (1.17+)
    bool wrapper = false;           ///< funcID_wrapper: elided by runtime tracebacks
    SpecialFunc special = SpecialFunc::none;
    bool top_frame() const { return (flag & 1) != 0; }
    bool sp_write() const { return (flag & 2) != 0; }
    bool is_asm() const { return (flag & 4) != 0; }

    Address record;  ///< the _func itself
    std::uint32_t pcsp = 0, pcfile = 0, pcln = 0, npcdata = 0, cu_offset = 0;
    std::uint8_t nfuncdata = 0;
    std::uint8_t func_id = 0;  ///< as stored; its meaning shifts by version: use `special` and `wrapper`
};

struct SourcePosition {
    std::string_view file;  ///< empty: unknown
    std::int32_t line = 0;  ///< 0: unknown
};

/// One logical frame at a pc; inlined ones first, the physical function last.
struct LogicalFrame {
    std::string_view function;
    SourcePosition position;
    bool inlined = false;
    bool wrapper = false;
    std::int32_t start_line = 0;  ///< of the function; 1.20+, else 0
};

/// Memo of decoded pc-value tables, one per walker (not shared between threads): stacks of 10^5 goroutines repeat the
/// same few thousand pcs. Direct-mapped, 16 KiB, no allocation.
class PcValueCache {
public:
    struct Entry {
        const void* table = nullptr;
        std::uint64_t pc = 0;
        std::uint32_t offset = 0;
        std::int32_t value = 0;
    };
    Entry& slot(std::uint64_t pc, std::uint32_t offset) {
        return entries_[((pc ^ (std::uint64_t{offset} << 7)) * 0x9e3779b97f4a7c15ull) >> 55];
    }

private:
    std::array<Entry, 512> entries_{};
};

class Pclntab {
public:
    /// `header` is the address of the pclntab header (moduledata word 0).
    struct Tables {  ///< target addresses, from moduledata
        Address header, text, etext, gofunc;
        AddressRange functab, pclntable, funcnametab, cutab, filetab, pctab;
    };
    static Result<Pclntab> parse(const Memory& memory, const Tables& tables, const Version& version);
    /// True when these 8 bytes can begin a pclntab: magic, two zero bytes, instruction quantum 1 and pointer size 8.
    static bool is_header(std::span<const std::byte> bytes);

    AddressRange text() const;
    std::size_t function_count() const;
    std::optional<Func> at_index(std::size_t i) const;
    std::optional<Func> find(Address pc) const;  ///< binary search; O(log n)
    std::optional<Func> find_by_name(
        std::string_view name) const;  ///< first exact match; linear once, then hashed by caller
    /// In the table's order; at most `most`. One pass over the table.
    std::vector<Func> find_by_prefix(std::string_view prefix, std::size_t most) const;
    /// Several names in one pass over the table; `out[i]` is the first function named `names[i]`.
    void find_by_names(std::span<const std::string_view> names, std::span<std::optional<Func>> out) const;
    /// The name at index `i` alone, cheaper than at_index(); empty when damaged.
    std::string_view name_at(std::size_t i) const;

    /// Bytes between sp at `pc` and sp at the function's entry; -1 in the table means unknown → nullopt.
    std::optional<std::int32_t> sp_delta(const Func& f, Address pc) const;
    std::optional<std::int32_t> sp_delta(const Func& f, Address pc, PcValueCache& cache) const;
    SourcePosition position(const Func& f, Address pc) const;  ///< of the innermost inlined call
    SourcePosition position(const Func& f, Address pc, PcValueCache& cache) const;
    /// -1: the function has no such table, or the table says -1; nullopt: the table is damaged or this version has no
    /// such kind.
    std::optional<std::int32_t> pcdata(const Func& f, PcData which, Address pc) const;
    std::optional<Address> funcdata(const Func& f, FuncData which) const;
    /// All logical frames at `pc` (pass pc-1 for a caller).
    std::vector<LogicalFrame> logical_frames(const Func& f, Address pc) const;
    /// The same without allocation: fills `out`, innermost first, and says how many. The physical function is always
    /// last; when `out` is too small, outer inlined levels are left out.
    std::size_t logical_frames(const Func& f, Address pc, std::span<LogicalFrame> out,
                               PcValueCache* cache = nullptr) const;

private:
    struct State;
    std::shared_ptr<const State> state_;
};

}  // namespace incident::go
