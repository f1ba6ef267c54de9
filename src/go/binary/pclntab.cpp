// Pclntab: parsing and looking functions up. All tables are bounded views of the target; nothing here trusts an offset.
// A damaged table gives wrong or missing names, never a read outside of it.
//
// Surprising: the header of Go 1.26 keeps the textStart slot but leaves it 0, so text comes from the moduledata;
// Go 1.16 and 1.17 keep absolute addresses in the functab, which in a PIE are right only in the core, not in the file.
#include "go/binary/pclntab.h"

#include <unordered_map>

#include "go/binary/pclntab_state.h"

namespace incident::go {
namespace {

constexpr FuncFormat formats[] = {
    // go1.16, go1.17 (the flag byte is padding, 0, in 1.16)
    {.magic = 0xfffffffa,
     .functab_stride = 16,
     .size = 44,
     .name = 8,
     .args = 12,
     .deferreturn = 16,
     .pcsp = 20,
     .pcfile = 24,
     .pcln = 28,
     .npcdata = 32,
     .cu_offset = 36,
     .start_line = 0,
     .func_id = 40,
     .flag = 41,
     .nfuncdata = 43,
     .funcdata_pointers = true,
     .inline_size = 20,
     .inline_func_id = 2,
     .inline_name = 12,
     .inline_parent_pc = 16,
     .inline_start_line = 0},
    // go1.18, go1.19
    {.magic = 0xfffffff0,
     .functab_stride = 8,
     .size = 40,
     .name = 4,
     .args = 8,
     .deferreturn = 12,
     .pcsp = 16,
     .pcfile = 20,
     .pcln = 24,
     .npcdata = 28,
     .cu_offset = 32,
     .start_line = 0,
     .func_id = 36,
     .flag = 37,
     .nfuncdata = 39,
     .funcdata_pointers = false,
     .inline_size = 20,
     .inline_func_id = 2,
     .inline_name = 12,
     .inline_parent_pc = 16,
     .inline_start_line = 0},
    // go1.20 and later
    {.magic = 0xfffffff1,
     .functab_stride = 8,
     .size = 44,
     .name = 4,
     .args = 8,
     .deferreturn = 12,
     .pcsp = 16,
     .pcfile = 20,
     .pcln = 24,
     .npcdata = 28,
     .cu_offset = 32,
     .start_line = 36,
     .func_id = 40,
     .flag = 41,
     .nfuncdata = 43,
     .funcdata_pointers = false,
     .inline_size = 16,
     .inline_func_id = 0,
     .inline_name = 4,
     .inline_parent_pc = 8,
     .inline_start_line = 12},
};

/// runtime.funcID_wrapper / abi.FuncIDWrapper: the last of an enumeration that grows.
std::uint8_t wrapper_id_of(const Version& version) {
    if (version.minor <= 17) return 22;
    if (version.minor <= 21) return 21;
    if (version.minor <= 24) return 22;
    return 23;
}

constexpr std::uint64_t table_limit = 1ull << 30;  // bytes; the largest known binaries have some 100 MB

Result<TableBytes> load_table(const Memory& memory, AddressRange range, const char* name) {
    if (range.end < range.begin || range.size() > table_limit)
        return fail(ErrorKind::corrupt, std::string("pclntab: impossible size of ") + name, range.begin);
    TableBytes table;
    if (range.empty()) return table;
    if (auto bytes = memory.view(range.begin, range.size())) {
        table.bytes = *bytes;
        return table;
    }
    // Across segments, or not all there. Do not allocate for a table whose ends are not both readable.
    if (memory.data_at(range.begin, 1) == nullptr || memory.data_at(range.end - 1, 1) == nullptr)
        return std::unexpected(memory.explain(memory.data_at(range.begin, 1) == nullptr ? range.begin : range.end - 1));
    table.owned.resize(range.size());
    TRY(memory.load(range.begin, std::span(table.owned)));
    table.bytes = table.owned;
    return table;
}

}  // namespace

const FuncFormat* find_format(std::uint32_t magic) {
    for (const auto& format : formats)
        if (format.magic == magic) return &format;
    return nullptr;
}

std::string_view TableBytes::string_at(std::uint64_t offset) const noexcept {
    if (offset >= bytes.size()) return {};
    const char* begin = reinterpret_cast<const char*>(bytes.data()) + offset;
    constexpr std::size_t longest = 1 << 16;
    std::size_t room = std::min<std::size_t>(bytes.size() - offset, longest);
    const void* nul = std::memchr(begin, 0, room);
    if (nul == nullptr) return {};
    return {begin, static_cast<const char*>(nul)};
}

bool Pclntab::is_header(std::span<const std::byte> bytes) {
    if (bytes.size() < 8) return false;
    std::uint32_t magic;
    std::memcpy(&magic, bytes.data(), 4);
    return find_format(magic) != nullptr && bytes[4] == std::byte{0} && bytes[5] == std::byte{0} &&
           bytes[6] == std::byte{1} && bytes[7] == std::byte{8};
}

Result<Pclntab> Pclntab::parse(const Memory& memory, const Tables& tables, const Version& version) {
    auto head = TRY(memory.view(tables.header, 8));
    if (!is_header(head)) {
        std::uint32_t magic;
        std::memcpy(&magic, head.data(), 4);
        if (magic == 0xfffffffb) return fail(ErrorKind::unsupported, "pclntab of Go 1.15 or older", tables.header);
        return fail(ErrorKind::corrupt, "unknown pclntab magic " + std::to_string(magic), tables.header);
    }
    auto state = std::make_shared<State>();
    std::uint32_t magic;
    std::memcpy(&magic, head.data(), 4);
    state->memory = &memory;
    state->format = find_format(magic);
    state->tables = tables;
    state->version = version;
    state->wrapper_id = wrapper_id_of(version);
    state->functab = TRY(load_table(memory, tables.functab, "functab"));
    state->pclntable = TRY(load_table(memory, tables.pclntable, "pclntable"));
    state->funcnametab = TRY(load_table(memory, tables.funcnametab, "funcnametab"));
    state->cutab = TRY(load_table(memory, tables.cutab, "cutab"));
    state->filetab = TRY(load_table(memory, tables.filetab, "filetab"));
    state->pctab = TRY(load_table(memory, tables.pctab, "pctab"));
    const std::size_t stride = state->format->functab_stride;
    // The last entry is only a word with the end of text (1.18+: half of its pair may be cut off).
    const std::size_t entries = state->functab.bytes.size() / stride;
    if (entries < 2) return fail(ErrorKind::corrupt, "pclntab without functions", tables.header);
    state->count = entries - 1;
    if (state->entry_at(0) > state->entry_at(state->count))
        return fail(ErrorKind::corrupt, "functab is not sorted", tables.functab.begin);
    Pclntab result;
    result.state_ = std::move(state);
    return result;
}

std::uint64_t Pclntab::State::entry_at(std::size_t i) const noexcept {
    if (format->functab_stride == 16) {
        std::uint64_t entry = 0;
        functab.load(i * 16, entry);
        return entry;
    }
    std::uint32_t offset = 0;
    functab.load(i * 8, offset);
    return tables.text.value + offset;
}

std::uint64_t Pclntab::State::funcoff_at(std::size_t i) const noexcept {
    if (format->functab_stride == 16) {
        std::uint64_t offset = ~std::uint64_t{0};
        functab.load(i * 16 + 8, offset);
        return offset;
    }
    std::uint32_t offset = ~std::uint32_t{0};
    functab.load(i * 8 + 4, offset);
    return offset;
}

std::string_view Pclntab::State::name_at_offset(std::int32_t offset) const noexcept {
    return offset <= 0 ? std::string_view{} : funcnametab.string_at(static_cast<std::uint32_t>(offset));
}

SpecialFunc special_by_name(std::string_view name) {
    using enum SpecialFunc;
    static const std::unordered_map<std::string_view, SpecialFunc> table = {
        {"runtime.goexit", goexit},
        {"runtime.mstart", mstart},
        {"runtime.mcall", mcall},
        {"runtime.systemstack", systemstack},
        {"runtime.systemstack_switch", systemstack_switch},
        {"runtime.asmcgocall", asmcgocall},
        {"runtime.asmcgocall_no_g", asmcgocall},
        {"runtime.asmcgocall_landingpad", asmcgocall},
        {"runtime.cgocallback", cgocallback},
        {"runtime.morestack", morestack},
        {"runtime.morestack_noctxt", morestack},
        {"runtime.gogo", gogo},
        {"runtime.rt0_go", rt0_go},
        {"runtime.asyncPreempt", async_preempt},
        {"runtime.sigpanic", sigpanic},
        {"runtime.sigtramp", sigtramp},
        {"runtime.cgoSigtramp", sigtramp},
        {"runtime.sigreturn", sigreturn},
        {"runtime.sigreturn__sigaction", sigreturn},
        {"runtime.gopanic", gopanic},
        {"runtime.main", goroutine_main},
    };
    auto found = table.find(name);
    return found == table.end() ? none : found->second;
}

AddressRange Pclntab::text() const { return {state_->tables.text, state_->tables.etext}; }
std::size_t Pclntab::function_count() const { return state_->count; }

std::string_view Pclntab::name_at(std::size_t i) const {
    const State& s = *state_;
    if (i >= s.count) return {};
    std::int32_t offset = 0;
    std::uint64_t record = s.funcoff_at(i);
    if (record > table_limit || !s.pclntable.load(record + s.format->name, offset)) return {};
    return s.name_at_offset(offset);
}

std::optional<Func> Pclntab::at_index(std::size_t i) const {
    const State& s = *state_;
    const FuncFormat& format = *s.format;
    if (i >= s.count) return std::nullopt;
    const std::uint64_t offset = s.funcoff_at(i);
    // ^0 marks a function that the external linker put between ours.
    if (offset >= s.pclntable.bytes.size() || s.pclntable.bytes.size() - offset < format.size) return std::nullopt;
    const std::byte* record = s.pclntable.bytes.data() + offset;
    auto u32 = [record](std::uint8_t at) {
        std::uint32_t value;
        std::memcpy(&value, record + at, 4);
        return value;
    };
    Func f;
    f.table = this;
    f.entry = Address{s.entry_at(i)};
    f.end = Address{s.entry_at(i + 1)};
    f.name = s.name_at_offset(static_cast<std::int32_t>(u32(format.name)));
    f.args = static_cast<std::int32_t>(u32(format.args));
    f.deferreturn = u32(format.deferreturn);
    f.start_line = format.start_line == 0 ? 0 : static_cast<std::int32_t>(u32(format.start_line));
    f.func_id = std::to_integer<std::uint8_t>(record[format.func_id]);
    f.flag = std::to_integer<std::uint8_t>(record[format.flag]);
    f.wrapper = f.func_id == s.wrapper_id;
    f.record = s.tables.pclntable.begin + offset;
    f.pcsp = u32(format.pcsp);
    f.pcfile = u32(format.pcfile);
    f.pcln = u32(format.pcln);
    f.npcdata = u32(format.npcdata);
    f.cu_offset = u32(format.cu_offset);
    f.nfuncdata = std::to_integer<std::uint8_t>(record[format.nfuncdata]);
    if (f.name.starts_with("runtime.")) {
        f.special = special_by_name(f.name);
        if (f.special == SpecialFunc::none && f.top_frame() && f.is_asm()) f.special = SpecialFunc::other_asm_top;
    } else if (f.name.starts_with("_rt0_")) {
        f.special = SpecialFunc::rt0_go;
    }
    return f;
}

std::optional<Func> Pclntab::find(Address pc) const {
    const State& s = *state_;
    const std::uint64_t target = pc.value;
    if (target < s.entry_at(0) || target >= s.entry_at(s.count)) return std::nullopt;
    std::size_t low = 0, high = s.count;  // entry_at(low) <= target < entry_at(high), if the table is sound
    while (high - low > 1) {
        std::size_t middle = low + (high - low) / 2;
        if (s.entry_at(middle) <= target)
            low = middle;
        else
            high = middle;
    }
    return at_index(low);
}

std::optional<Func> Pclntab::find_by_name(std::string_view name) const {
    for (std::size_t i = 0; i < state_->count; ++i)
        if (name_at(i) == name) return at_index(i);
    return std::nullopt;
}

std::vector<Func> Pclntab::find_by_prefix(std::string_view prefix, std::size_t most) const {
    std::vector<Func> out;
    for (std::size_t i = 0; i < state_->count && out.size() < most; ++i)
        if (name_at(i).starts_with(prefix))
            if (auto func = at_index(i)) out.push_back(*func);
    return out;
}

void Pclntab::find_by_names(std::span<const std::string_view> names, std::span<std::optional<Func>> out) const {
    std::unordered_map<std::string_view, std::size_t> wanted;
    for (std::size_t i = 0; i < names.size() && i < out.size(); ++i)
        if (!out[i]) wanted.emplace(names[i], i);
    for (std::size_t i = 0; i < state_->count && !wanted.empty(); ++i) {
        auto found = wanted.find(name_at(i));
        if (found == wanted.end()) continue;
        out[found->second] = at_index(i);
        wanted.erase(found);
    }
}

}  // namespace incident::go
