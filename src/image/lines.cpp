// Source lines and inlined calls at a pc.
#include <dwarf.h>

#include "image/dwarf_types.h"
#include "image/image_state.h"

namespace incident {
namespace {

/// Optimised code has several rows for one address; the one that begins a statement is what debuggers show.
Dwarf_Line* prefer_statement(Dwarf_Die& unit, Dwarf_Line* line, Dwarf_Addr a) {
    bool statement = false;
    Dwarf_Lines* lines = nullptr;
    std::size_t count = 0;
    if (dwarf_linebeginstatement(line, &statement) != 0 || statement || dwarf_getsrclines(&unit, &lines, &count) != 0)
        return line;
    const auto address_of = [&](std::size_t i) {
        Dwarf_Addr address = 0;
        dwarf_lineaddr(dwarf_onesrcline(lines, i), &address);
        return address;
    };
    Dwarf_Addr row = 0;
    if (dwarf_lineaddr(line, &row) != 0) return line;
    std::size_t low = 0, high = count;  // first row behind a
    while (low < high) {
        const std::size_t middle = low + (high - low) / 2;
        if (address_of(middle) <= a)
            low = middle + 1;
        else
            high = middle;
    }
    for (std::size_t i = low; i > 0 && address_of(i - 1) == row; --i) {
        Dwarf_Line* other = dwarf_onesrcline(lines, i - 1);
        int number = 0;
        if (dwarf_linebeginstatement(other, &statement) == 0 && statement && dwarf_lineno(other, &number) == 0 &&
            number > 0)
            return other;
    }
    return line;
}

/// The row of the line table that covers `a`; line 0 rows are the compiler's own code and count as unknown.
SourceLine line_of(Dwarf_Die& unit, Dwarf_Addr a) {
    SourceLine out;
    Dwarf_Line* line = dwarf_getsrc_die(&unit, a);
    int number = 0;
    if (line == nullptr || dwarf_lineno(line, &number) != 0 || number <= 0) return out;
    line = prefer_statement(unit, line, a);
    if (dwarf_lineno(line, &number) != 0 || number <= 0) return out;
    const char* file = dwarf_linesrc(line, nullptr, nullptr);
    out.file = file == nullptr ? "" : file;
    out.line = static_cast<std::uint32_t>(number);
    return out;
}

SourceLine call_site(Dwarf_Die& unit, Dwarf_Die& inlined) {
    SourceLine out;
    Dwarf_Attribute attribute;
    Dwarf_Word file = 0, line = 0;
    if (dwarf_attr(&inlined, DW_AT_call_line, &attribute) != nullptr && dwarf_formudata(&attribute, &line) == 0)
        out.line = static_cast<std::uint32_t>(line);
    Dwarf_Files* files = nullptr;
    std::size_t count = 0;
    if (dwarf_attr(&inlined, DW_AT_call_file, &attribute) != nullptr && dwarf_formudata(&attribute, &file) == 0 &&
        dwarf_getsrcfiles(&unit, &files, &count) == 0 && file < count)
        if (const char* name = dwarf_filesrc(files, file, nullptr, nullptr)) out.file = name;
    return out;
}

}  // namespace

std::optional<SourceLine> Image::line_at(Address pc) const {
    Dwarf_Die unit;
    const Dwarf_Addr a = pc.value - state_->bias;
    if (!find_unit(*state_, a, unit)) return std::nullopt;
    const SourceLine line = line_of(unit, a);
    return line.line == 0 ? std::nullopt : std::optional(line);
}

std::vector<InlineFrame> Image::inline_frames_at(Address pc) const {
    constexpr std::size_t most_kept = 100000;
    const Dwarf_Addr a = pc.value - state_->bias;
    auto& known = state_->lazy.inline_frames;  // many threads stand at few places
    if (const auto row = known.find(a); row != known.end()) return row->second;
    std::vector<InlineFrame> out;
    auto scopes = scopes_at(*state_, a);
    Dwarf_Die unit;
    if (scopes.empty() || !find_unit(*state_, a, unit)) return out;
    SourceLine here = line_of(unit, a);
    for (auto scope = scopes.rbegin(); scope != scopes.rend(); ++scope) {
        const int tag = dwarf_tag(&*scope);
        if (tag != DW_TAG_inlined_subroutine && tag != DW_TAG_subprogram) continue;
        out.push_back({function_name(*state_, *scope), here.file, here.line});
        if (tag == DW_TAG_inlined_subroutine) here = call_site(unit, *scope);
    }
    if (known.size() < most_kept) known.emplace(a, out);
    return out;
}

std::string_view Image::keep(std::string text) const { return *state_->lazy.kept.insert(std::move(text)).first; }

}  // namespace incident
