// DWARF expressions written down as operations: arithmetic, bounds, pieces, and what must fail rather than guess.
#include "image/location.h"

#include <dwarf.h>
#include <gtest/gtest.h>

#include <initializer_list>

namespace incident {
namespace {

struct Fixture {
    Registers registers{x86_64()};
    std::array<std::uint64_t, 4> words{0x1111, 0x2222, 0xffffffffffffff85, 0};
    Memory memory;
    LocationContext context;
    Fixture() {
        registers.set_dwarf(0, 0x5000);  // rax
        registers.set_dwarf(7, 0x7000);  // rsp
        memory.add({{{0x7000}, {0x7020}}, reinterpret_cast<const std::byte*>(words.data()), Origin::core, 6});
        memory.freeze();
        context = {.registers = &registers, .memory = &memory, .cfa = Address{0x7010}, .bias = 0x100};
    }
    Result<Location> run(std::vector<Dwarf_Op> ops) {
        for (std::size_t i = 0; i < ops.size(); ++i)
            if (ops[i].offset == 0) ops[i].offset = i;  // one byte each, unless the test says otherwise
        return evaluate_location(ops.data(), ops.size(), context);
    }
    std::uint64_t value(std::vector<Dwarf_Op> ops) {
        ops.push_back({DW_OP_stack_value, 0, 0, 0});
        auto out = run(std::move(ops));
        EXPECT_TRUE(out.has_value());
        if (!out) return 0xdead;
        EXPECT_EQ(out->pieces[0].kind, LocationPiece::Kind::value);
        return out->pieces[0].where;
    }
    ErrorKind error(std::vector<Dwarf_Op> ops) {
        auto out = run(std::move(ops));
        EXPECT_FALSE(out.has_value());
        return out ? ErrorKind::io : out.error().kind;
    }
};

Dwarf_Op op(unsigned atom, std::uint64_t number = 0, std::uint64_t number2 = 0) {
    return {static_cast<std::uint8_t>(atom), number, number2, 0};
}

TEST(Location, RegistersMemoryAndTheFrame) {
    Fixture f;
    auto in_register = f.run({op(DW_OP_reg0)});
    EXPECT_EQ(in_register->pieces[0].kind, LocationPiece::Kind::reg);
    auto in_frame = f.run({op(DW_OP_breg7, 8)});
    EXPECT_EQ(in_frame->pieces[0].kind, LocationPiece::Kind::memory);
    EXPECT_EQ(in_frame->pieces[0].where, 0x7008u);
    EXPECT_EQ(f.run({op(DW_OP_call_frame_cfa), op(DW_OP_consts, static_cast<std::uint64_t>(-16)), op(DW_OP_plus)})
                  ->pieces[0]
                  .where,
              0x7000u);
    EXPECT_EQ(f.run({op(DW_OP_addr, 0x400000)})->pieces[0].where, 0x400100u);  // biased
    EXPECT_EQ(f.value({op(DW_OP_breg7, 8), op(DW_OP_deref)}), 0x2222u);
    EXPECT_EQ(f.value({op(DW_OP_breg7, 16), op(DW_OP_deref_size, 1)}), 0x85u);
    f.context.frame_base = [] { return Result<std::uint64_t>(0x7010); };
    EXPECT_EQ(f.run({op(DW_OP_fbreg, static_cast<std::uint64_t>(-8))})->pieces[0].where, 0x7008u);
}

TEST(Location, Arithmetic) {
    Fixture f;
    const auto minus5 = op(DW_OP_consts, static_cast<std::uint64_t>(-5));
    EXPECT_EQ(f.value({op(DW_OP_lit5), op(DW_OP_lit3), op(DW_OP_minus)}), 2u);
    EXPECT_EQ(f.value({minus5, op(DW_OP_lit2), op(DW_OP_div)}), static_cast<std::uint64_t>(-2));
    EXPECT_EQ(f.value({minus5, op(DW_OP_lit1), op(DW_OP_shra)}), static_cast<std::uint64_t>(-3));
    EXPECT_EQ(f.value({op(DW_OP_lit1), op(DW_OP_const1u, 64), op(DW_OP_shl)}), 0u);
    EXPECT_EQ(f.value({minus5, op(DW_OP_abs)}), 5u);
    EXPECT_EQ(f.value({op(DW_OP_const8u, 1ull << 63), op(DW_OP_consts, ~0ull), op(DW_OP_div)}), 1ull << 63);
    EXPECT_EQ(f.value({minus5, op(DW_OP_lit3), op(DW_OP_lt)}), 1u);
    EXPECT_EQ(f.value({op(DW_OP_lit1), op(DW_OP_lit2), op(DW_OP_swap)}), 1u);
    EXPECT_EQ(f.value({op(DW_OP_lit1), op(DW_OP_lit2), op(DW_OP_lit3), op(DW_OP_rot)}), 2u);
    EXPECT_EQ(f.value({op(DW_OP_lit1), op(DW_OP_lit2), op(DW_OP_over)}), 1u);
    EXPECT_EQ(f.value({op(DW_OP_lit7), op(DW_OP_lit4), op(DW_OP_pick, 1)}), 7u);
}

TEST(Location, Pieces) {
    Fixture f;
    auto out = f.run({op(DW_OP_reg0), op(DW_OP_piece, 8), op(DW_OP_piece, 8), op(DW_OP_breg7, 0), op(DW_OP_piece, 8)});
    ASSERT_TRUE(out.has_value());
    ASSERT_EQ(out->count, 3u);
    EXPECT_EQ(out->pieces[0].kind, LocationPiece::Kind::reg);
    EXPECT_EQ(out->pieces[1].kind, LocationPiece::Kind::unavailable);
    EXPECT_EQ(out->pieces[2].kind, LocationPiece::Kind::memory);
    EXPECT_FALSE(out->whole());
    std::vector<Dwarf_Op> many;
    for (int i = 0; i < 20; ++i) many.insert(many.end(), {op(DW_OP_reg0), op(DW_OP_piece, 1)});
    EXPECT_EQ(f.error(many), ErrorKind::unsupported);
}

TEST(Location, WhatCannotBeComputedFails) {
    Fixture f;
    EXPECT_EQ(f.error({op(DW_OP_breg3, 0)}), ErrorKind::absent);  // rbx is not known
    EXPECT_EQ(f.error({op(DW_OP_breg0, 0), op(DW_OP_deref)}), ErrorKind::unmapped);
    EXPECT_EQ(f.error({op(DW_OP_plus)}), ErrorKind::corrupt);
    EXPECT_EQ(f.error({op(DW_OP_lit1), op(DW_OP_lit0), op(DW_OP_div)}), ErrorKind::corrupt);
    EXPECT_EQ(f.error({op(DW_OP_lit1), op(DW_OP_lit0), op(DW_OP_mod)}), ErrorKind::corrupt);
    EXPECT_EQ(f.error({op(DW_OP_lit1), op(DW_OP_pick, 200)}), ErrorKind::corrupt);
    EXPECT_EQ(f.error({op(DW_OP_breg7), op(DW_OP_deref_size, 9)}), ErrorKind::unsupported);
    EXPECT_EQ(f.error({op(DW_OP_entry_value)}), ErrorKind::absent);
    EXPECT_EQ(f.error({op(DW_OP_lit1), op(DW_OP_form_tls_address)}), ErrorKind::unsupported);
    EXPECT_EQ(f.error({op(DW_OP_xderef)}), ErrorKind::unsupported);
    EXPECT_EQ(f.error(std::vector<Dwarf_Op>(100, op(DW_OP_lit1))), ErrorKind::corrupt);
    EXPECT_EQ(f.run({})->pieces[0].kind, LocationPiece::Kind::unavailable);
}

TEST(Location, LoopsEnd) {
    Fixture f;
    // lit1; bra -4 (to itself's predecessor): offsets 1 and 2, the next operation would be at 5.
    std::vector<Dwarf_Op> ops{{DW_OP_lit1, 0, 0, 1}, {DW_OP_bra, static_cast<std::uint64_t>(-4), 0, 2}};
    EXPECT_EQ(f.error(ops), ErrorKind::corrupt);
    std::vector<Dwarf_Op> over{{DW_OP_skip, 1, 0, 1}, {DW_OP_plus, 0, 0, 4}, {DW_OP_lit9, 0, 0, 5}};
    EXPECT_EQ(f.value(over), 9u);
}

}  // namespace
}  // namespace incident
