// Follows one function's code from its start, and knows of each register, and of each stack slot that is written only
// once, whether it holds a package variable's address or value, or what a maker has just made. Private to go/binary.
//
// Surprising: a variable that leads to an object that the linker laid out (`var store = &cache{}`) gives that object's
// words addresses too: what the code does with [register+8] it does with a word of that object, for all that can be
// said about types.
#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <unordered_map>

#include "disasm/disasm.h"
#include "go/binary/code_uses.h"

namespace incident::go {

class CodeFollower {
public:
    using Arguments = std::array<CodeArgument, 5>;

    explicit CodeFollower(const CodeScope& scope) : scope_(scope), by_register_(scope.runtime.version().at_least(17)) {
        auto row = [](std::string_view name) { return x86_64().row_of(name).value_or(0); };
        // go1.17–1.27 src/cmd/compile/abi-internal.md
        argument_ = {row("rax"), row("rbx"), row("rcx"), row("rdi"), row("rsi")};
        rsp_ = row("rsp");
    }

    /// `receiver`: what the function's first argument is; only where arguments come in registers (1.17).
    /// `called`(call's address, its target, arguments) → what it returns, to be known by, or nothing; of unknown kind:
    /// it leaves all registers as they are.
    /// `stored`(address, value): 8 bytes of a variable, or of an object that the linker laid out, are written.
    template <class Called, class Stored>
    void follow(AddressRange range, const CodeArgument& receiver, Called&& called, Stored&& stored) {
        const auto code = scope_.disassembler.decode_range(scope_.memory, range, range.size());
        count_slots(code);
        ways_.clear();
        // Once for what is known where jumps lead back to.
        run(
            code, receiver, [](Address, Address, const Arguments&) { return std::nullopt; },
            [](const Place&, const CodeArgument&) {});
        run(code, receiver, called, stored);
    }

    /// A word of a variable, or of an object that the code reached it through.
    struct Place {
        Address at;
        Address object;
    };

    /// The object that the linker laid out, and that the variable at `variable` leads to now.
    std::optional<Address> object_behind(Address variable) const {
        const auto object = scope_.memory.load_address(variable);
        if (!object || !object->is_aligned(8) || !scope_.module.is_variable(*object)) return std::nullopt;
        // What an interface holds may be of another type than what this code expects.
        const auto before = scope_.memory.load_address(variable - 8);
        if (before && scope_.is_type_word(*before)) return std::nullopt;
        return *object;
    }

private:
    using Registers = std::array<CodeArgument, max_registers>;

    template <class Called, class Stored>
    void run(const std::vector<Instruction>& code, const CodeArgument& receiver, Called&& called, Stored&& stored) {
        forget();
        if (by_register_) registers_[argument_[0]] = receiver;
        for (const Instruction& i : code) {
            if (auto way = ways_.find(i.pc.value); way != ways_.end()) join(registers_, way->second);
            switch (i.flow) {
                case Flow::call:
                case Flow::indirect_call: {
                    std::optional<CodeArgument> returns;
                    if (i.flow == Flow::call && i.target) {
                        returns = called(i.pc, *i.target, arguments());
                        if (returns && returns->kind == CodeArgument::Kind::unknown) break;
                    }
                    forget();
                    if (returns && by_register_) registers_[argument_[0]] = *returns;
                    break;
                }
                case Flow::next:
                    if (i.mnemonic == "mov" && !i.memory.empty() && i.memory.front().written &&
                        i.memory.front().size == 8)
                        if (const auto place = place_of(i.memory.front()))
                            stored(*place, i.source && !i.immediate ? registers_[*i.source] : CodeArgument{});
                    step(i);
                    break;
                case Flow::conditional_jump:
                    if (i.target) leave_for(*i.target);
                    break;
                case Flow::jump:
                    if (i.target) leave_for(*i.target);
                    [[fallthrough]];
                default: forget();  // whoever comes here next comes from elsewhere
            }
        }
    }
    /// What one way to a label does not know, the other may: a register that is used behind it has one type on both.
    static void join(Registers& known, const Registers& other) {
        for (std::size_t i = 0; i < known.size(); ++i)
            if (known[i].kind == CodeArgument::Kind::unknown) known[i] = other[i];
    }
    void leave_for(Address target) {
        auto [way, fresh] = ways_.try_emplace(target.value, registers_);
        if (!fresh) join(way->second, registers_);
    }

    static constexpr std::int64_t farthest = 1 << 20;  // field of an object

    void forget() {
        registers_.fill({});
        slots_.fill({});
    }
    Arguments arguments() const {
        Arguments out;
        for (std::size_t n = 0; n < out.size(); ++n)
            if (by_register_)
                out[n] = registers_[argument_[n]];
            else if (n < slots_.size())
                out[n] = slots_[n];
        return out;
    }
    /// The place in a variable, or in an object, that an operand means; the stack and rodata are none.
    std::optional<Place> place_of(const MemoryOperand& operand) const {
        if (operand.fs_relative || operand.gs_relative) return std::nullopt;
        if (operand.absolute) return Place{*operand.absolute, {}};
        if (!by_register_ || !operand.base || operand.index || operand.displacement < 0 ||
            operand.displacement > farthest)
            return std::nullopt;
        const CodeArgument& base = registers_[*operand.base];
        std::optional<Address> object;
        if (base.kind == CodeArgument::Kind::address) object = base.at;
        if (base.kind == CodeArgument::Kind::value) object = object_behind(base.at);
        if (!object) return std::nullopt;
        const Address at = *object + static_cast<std::uint64_t>(operand.displacement);
        // What is reached through a part of an object (an embedded lock's address) belongs to that part first.
        return scope_.module.is_variable(at) ? std::optional(Place{at, *object}) : std::nullopt;
    }
    static bool writes_only_what_it_names(std::string_view m) {
        static constexpr std::array<std::string_view, 46> plain = {
            "mov",   "movzx",  "movsx",  "movsxd", "movabs", "lea",  "add",   "sub",   "and",  "or",
            "xor",   "inc",    "dec",    "neg",    "not",    "shl",  "shr",   "sar",   "bt",   "cmp",
            "test",  "nop",    "movups", "movaps", "movdqu", "movq", "movss", "xorps", "pxor", "push",
            "pop",   "adc",    "sbb",    "rol",    "ror",    "bsf",  "bsr",   "bswap", "shld", "popcnt",
            "movsd", "movdqa", "tzcnt",  "lzcnt",  "mulsd",  "addsd"};
        return std::ranges::find(plain, m) != plain.end() || m.starts_with("set") || m.starts_with("cmov");
    }
    void step(const Instruction& i) {
        if (i.locked || !writes_only_what_it_names(i.mnemonic)) return forget();
        CodeArgument value;
        const MemoryOperand* memory = i.memory.empty() ? nullptr : &i.memory.front();
        if (i.lea && memory != nullptr) {
            if (const auto place = place_of(*memory)) value = {CodeArgument::Kind::address, place->at, place->object};
        } else if (i.mnemonic == "mov" && memory == nullptr && i.source && i.destination && !i.immediate) {
            value = registers_[*i.source];
        } else if (i.mnemonic == "mov" && memory != nullptr && memory->read && memory->size == 8) {
            if (const auto place = place_of(*memory))
                value = {CodeArgument::Kind::value, place->at, place->object};
            else if (is_slot(*memory))
                if (auto kept = spilled_.find(memory->displacement); kept != spilled_.end()) value = kept->second;
        }
        if (i.destination) {
            if (*i.destination == rsp_) slots_.fill({});
            registers_[*i.destination] = value;
        }
        if (memory != nullptr && memory->written && memory->base && *memory->base == rsp_) store(i, *memory);
    }
    bool is_slot(const MemoryOperand& operand) const {
        return operand.base && *operand.base == rsp_ && !operand.index && !operand.fs_relative && !operand.gs_relative;
    }
    void store(const Instruction& i, const MemoryOperand& to) {
        const bool whole = !to.index && to.size == 8 && i.mnemonic == "mov" && i.source && !i.immediate;
        for (std::size_t slot = 0; slot < slots_.size(); ++slot) {
            const auto at = static_cast<std::int64_t>(slot * 8);
            const auto size = static_cast<std::int64_t>(std::max(to.size, 1u));
            if (to.index || (to.displacement < at + 8 && to.displacement + size > at)) slots_[slot] = {};
            if (whole && to.displacement == at) slots_[slot] = registers_[*i.source];
        }
        // What was made is known by its place in the code, an address and a value by themselves.
        if (whole && written_once(to.displacement) && registers_[*i.source].kind != CodeArgument::Kind::made)
            spilled_[to.displacement] = registers_[*i.source];
    }
    /// How often each slot is written. rsp moves where a frame is made and given up only; behind the last return stands
    /// the call of morestack, which saves arguments by the rsp of the caller's frame.
    void count_slots(const std::vector<Instruction>& code) {
        spilled_.clear();
        writes_.clear();
        for (const Instruction& i : code) {
            if (i.flow != Flow::next) continue;
            for (const MemoryOperand& to : i.memory)
                for (std::int64_t at = 0; to.written && is_slot(to) && at < std::max(to.size, 1u); at += 8)
                    ++writes_[(to.displacement + at) & ~std::int64_t{7}];
        }
    }
    bool written_once(std::int64_t slot) const {
        auto count = writes_.find(slot);
        return slot % 8 == 0 && count != writes_.end() && count->second == 1;
    }

    const CodeScope& scope_;
    bool by_register_;  ///< 1.17 on: ABIInternal; before, arguments lie at the stack's top
    unsigned rsp_ = 0;
    std::array<unsigned, 5> argument_{};
    Registers registers_{};
    std::array<CodeArgument, 4> slots_{};
    std::unordered_map<std::uint64_t, Registers> ways_;  ///< by a jump's target: what is known there
    std::unordered_map<std::int64_t, unsigned> writes_;  ///< by displacement from rsp
    std::unordered_map<std::int64_t, CodeArgument> spilled_;
};

}  // namespace incident::go
