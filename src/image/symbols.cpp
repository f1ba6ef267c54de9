// One sorted symbol table per image: .symtab of the file or of its debug file, .dynsym, the xz-packed minisymtab that
// Fedora ships (.gnu_debugdata), and names for PLT entries, which have no symbols.
#include <gelf.h>
#include <libelf.h>

#include <algorithm>
#include <cstring>

#include "image/image_state.h"

namespace incident {
namespace {

constexpr std::size_t most_symbols = 20'000'000;
constexpr std::size_t widest_search = 256;  ///< symbols looked at backwards from an address

bool add_table(Elf* elf, std::uint32_t wanted, SymbolTable& table) {
    bool found = false;
    for (Elf_Scn* scn = nullptr; (scn = elf_nextscn(elf, scn)) != nullptr;) {
        GElf_Shdr header;
        if (gelf_getshdr(scn, &header) == nullptr || header.sh_type != wanted || header.sh_entsize == 0) continue;
        Elf_Data* data = elf_getdata(scn, nullptr);
        if (data == nullptr || data->d_buf == nullptr) continue;
        const std::size_t count = std::min<std::size_t>(data->d_size / sizeof(Elf64_Sym), most_symbols);
        if (count > 1) found = true;
        table.entries.reserve(table.entries.size() + count);
        for (std::size_t i = 1; i < count; ++i) {
            GElf_Sym symbol;
            if (gelf_getsym(data, static_cast<int>(i), &symbol) == nullptr) break;
            const int type = GELF_ST_TYPE(symbol.st_info);
            if (symbol.st_shndx == SHN_UNDEF || symbol.st_shndx == SHN_ABS || symbol.st_shndx == SHN_COMMON) continue;
            if (type != STT_FUNC && type != STT_OBJECT && type != STT_NOTYPE && type != STT_GNU_IFUNC) continue;
            const char* name = elf_strptr(elf, header.sh_link, symbol.st_name);
            if (name == nullptr || name[0] == '\0') continue;
            table.entries.push_back({symbol.st_value, symbol.st_size, name, symbol.st_shndx,
                                     static_cast<std::uint8_t>(type),
                                     static_cast<std::uint8_t>(GELF_ST_BIND(symbol.st_info))});
        }
    }
    return found;
}

/// Of several names for one address: sized before sizeless, functions first, global before weak before local, and then
/// the one that people write (`read`, not `__libc_read`).
int rank(const SymbolEntry& s) {
    int underscores = 0;
    while (s.name[underscores] == '_' && underscores < 3) ++underscores;
    return (s.size == 0 ? 100 : 0) + (s.type == STT_NOTYPE ? 50 : 0) + (s.binding == STB_LOCAL ? 20 : 0) +
           underscores * 5;
}

/// x86-64: .rela.plt's n-th relocation belongs to the n-th 16-byte stub of .plt.sec, or to the (n+1)-th of .plt.
void add_plt(Elf* elf, SymbolTable& table) {
    std::size_t names = 0;
    if (elf_getshdrstrndx(elf, &names) != 0) return;
    GElf_Shdr plt{}, plt_sec{}, relocations{}, symbols{};
    Elf_Scn *relocation_scn = nullptr, *symbol_scn = nullptr;
    std::uint16_t plt_index = 0, plt_sec_index = 0;
    for (Elf_Scn* scn = nullptr; (scn = elf_nextscn(elf, scn)) != nullptr;) {
        GElf_Shdr header;
        if (gelf_getshdr(scn, &header) == nullptr) continue;
        const char* raw = elf_strptr(elf, names, header.sh_name);
        const std::string_view name = raw == nullptr ? "" : raw;
        const auto index = static_cast<std::uint16_t>(elf_ndxscn(scn));
        if (name == ".plt") plt = header, plt_index = index;
        if (name == ".plt.sec") plt_sec = header, plt_sec_index = index;
        if (name == ".rela.plt") relocations = header, relocation_scn = scn;
        if (name == ".dynsym") symbols = header, symbol_scn = scn;
    }
    if (relocation_scn == nullptr || symbol_scn == nullptr || plt_index == 0) return;
    Elf_Data* relocation_data = elf_getdata(relocation_scn, nullptr);
    Elf_Data* symbol_data = elf_getdata(symbol_scn, nullptr);
    if (relocation_data == nullptr || symbol_data == nullptr) return;
    constexpr std::uint64_t stub = 16;
    const bool sec = plt_sec_index != 0;
    const GElf_Shdr& area = sec ? plt_sec : plt;
    const std::size_t count = std::min<std::uint64_t>(relocations.sh_size / sizeof(Elf64_Rela), area.sh_size / stub);
    table.synthetic_names.reserve(count);  // entries keep pointers into it
    for (std::size_t i = 0; i < count; ++i) {
        GElf_Rela relocation;
        GElf_Sym symbol;
        if (gelf_getrela(relocation_data, static_cast<int>(i), &relocation) == nullptr) break;
        const auto which = GELF_R_SYM(relocation.r_info);
        if (which == 0 || gelf_getsym(symbol_data, static_cast<int>(which), &symbol) == nullptr) continue;
        const char* name = elf_strptr(elf, symbols.sh_link, symbol.st_name);
        if (name == nullptr || name[0] == '\0') continue;
        table.synthetic_names.push_back(std::string(name) + "@plt");
        table.entries.push_back({area.sh_addr + (sec ? i : i + 1) * stub, stub, table.synthetic_names.back().c_str(),
                                 sec ? plt_sec_index : plt_index, STT_FUNC, STB_LOCAL});
    }
}

std::optional<Symbol> to_symbol(const ImageState& image, const SymbolEntry* entry) {
    if (entry == nullptr) return std::nullopt;
    Symbol out;
    out.name = entry->name;
    out.address = Address{entry->address + image.bias};
    out.size = entry->size;
    out.function = entry->type == STT_FUNC || entry->type == STT_GNU_IFUNC;
    out.object = entry->type == STT_OBJECT;
    return out;
}

}  // namespace

const SymbolTable& symbols_of(const ImageState& image) {
    auto& lazy = image.lazy;
    if (lazy.symbols) return *lazy.symbols;
    SymbolTable& table = lazy.symbols.emplace();
    Elf* own = image.file.elf();
    table.has_symtab = add_table(own, SHT_SYMTAB, table);
    add_table(own, SHT_DYNSYM, table);
    if (!table.has_symtab) {
        find_separate_debug(image);
        if (lazy.debug.separate) table.has_symtab = add_table(lazy.debug.separate->elf(), SHT_SYMTAB, table);
    }
    if (!table.has_symtab)
        if (auto mini = load_minidebug(image)) {
            table.has_symtab = add_table(mini->elf(), SHT_SYMTAB, table);
            table.owners.push_back(std::move(*mini));
        }
    add_plt(own, table);
    std::ranges::stable_sort(table.entries, [](const SymbolEntry& a, const SymbolEntry& b) {
        if (a.address != b.address) return a.address < b.address;
        return rank(a) > rank(b);  // the best name last: it is met first when searching backwards
    });
    for (const auto& entry : table.entries) table.largest = std::max(table.largest, entry.size);
    return table;
}

bool Image::has_symtab() const { return symbols_of(*state_).has_symtab; }

std::optional<Symbol> Image::symbol_at(Address a) const {
    const auto& entries = symbols_of(*state_).entries;
    const std::uint64_t at = a.value - state_->bias;
    auto it = std::ranges::upper_bound(entries, at, {}, &SymbolEntry::address);
    const SymbolEntry* sizeless = nullptr;
    bool passed_sized = false;
    for (std::size_t steps = 0; it != entries.begin() && steps < widest_search; ++steps) {
        --it;
        if (at - it->address < it->size) return to_symbol(*state_, &*it);
        if (it->size == 0 && sizeless == nullptr && !passed_sized) sizeless = &*it;
        if (it->size != 0) passed_sized = true;
        if (at - it->address > symbols_of(*state_).largest && sizeless != nullptr) break;
    }
    if (sizeless == nullptr) return std::nullopt;
    // A label without a size reaches to the end of its section at most.
    for (const Section& section : state_->sections)
        if (section.range.contains(a) && section.range.contains(Address{sizeless->address + state_->bias}))
            return to_symbol(*state_, sizeless);
    return std::nullopt;
}

std::optional<Symbol> Image::find_symbol(std::string_view name) const {
    symbols_of(*state_);
    SymbolTable& table = *state_->lazy.symbols;
    if (table.by_name.empty()) {
        table.by_name.reserve(table.entries.size());
        for (std::uint32_t i = 0; i < table.entries.size(); ++i) {
            auto [known, fresh] = table.by_name.try_emplace(table.entries[i].name, i);
            if (!fresh && rank(table.entries[i]) < rank(table.entries[known->second])) known->second = i;
        }
    }
    const auto it = table.by_name.find(name);
    return it == table.by_name.end() ? std::nullopt : to_symbol(*state_, &table.entries[it->second]);
}

}  // namespace incident
