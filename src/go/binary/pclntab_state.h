// Inside of Pclntab, shared by pclntab.cpp and pclntab_values.cpp: the raw tables and where a _func keeps its fields in
// each of the three formats. Layout facts: go1.16, go1.18, go1.20 src/runtime/runtime2.go, type _func; symtab.go, type
// inlinedCall.
#pragma once

#include <cstring>

#include "go/binary/pclntab.h"

namespace incident::go {

/// Offsets in bytes; 0 = this format has no such field (offset 0 is always the entry).
struct FuncFormat {
    std::uint32_t magic;
    std::uint8_t functab_stride;  ///< 16: pairs of words, absolute · 8: pairs of uint32, relative to text and pclntable
    std::uint8_t size;            ///< of _func without its npcdata and funcdata arrays
    std::uint8_t name, args, deferreturn, pcsp, pcfile, pcln, npcdata, cu_offset, start_line, func_id, flag, nfuncdata;
    bool funcdata_pointers;    ///< 8-byte pointers behind the pcdata array, else uint32 offsets from gofunc
    std::uint8_t inline_size;  ///< of inlinedCall
    std::uint8_t inline_func_id, inline_name, inline_parent_pc, inline_start_line;
};

const FuncFormat* find_format(std::uint32_t magic);

/// One table of the pclntab. Normally a view of the target's memory; a table that lies across two segments is copied.
struct TableBytes {
    std::span<const std::byte> bytes;
    std::vector<std::byte> owned;

    template <class T>
    bool load(std::uint64_t offset, T& out) const noexcept {
        if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) return false;
        std::memcpy(&out, bytes.data() + offset, sizeof(T));
        return true;
    }
    /// Up to a NUL; empty when there is none.
    std::string_view string_at(std::uint64_t offset) const noexcept;
};

struct Pclntab::State {
    const Memory* memory = nullptr;
    const FuncFormat* format = nullptr;
    Tables tables;
    Version version;
    std::uint8_t wrapper_id = 0;  ///< funcID_wrapper in this version
    std::size_t count = 0;        ///< functions; functab has one entry more, the end of text
    TableBytes functab, pclntable, funcnametab, cutab, filetab, pctab;

    std::uint64_t entry_at(std::size_t i) const noexcept;    ///< target address; i <= count
    std::uint64_t funcoff_at(std::size_t i) const noexcept;  ///< into pclntable
    std::string_view name_at_offset(std::int32_t offset) const noexcept;
    /// Value of the pc-value table at `offset` for `pc`; false: damaged, or the table does not reach pc.
    bool pcvalue(std::uint32_t offset, std::uint64_t entry, std::uint64_t pc, std::int32_t& value) const noexcept;
    bool pcvalue(std::uint32_t offset, std::uint64_t entry, std::uint64_t pc, std::int32_t& value,
                 PcValueCache* cache) const noexcept;
    SourcePosition position(const Func& f, std::uint64_t pc, PcValueCache* cache) const noexcept;
};

SpecialFunc special_by_name(std::string_view name);

}  // namespace incident::go
