// Pclntab: what holds at a pc: sp delta, line, pcdata, funcdata, inlined calls. These run for every frame of every
// goroutine: no allocation and no Result in here.
//
// Surprising: an inlined call has no pc range of its own. The pc's index in the inline tree gives the innermost call,
// and each entry's parentPc is an instruction of the caller, where file, line and the next index are looked up again.
#include "go/binary/pclntab_state.h"

namespace incident::go {
namespace {

/// Funcdata and pcdata numbers by meaning. go1.16 src/runtime/symtab.go; the later ones were added at the end
/// (go1.17 ArgInfo, go1.18 ArgLiveInfo, WrapInfo, ArgLiveIndex) and none has moved since.
constexpr int funcdata_number(FuncData which) {
    switch (which) {
        case FuncData::args_pointer_maps: return 0;
        case FuncData::locals_pointer_maps: return 1;
        case FuncData::stack_objects: return 2;
        case FuncData::inline_tree: return 3;
        case FuncData::open_coded_defer_info: return 4;
        case FuncData::arg_info: return 5;
        case FuncData::arg_live_info: return 6;
        case FuncData::wrap_info: return 7;
    }
    return -1;
}

constexpr int pcdata_number(PcData which) {
    switch (which) {
        case PcData::unsafe_point: return 0;
        case PcData::stack_map_index: return 1;
        case PcData::inline_tree_index: return 2;
        case PcData::arg_live_index: return 3;
    }
    return -1;
}

/// One unsigned varint of at most 32 bits; false at the end of the table.
inline bool read_uvarint32(const std::byte*& at, const std::byte* end, std::uint32_t& value) noexcept {
    value = 0;
    for (unsigned shift = 0; shift < 35; shift += 7) {
        if (at == end) return false;
        const auto byte = std::to_integer<std::uint32_t>(*at++);
        value |= (byte & 0x7f) << shift;
        if (byte < 0x80) return true;
    }
    return false;
}

constexpr std::size_t step_limit = 1 << 22;  // of one pc-value table
constexpr std::size_t inline_limit = 64;     // levels; the compiler's budget keeps real ones below 40

}  // namespace

// go1.27 src/runtime/symtab.go, func step: value delta zigzag, pc delta in units of the instruction quantum (1 on
// amd64); a zero value delta ends the table, but for the first pair.
bool Pclntab::State::pcvalue(std::uint32_t offset, std::uint64_t entry, std::uint64_t pc,
                             std::int32_t& value) const noexcept {
    if (offset == 0 || offset >= pctab.bytes.size() || pc < entry) return false;
    const std::byte* at = pctab.bytes.data() + offset;
    const std::byte* end = pctab.bytes.data() + pctab.bytes.size();
    const std::uint64_t target = pc - entry;
    std::uint64_t here = 0;
    std::uint32_t running = ~std::uint32_t{0};
    for (std::size_t step = 0; step < step_limit; ++step) {
        std::uint32_t value_delta, pc_delta;
        if (!read_uvarint32(at, end, value_delta)) return false;
        if (value_delta == 0 && step != 0) return false;
        if (!read_uvarint32(at, end, pc_delta)) return false;
        running += (value_delta & 1) != 0 ? ~(value_delta >> 1) : value_delta >> 1;
        here += pc_delta;
        if (target < here) {
            value = static_cast<std::int32_t>(running);
            return true;
        }
    }
    return false;
}

bool Pclntab::State::pcvalue(std::uint32_t offset, std::uint64_t entry, std::uint64_t pc, std::int32_t& value,
                             PcValueCache* cache) const noexcept {
    if (cache == nullptr) return pcvalue(offset, entry, pc, value);
    auto& slot = cache->slot(pc, offset);
    if (slot.table == this && slot.pc == pc && slot.offset == offset) {
        value = slot.value;
        return true;
    }
    if (!pcvalue(offset, entry, pc, value)) return false;
    slot = {this, pc, offset, value};
    return true;
}

SourcePosition Pclntab::State::position(const Func& f, std::uint64_t pc, PcValueCache* cache) const noexcept {
    SourcePosition result;
    std::int32_t line = -1, file = -1;
    if (pcvalue(f.pcln, f.entry.value, pc, line, cache) && line > 0) result.line = line;
    if (pcvalue(f.pcfile, f.entry.value, pc, file, cache) && file >= 0) {
        std::uint32_t offset = ~std::uint32_t{0};
        const std::uint64_t index = std::uint64_t{f.cu_offset} + static_cast<std::uint32_t>(file);
        if (cutab.load(index * 4, offset) && offset != ~std::uint32_t{0}) result.file = filetab.string_at(offset);
    }
    return result;
}

std::optional<std::int32_t> Pclntab::sp_delta(const Func& f, Address pc) const {
    std::int32_t value = -1;
    if (!state_->pcvalue(f.pcsp, f.entry.value, pc.value, value) || value < 0) return std::nullopt;
    return value;
}

std::optional<std::int32_t> Pclntab::sp_delta(const Func& f, Address pc, PcValueCache& cache) const {
    std::int32_t value = -1;
    if (!state_->pcvalue(f.pcsp, f.entry.value, pc.value, value, &cache) || value < 0) return std::nullopt;
    return value;
}

SourcePosition Pclntab::position(const Func& f, Address pc) const { return state_->position(f, pc.value, nullptr); }
SourcePosition Pclntab::position(const Func& f, Address pc, PcValueCache& cache) const {
    return state_->position(f, pc.value, &cache);
}

namespace {

/// Offset in pctab of pcdata table `number`; 0: the function has none.
std::uint32_t pcdata_table(const TableBytes& pclntable, const FuncFormat& format, std::uint64_t record, const Func& f,
                           int number) {
    if (number < 0 || static_cast<std::uint32_t>(number) >= f.npcdata) return 0;
    std::uint32_t offset = 0;
    pclntable.load(record + format.size + static_cast<std::uint64_t>(number) * 4, offset);
    return offset;
}

}  // namespace

std::optional<std::int32_t> Pclntab::pcdata(const Func& f, PcData which, Address pc) const {
    const State& s = *state_;
    const std::uint64_t record = f.record.value - s.tables.pclntable.begin.value;
    const std::uint32_t table = pcdata_table(s.pclntable, *s.format, record, f, pcdata_number(which));
    if (table == 0) return -1;
    std::int32_t value = -1;
    if (!s.pcvalue(table, f.entry.value, pc.value, value)) return std::nullopt;
    return value;
}

std::optional<Address> Pclntab::funcdata(const Func& f, FuncData which) const {
    const State& s = *state_;
    const int number = funcdata_number(which);
    if (number < 0 || number >= f.nfuncdata) return std::nullopt;
    const std::uint64_t record = f.record.value - s.tables.pclntable.begin.value;
    std::uint64_t at = record + s.format->size + std::uint64_t{f.npcdata} * 4;
    if (s.format->funcdata_pointers) {
        // 8-aligned as an address; records are 8-aligned themselves.
        if ((s.tables.pclntable.begin.value + at) % 8 != 0) at += 4;
        std::uint64_t pointer = 0;
        if (!s.pclntable.load(at + static_cast<std::uint64_t>(number) * 8, pointer) || pointer == 0)
            return std::nullopt;
        return Address{pointer};
    }
    std::uint32_t offset = ~std::uint32_t{0};
    if (!s.pclntable.load(at + static_cast<std::uint64_t>(number) * 4, offset) || offset == ~std::uint32_t{0})
        return std::nullopt;
    return s.tables.gofunc + offset;
}

std::size_t Pclntab::logical_frames(const Func& f, Address pc, std::span<LogicalFrame> out, PcValueCache* cache) const {
    const State& s = *state_;
    if (out.empty()) return 0;
    std::size_t count = 0;
    std::uint64_t at = pc.value;
    const std::uint64_t record = f.record.value - s.tables.pclntable.begin.value;
    const std::uint32_t indices =
        pcdata_table(s.pclntable, *s.format, record, f, pcdata_number(PcData::inline_tree_index));
    const auto tree = indices == 0 ? std::nullopt : funcdata(f, FuncData::inline_tree);
    if (tree) {
        const FuncFormat& format = *s.format;
        for (std::size_t level = 0; level < inline_limit; ++level) {
            std::int32_t index = -1;
            if (!s.pcvalue(indices, f.entry.value, at, index, cache) || index < 0 || index > (1 << 20)) break;
            const std::byte* entry =
                s.memory->data_at(*tree + static_cast<std::uint64_t>(index) * format.inline_size, format.inline_size);
            if (entry == nullptr) break;
            std::int32_t name, parent_pc, start_line = 0;
            std::memcpy(&name, entry + format.inline_name, 4);
            std::memcpy(&parent_pc, entry + format.inline_parent_pc, 4);
            if (format.inline_start_line != 0) std::memcpy(&start_line, entry + format.inline_start_line, 4);
            if (parent_pc < 0 || f.entry.value + static_cast<std::uint32_t>(parent_pc) >= f.end.value) break;
            if (count + 1 < out.size())
                out[count++] = {s.name_at_offset(name), s.position(f, at, cache), true,
                                std::to_integer<std::uint8_t>(entry[format.inline_func_id]) == s.wrapper_id,
                                start_line};
            at = f.entry.value + static_cast<std::uint32_t>(parent_pc);
        }
    }
    out[count++] = {f.name, s.position(f, at, cache), false, f.wrapper, f.start_line};
    return count;
}

std::vector<LogicalFrame> Pclntab::logical_frames(const Func& f, Address pc) const {
    std::array<LogicalFrame, inline_limit + 1> buffer;
    const std::size_t count = logical_frames(f, pc, buffer);
    return {buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(count)};
}

}  // namespace incident::go
