#include "image/location.h"

#include <dwarf.h>

#include <algorithm>

namespace incident {
namespace {

constexpr std::size_t deepest_stack = 64;
constexpr std::size_t most_steps = 10000;  ///< DW_OP_bra may loop

class Evaluator {
public:
    Evaluator(const Dwarf_Op* ops, std::size_t count, const LocationContext& context)
        : ops_(ops), count_(count), context_(context) {}

    Result<Location> run() {
        Location out;
        std::size_t steps = 0;
        for (std::size_t at = 0; at < count_;) {
            if (++steps > most_steps) return fail(ErrorKind::corrupt, "endless location expression");
            const Dwarf_Op& op = ops_[at];
            if (op.atom == DW_OP_piece || op.atom == DW_OP_bit_piece) {
                if (op.atom == DW_OP_bit_piece) return fail(ErrorKind::unsupported, "location in bits");
                if (out.count == out.pieces.size()) return fail(ErrorKind::unsupported, "location of many pieces");
                LocationPiece piece = take_piece();
                piece.size = op.number;
                out.pieces[out.count++] = piece;
                depth_ = 0;
                ++at;
                continue;
            }
            if (op.atom == DW_OP_skip || op.atom == DW_OP_bra) {
                bool jump = true;
                if (op.atom == DW_OP_bra) jump = TRY(pop()) != 0;
                if (!jump) {
                    ++at;
                    continue;
                }
                const std::uint64_t target =
                    op.offset + 3 + op.number;  // relative to the next operation, which is 3 bytes on
                const auto* end = ops_ + count_;
                const auto* found = std::find_if(ops_, end, [&](const Dwarf_Op& o) { return o.offset == target; });
                at = static_cast<std::size_t>(found - ops_);  // a jump behind the last operation ends the expression
                continue;
            }
            TRY(step(op));
            ++at;
        }
        if (out.count == 0) out.pieces[out.count++] = take_piece();
        return out;
    }

private:
    /// What the operations since the last piece describe.
    LocationPiece take_piece() {
        LocationPiece piece;
        if (reg_) {
            piece = {LocationPiece::Kind::reg, *reg_, 0};
        } else if (depth_ > 0) {
            piece = {is_value_ ? LocationPiece::Kind::value : LocationPiece::Kind::memory, stack_[depth_ - 1], 0};
        }
        reg_.reset();
        is_value_ = false;
        return piece;
    }
    Result<void> push(std::uint64_t value) {
        if (depth_ == stack_.size()) return fail(ErrorKind::corrupt, "location expression overflows its stack");
        stack_[depth_++] = value;
        return {};
    }
    Result<std::uint64_t> pop() {
        if (depth_ == 0) return fail(ErrorKind::corrupt, "location expression underflows its stack");
        return stack_[--depth_];
    }
    Result<std::uint64_t> peek(std::uint64_t below) {
        if (below >= depth_) return fail(ErrorKind::corrupt, "location expression underflows its stack");
        return stack_[depth_ - 1 - below];
    }
    Result<std::uint64_t> reg(std::uint64_t number) {
        if (context_.registers != nullptr && number < 1000)
            if (auto value = context_.registers->get_dwarf(static_cast<int>(number))) return *value;
        return fail(ErrorKind::absent, "register not known in this frame");
    }
    Result<std::uint64_t> load(std::uint64_t address, std::uint64_t size) {
        if (context_.memory == nullptr || size == 0 || size > 8)
            return fail(ErrorKind::unsupported, "load of this size");
        std::uint64_t value = 0;
        TRY(context_.memory->load(Address{address}, std::as_writable_bytes(std::span(&value, 1)).first(size)));
        return value;
    }
    Result<void> dereference(std::uint64_t size) {
        const std::uint64_t address = TRY(pop());
        return push(TRY(load(address, size)));
    }
    Result<std::uint64_t> indexed(const Dwarf_Op& op) {
        Dwarf_Attribute attribute;
        Dwarf_Word value = 0;
        Dwarf_Addr address = 0;
        if (context_.attribute == nullptr || dwarf_getlocation_attr(context_.attribute, &op, &attribute) != 0)
            return fail(ErrorKind::corrupt, "bad address index");
        if (dwarf_formaddr(&attribute, &address) == 0) return address;
        if (dwarf_formudata(&attribute, &value) == 0) return value;
        return fail(ErrorKind::corrupt, "bad address index");
    }
    template <class Operation>
    Result<void> binary(Operation operation) {
        const std::uint64_t right = TRY(pop()), left = TRY(pop());
        return push(operation(left, right));
    }
    template <class Operation>
    Result<void> compare(Operation operation) {
        const auto right = static_cast<std::int64_t>(TRY(pop())), left = static_cast<std::int64_t>(TRY(pop()));
        return push(operation(left, right) ? 1 : 0);
    }

    Result<void> step(const Dwarf_Op& op) {
        if (op.atom >= DW_OP_lit0 && op.atom <= DW_OP_lit31) return push(op.atom - DW_OP_lit0);
        if (op.atom >= DW_OP_reg0 && op.atom <= DW_OP_reg31) return set_reg(op.atom - DW_OP_reg0);
        if (op.atom >= DW_OP_breg0 && op.atom <= DW_OP_breg31) return push(TRY(reg(op.atom - DW_OP_breg0)) + op.number);
        switch (op.atom) {
            case DW_OP_nop: return {};
            case DW_OP_addr: return push(op.number + context_.bias);
            case DW_OP_addrx:
            case DW_OP_GNU_addr_index: return push(TRY(indexed(op)) + context_.bias);
            case DW_OP_constx:
            case DW_OP_GNU_const_index: return push(TRY(indexed(op)));
            case DW_OP_const1u:
            case DW_OP_const1s:
            case DW_OP_const2u:
            case DW_OP_const2s:
            case DW_OP_const4u:
            case DW_OP_const4s:
            case DW_OP_const8u:
            case DW_OP_const8s:
            case DW_OP_constu:
            case DW_OP_consts: return push(op.number);  // libdw has extended the sign
            case DW_OP_regx: return set_reg(op.number);
            case DW_OP_bregx: return push(TRY(reg(op.number)) + op.number2);
            case DW_OP_fbreg:
                if (!context_.frame_base) return fail(ErrorKind::absent, "no frame base");
                return push(TRY(context_.frame_base()) + op.number);
            case DW_OP_call_frame_cfa:
                if (!context_.cfa) return fail(ErrorKind::absent, "frame address not known");
                return push(context_.cfa->value);
            case DW_OP_dup: return push(TRY(peek(0)));
            case DW_OP_over: return push(TRY(peek(1)));
            case DW_OP_pick: return push(TRY(peek(op.number)));
            case DW_OP_drop: TRY(pop()); return {};
            case DW_OP_swap: return rotate(2);
            case DW_OP_rot: return rotate(3);
            case DW_OP_deref: return dereference(8);
            case DW_OP_deref_size:
            case DW_OP_deref_type:
            case DW_OP_GNU_deref_type: return dereference(op.number);
            case DW_OP_abs: {
                const auto value = static_cast<std::int64_t>(TRY(pop()));
                return push(value < 0 ? 0 - static_cast<std::uint64_t>(value) : static_cast<std::uint64_t>(value));
            }
            case DW_OP_neg: return push(0 - TRY(pop()));
            case DW_OP_not: return push(~TRY(pop()));
            case DW_OP_plus_uconst: return push(TRY(pop()) + op.number);
            case DW_OP_plus: return binary([](auto a, auto b) { return a + b; });
            case DW_OP_minus: return binary([](auto a, auto b) { return a - b; });
            case DW_OP_mul: return binary([](auto a, auto b) { return a * b; });
            case DW_OP_and: return binary([](auto a, auto b) { return a & b; });
            case DW_OP_or: return binary([](auto a, auto b) { return a | b; });
            case DW_OP_xor: return binary([](auto a, auto b) { return a ^ b; });
            case DW_OP_shl: return binary([](auto a, auto b) { return b < 64 ? a << b : 0; });
            case DW_OP_shr: return binary([](auto a, auto b) { return b < 64 ? a >> b : 0; });
            case DW_OP_shra:
                return binary([](auto a, auto b) {
                    return static_cast<std::uint64_t>(static_cast<std::int64_t>(a) >> std::min<std::uint64_t>(b, 63));
                });
            case DW_OP_div:
            case DW_OP_mod: return divide(op.atom == DW_OP_mod);
            case DW_OP_le: return compare([](auto a, auto b) { return a <= b; });
            case DW_OP_ge: return compare([](auto a, auto b) { return a >= b; });
            case DW_OP_eq: return compare([](auto a, auto b) { return a == b; });
            case DW_OP_lt: return compare([](auto a, auto b) { return a < b; });
            case DW_OP_gt: return compare([](auto a, auto b) { return a > b; });
            case DW_OP_ne: return compare([](auto a, auto b) { return a != b; });
            case DW_OP_stack_value: is_value_ = true; return {};
            case DW_OP_implicit_value: return implicit(op);
            case DW_OP_convert:
            case DW_OP_reinterpret:
            case DW_OP_GNU_convert:
            case DW_OP_GNU_reinterpret: return {};  // integer to integer in practice
            case DW_OP_regval_type:
            case DW_OP_GNU_regval_type: return push(TRY(reg(op.number)));
            case DW_OP_entry_value:
            case DW_OP_GNU_entry_value: return push(TRY(entry_value(op)));
            case DW_OP_form_tls_address:
            case DW_OP_GNU_push_tls_address: return fail(ErrorKind::unsupported, "thread-local");
            case DW_OP_implicit_pointer:
            case DW_OP_GNU_implicit_pointer: return fail(ErrorKind::absent, "points to what has no address");
            default: return fail(ErrorKind::unsupported, "location operation");
        }
    }

    /// The operand is an expression of its own, in practice one register.
    Result<std::uint64_t> entry_value(const Dwarf_Op& op) {
        Dwarf_Attribute attribute;
        Dwarf_Op* inner = nullptr;
        std::size_t count = 0;
        if (context_.entry_value && context_.attribute != nullptr &&
            dwarf_getlocation_attr(context_.attribute, &op, &attribute) == 0 &&
            dwarf_getlocation(&attribute, &inner, &count) == 0 && count == 1 && inner[0].atom >= DW_OP_reg0 &&
            inner[0].atom <= DW_OP_reg31)
            if (auto value = context_.entry_value(inner[0].atom - DW_OP_reg0)) return *value;
        return fail(ErrorKind::absent, "known at the function's entry only");
    }

    Result<void> set_reg(std::uint64_t number) {
        reg_ = number;
        return {};
    }
    Result<void> rotate(std::size_t count) {
        if (depth_ < count) return fail(ErrorKind::corrupt, "location expression underflows its stack");
        std::rotate(stack_.begin() + static_cast<std::ptrdiff_t>(depth_ - count),
                    stack_.begin() + static_cast<std::ptrdiff_t>(depth_ - 1),
                    stack_.begin() + static_cast<std::ptrdiff_t>(depth_));
        return {};
    }
    Result<void> divide(bool modulo) {
        const std::uint64_t right = TRY(pop()), left = TRY(pop());
        if (right == 0) return fail(ErrorKind::corrupt, "location expression divides by zero");
        if (modulo) return push(left % right);
        if (right == ~std::uint64_t{0}) return push(0 - left);  // INT64_MIN / -1 traps
        return push(static_cast<std::uint64_t>(static_cast<std::int64_t>(left) / static_cast<std::int64_t>(right)));
    }
    Result<void> implicit(const Dwarf_Op& op) {
        Dwarf_Block block;
        if (context_.attribute == nullptr || dwarf_getlocation_implicit_value(context_.attribute, &op, &block) != 0 ||
            block.length > 8)
            return fail(ErrorKind::unsupported, "constant of this size");
        std::uint64_t value = 0;
        std::memcpy(&value, block.data, block.length);
        is_value_ = true;
        return push(value);
    }

    const Dwarf_Op* ops_;
    std::size_t count_;
    const LocationContext& context_;
    std::array<std::uint64_t, deepest_stack> stack_{};
    std::size_t depth_ = 0;
    std::optional<std::uint64_t> reg_;
    bool is_value_ = false;
};

}  // namespace

Result<Location> evaluate_location(const Dwarf_Op* ops, std::size_t count, const LocationContext& context) {
    return Evaluator(ops, count, context).run();
}

Result<std::uint64_t> evaluate_value(const Dwarf_Op* ops, std::size_t count, const LocationContext& context,
                                     bool location_is_value) {
    const Location location = TRY(evaluate_location(ops, count, context));
    const LocationPiece& piece = location.pieces[0];
    if (!location.whole()) return fail(ErrorKind::unsupported, "rule of several pieces");
    switch (piece.kind) {
        case LocationPiece::Kind::value: return piece.where;
        case LocationPiece::Kind::reg:
            if (auto value = context.registers->get_dwarf(static_cast<int>(piece.where))) return *value;
            return fail(ErrorKind::absent, "register not known in this frame");
        case LocationPiece::Kind::memory:
            if (location_is_value) return piece.where;
            return context.memory->load<std::uint64_t>(Address{piece.where});
        case LocationPiece::Kind::unavailable: break;
    }
    return fail(ErrorKind::absent, "empty location");
}

}  // namespace incident
