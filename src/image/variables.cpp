// Parameters and locals at a pc: which are in scope, where the compiler's location lists put them, and what stands
// there. Optimised code keeps variables in registers, in pieces, or nowhere at all; each of these is said, none is
// guessed.
#include <dwarf.h>

#include <algorithm>

#include "image/dwarf_types.h"
#include "image/image_state.h"
#include "image/location.h"

namespace incident {
namespace {

constexpr std::size_t most_variables = 2000;
constexpr std::size_t most_bytes = 256;  ///< of a variable put together from pieces

struct Frame {
    const ImageState& image;
    Dwarf_Addr pc;
    const Registers& registers;
    std::optional<Address> cfa;
    const Memory& memory;
    LocationContext context;
};

std::string register_name(const Registers& registers, std::uint64_t number) {
    for (const RegisterRow& row : registers.machine().registers)
        if (row.dwarf >= 0 && static_cast<std::uint64_t>(row.dwarf) == number) return std::string(row.name);
    if (number >= 17 && number <= 32 && registers.machine().elf_machine == 62)
        return "xmm" + std::to_string(number - 17);
    return "register " + std::to_string(number);
}

Encoding encoding_of(Dwarf_Die type) {
    if (is_pointer(type)) return Encoding::pointer;
    auto bare = peel(type);
    if (!bare) return Encoding::other;
    if (dwarf_tag(&*bare) == DW_TAG_enumeration_type) return Encoding::unsigned_integer;
    if (dwarf_tag(&*bare) != DW_TAG_base_type) return Encoding::other;
    Dwarf_Attribute attribute;
    Dwarf_Word encoding = 0;
    if (dwarf_attr(&*bare, DW_AT_encoding, &attribute) == nullptr || dwarf_formudata(&attribute, &encoding) != 0)
        return Encoding::other;
    switch (encoding) {
        case DW_ATE_signed: return Encoding::signed_integer;
        case DW_ATE_unsigned: return Encoding::unsigned_integer;
        case DW_ATE_boolean: return Encoding::boolean;
        case DW_ATE_signed_char:
        case DW_ATE_unsigned_char:
        case DW_ATE_UTF: return Encoding::character;
        case DW_ATE_float: return Encoding::floating;
        case DW_ATE_address: return Encoding::pointer;
        default: return Encoding::other;
    }
}

bool is_signed(Dwarf_Die type) {
    auto bare = peel(type);
    Dwarf_Attribute attribute;
    Dwarf_Word encoding = 0;
    return bare && dwarf_attr(&*bare, DW_AT_encoding, &attribute) != nullptr &&
           dwarf_formudata(&attribute, &encoding) == 0 && (encoding == DW_ATE_signed || encoding == DW_ATE_signed_char);
}

std::string enumerator_of(Dwarf_Die type, std::uint64_t value, std::uint64_t size) {
    auto bare = peel(type);
    Dwarf_Die child;
    if (!bare || dwarf_tag(&*bare) != DW_TAG_enumeration_type || dwarf_child(&*bare, &child) != 0) return {};
    const std::uint64_t mask = size >= 8 ? ~std::uint64_t{0} : (std::uint64_t{1} << size * 8) - 1;
    do {
        Dwarf_Attribute attribute;
        Dwarf_Sword constant = 0;
        if (dwarf_tag(&child) == DW_TAG_enumerator && dwarf_attr(&child, DW_AT_const_value, &attribute) != nullptr &&
            dwarf_formsdata(&attribute, &constant) == 0 &&
            (static_cast<std::uint64_t>(constant) & mask) == (value & mask))
            return std::string(die_name(child));
    } while (dwarf_siblingof(&child, &child) == 0);
    return {};
}

void set_value(Variable& out, std::optional<Dwarf_Die> type, std::uint64_t raw) {
    if (out.size == 0 || out.size > 8 || !type) return;
    if (out.encoding == Encoding::other) return;  // a small struct is no scalar
    if (out.size < 8) {
        raw &= (std::uint64_t{1} << out.size * 8) - 1;
        const std::uint64_t sign = std::uint64_t{1} << (out.size * 8 - 1);
        if ((raw & sign) != 0 && is_signed(*type)) raw |= ~((sign << 1) - 1);
    }
    out.value = raw;
    out.enumerator = enumerator_of(*type, raw, out.size);
}

/// One piece's bytes into `out`; false when they are not known.
bool read_piece(const Frame& frame, const LocationPiece& piece, std::uint64_t size, std::vector<std::byte>& out) {
    const std::size_t at = out.size();
    out.resize(at + size);
    std::uint64_t word = piece.where;
    switch (piece.kind) {
        case LocationPiece::Kind::memory:
            return frame.memory.load(Address{piece.where}, std::span(out).subspan(at)).has_value();
        case LocationPiece::Kind::reg: {
            auto value = frame.registers.get_dwarf(static_cast<int>(piece.where));
            if (!value || size > 8) return false;
            word = *value;
            break;
        }
        case LocationPiece::Kind::value:
            if (size > 8) return false;
            break;
        case LocationPiece::Kind::unavailable: return false;
    }
    std::memcpy(out.data() + at, &word, size);
    return true;
}

std::string place_of(const Frame& frame, const LocationPiece& piece) {
    switch (piece.kind) {
        case LocationPiece::Kind::memory: return "memory";
        case LocationPiece::Kind::reg: {
            const std::string name = register_name(frame.registers, piece.where);
            return frame.registers.get_dwarf(static_cast<int>(piece.where)) ? name : name + " (not saved)";
        }
        case LocationPiece::Kind::value: return "computed";
        case LocationPiece::Kind::unavailable: break;
    }
    return "optimized out";
}

void read_location(const Frame& frame, const Location& location, std::optional<Dwarf_Die> type, Variable& out) {
    const LocationPiece& first = location.pieces[0];
    if (location.whole() && first.kind == LocationPiece::Kind::memory) {
        out.address = Address{first.where};
        std::uint64_t raw = 0;
        if (out.size != 0 && out.size <= 8 &&
            frame.memory.load(*out.address, std::as_writable_bytes(std::span(&raw, 1)).first(out.size)))
            set_value(out, type, raw);
        return;
    }
    bool known = true;
    for (std::size_t i = 0; i < location.count; ++i) {
        const LocationPiece& piece = location.pieces[i];
        const std::uint64_t size = piece.size != 0 ? piece.size : std::min<std::uint64_t>(out.size, 8);
        out.place += (i == 0 ? "" : ", ") + place_of(frame, piece);
        if (size > most_bytes || out.bytes.size() + size > most_bytes)
            known = false;
        else
            known = known && read_piece(frame, piece, size, out.bytes);
    }
    if (!known) {
        out.bytes.clear();
        return;
    }
    if (out.bytes.size() <= 8) {
        std::uint64_t raw = 0;
        std::memcpy(&raw, out.bytes.data(), out.bytes.size());
        set_value(out, type, raw);
    }
}

/// Fills place, address and value from DW_AT_location or DW_AT_const_value.
void locate(const Frame& frame, Dwarf_Die& die, std::optional<Dwarf_Die> type, Variable& out) {
    Dwarf_Attribute attribute;
    if (dwarf_attr(&die, DW_AT_location, &attribute) != nullptr) {
        accept_go_location(attribute);
        Dwarf_Op* ops = nullptr;
        std::size_t count = 0;
        if (dwarf_getlocation_addr(&attribute, frame.pc, &ops, &count, 1) == 1 && count != 0) {
            LocationContext context = frame.context;
            context.attribute = &attribute;
            if (auto location = evaluate_location(ops, count, context)) {
                if (location->whole() && is_go(die) && tells_of_one_word(attribute, out.size)) {
                    location->pieces[0].size = 8;
                    location->pieces[location->count++].size = out.size - 8;  // its other words: nowhere
                }
                read_location(frame, *location, type, out);
            } else
                out.place = location.error().kind == ErrorKind::absent ? "optimized out"
                                                                       : "not readable: " + location.error().what;
            if (out.address || !out.place.empty()) return;
        }
        out.place = "optimized out";
        return;
    }
    Dwarf_Sword constant = 0;
    if (dwarf_attr_integrate(&die, DW_AT_const_value, &attribute) != nullptr) {
        out.place = "constant";
        if (dwarf_formsdata(&attribute, &constant) == 0) set_value(out, type, static_cast<std::uint64_t>(constant));
        return;
    }
    out.place = "optimized out";
}

std::uint32_t declaration_line(Dwarf_Die& die) {
    int line = 0;
    return dwarf_decl_line(&die, &line) == 0 && line > 0 ? static_cast<std::uint32_t>(line) : 0;
}

void add_variables(const Frame& frame, Dwarf_Die& scope, std::size_t level, std::vector<Variable>& parameters,
                   std::vector<Variable>& locals) {
    Dwarf_Die child;
    if (dwarf_child(&scope, &child) != 0) return;
    do {
        const int tag = dwarf_tag(&child);
        if ((tag != DW_TAG_formal_parameter && tag != DW_TAG_variable) ||
            parameters.size() + locals.size() >= most_variables)
            continue;
        Dwarf_Attribute attribute;
        const char* name =
            dwarf_attr_integrate(&child, DW_AT_name, &attribute) == nullptr ? nullptr : dwarf_formstring(&attribute);
        if (name == nullptr || *name == '\0' || dwarf_hasattr(&child, DW_AT_declaration)) continue;
        Variable variable;
        variable.name = name;
        variable.parameter = tag == DW_TAG_formal_parameter;
        variable.level = level;
        variable.line = declaration_line(child);
        const auto type = type_of(child);
        variable.type = type_name(type, &frame.image);
        if (type) {
            variable.size = size_of(*type).value_or(0);
            variable.encoding = encoding_of(*type);
            variable.pointer = variable.encoding == Encoding::pointer;
        }
        bool result = false;
        if (is_go(child) && dwarf_attr_integrate(&child, DW_AT_variable_parameter, &attribute) != nullptr)
            variable.result = dwarf_formflag(&attribute, &result) == 0 && result;
        locate(frame, child, type, variable);
        (variable.parameter ? parameters : locals).push_back(std::move(variable));
    } while (dwarf_siblingof(&child, &child) == 0);
}

}  // namespace

Result<std::uint64_t> frame_base_of(Dwarf_Die function, Dwarf_Addr pc, const LocationContext& frame) {
    Dwarf_Attribute attribute;
    Dwarf_Op* ops = nullptr;
    std::size_t count = 0;
    if (dwarf_attr_integrate(&function, DW_AT_frame_base, &attribute) == nullptr)
        return fail(ErrorKind::absent, "no frame base");
    accept_go_location(attribute);
    if (dwarf_getlocation_addr(&attribute, pc, &ops, &count, 1) != 1 || count == 0)
        return fail(ErrorKind::absent, "no frame base");
    LocationContext context = frame;
    context.attribute = &attribute;
    context.frame_base = nullptr;
    return evaluate_value(ops, count, context, /*location_is_value=*/true);
}

std::vector<Variable> Image::variables_at(Address pc, const Registers& registers, std::optional<Address> cfa,
                                          const Memory& memory, const EntryValue& entry_value) const {
    std::vector<Variable> out;
    Frame frame{*state_, pc.value - state_->bias, registers, cfa, memory, {}};
    auto scopes = scopes_at(*state_, frame.pc);
    if (scopes.empty()) return out;
    frame.context = {.registers = &registers, .memory = &memory, .cfa = cfa, .bias = state_->bias};
    frame.context.entry_value = entry_value;
    frame.context.frame_base = [&] { return frame_base_of(scopes.front(), frame.pc, frame.context); };

    const bool go = is_go(scopes.front());
    const auto levels = go ? inline_frames_at(pc) : std::vector<InlineFrame>();
    std::size_t level = 0;
    std::vector<Variable> parameters, locals;
    for (auto scope = scopes.rbegin(); scope != scopes.rend(); ++scope) {
        add_variables(frame, *scope, level, parameters, locals);
        const int tag = dwarf_tag(&*scope);
        if (tag != DW_TAG_inlined_subroutine && tag != DW_TAG_subprogram) continue;
        // Go's blocks begin before their variables do: what is declared below the current line has no value yet.
        if (level < levels.size() && levels[level].line != 0)
            std::erase_if(locals, [&](const Variable& v) { return v.line > levels[level].line; });
        std::ranges::move(parameters, std::back_inserter(out));
        std::ranges::move(locals, std::back_inserter(out));
        parameters.clear();
        locals.clear();
        ++level;
    }
    return out;
}

}  // namespace incident
