// argument_of_call on code as the Go compiler writes it.
#include "disasm/call_argument.h"

#include <gtest/gtest.h>

#include <initializer_list>

#include "support/memory_builder.h"

namespace incident {
namespace {

constexpr std::uint64_t text = 0x401000, stack = 0xc000100000;

/// Memory with a frame, s at [rsp+0x38], &total at [rsp+0x70], and what they lead to.
MemoryBuilder frame_words() {
    MemoryBuilder memory;
    memory.at(stack + 0x38).mark("s slot").pointer("s");
    memory.at(stack + 0x70).mark("total slot").pointer("total");
    memory.at(0xc000200000).mark("s").u64(1).u64(2).pointer("by id").mark("total").pointer("total map");
    memory.mark("by id").u64(11).mark("total map").u64(22);
    return memory;
}

std::optional<Address> rbx_of(std::initializer_list<int> bytes) {
    auto builder = frame_words();
    builder.at(text).permissions(5);
    for (int byte : bytes) builder.u8(static_cast<std::uint8_t>(byte));
    for (int byte : {0xe8, 0, 0, 0, 0}) builder.u8(static_cast<std::uint8_t>(byte));  // call
    const auto memory = builder.build();
    const auto disassembler = Disassembler::create(x86_64());
    const auto code = disassembler->decode_range(memory, {{text}, {text + bytes.size() + 5}}, 100);
    return argument_of_call(memory, code, *x86_64().row_of("rbx"), {x86_64(), Address{stack}, Address{}});
}

std::uint64_t address_of(std::string_view mark) { return frame_words().address_of(mark).value; }

TEST(ArgumentOfCall, IsLoadedFromASlotOrIsItsAddress) {
    EXPECT_EQ(rbx_of({0x48, 0x8b, 0x5c, 0x24, 0x38})->value, address_of("s"));  // mov rbx, [rsp+0x38]
    EXPECT_EQ(rbx_of({0x48, 0x8d, 0x5c, 0x24, 0x38})->value, stack + 0x38);     // lea rbx, [rsp+0x38]
}

TEST(ArgumentOfCall, IsFollowedThroughPointers) {
    EXPECT_EQ(rbx_of({0x48, 0x8b, 0x4c, 0x24, 0x38,  // mov rcx, [rsp+0x38]
                      0x48, 0x8b, 0x59, 0x10})
                  ->value  // mov rbx, [rcx+0x10]
              ,
              address_of("by id"));
    EXPECT_EQ(rbx_of({0x48, 0x8b, 0x4c, 0x24, 0x70,  // mov rcx, [rsp+0x70]
                      0x48, 0x8b, 0x09,              // mov rcx, [rcx]
                      0x48, 0x89, 0xdf,              // mov rdi, rbx
                      0x48, 0x89, 0xcb,              // mov rbx, rcx
                      0x48, 0x89, 0xc1})
                  ->value  // mov rcx, rax
              ,
              address_of("total map"));
}

TEST(ArgumentOfCall, IsUnknownWhenComputedOrFromElsewhere) {
    EXPECT_FALSE(rbx_of({0x48, 0x8b, 0x5c, 0x24, 0x38, 0x48, 0x01, 0xcb}));        // …; add rbx, rcx
    EXPECT_FALSE(rbx_of({0x48, 0x8b, 0x5c, 0x24, 0x38, 0x48, 0x0f, 0x45, 0xd9}));  // …; cmovne rbx, rcx
    EXPECT_FALSE(rbx_of({0x48, 0x8b, 0x5c, 0x24, 0x38, 0x48, 0x87, 0xd9}));        // …; xchg rcx, rbx
    EXPECT_FALSE(rbx_of({0x48, 0x8b, 0x5c, 0x24, 0x38, 0xeb, 0x00}));              // …; jmp
    EXPECT_FALSE(rbx_of({0x49, 0x8b, 0x59, 0x10}));                                // mov rbx, [r9+0x10]
    EXPECT_FALSE(rbx_of({0x48, 0x8b, 0x5c, 0x24, 0x20}));                          // mov rbx, [rsp+0x20]: not there
    EXPECT_FALSE(rbx_of({0x48, 0x8b, 0x4c, 0x24, 0x38,                             // mov rcx, [rsp+0x38]
                         0x48, 0x8b, 0x1c, 0xd1}));                                // mov rbx, [rcx+rdx*8]
    EXPECT_FALSE(rbx_of({0x48, 0x8b, 0x4c, 0x24, 0x38,                             // mov rcx, [rsp+0x38]
                         0x48, 0x8b, 0x09, 0x48, 0x8b, 0x09, 0x48, 0x8b, 0x09,     // mov rcx, [rcx] × 3
                         0x48, 0x8b, 0x19}));                                      // mov rbx, [rcx]
}

}  // namespace
}  // namespace incident
