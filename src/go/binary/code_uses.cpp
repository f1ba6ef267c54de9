#include "go/binary/code_uses.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <unordered_set>

namespace incident::go {
namespace {

constexpr std::size_t call_size = 5;                        // e8 rel32
constexpr std::size_t operand_size = 7;                     // rex.w 8b|8d modrm rel32
constexpr std::size_t reach = 96;                           // bytes before a call in which its arguments are made
constexpr std::size_t longest_way = 8192;                   // bytes decoded of one function
constexpr std::size_t most_decoded = std::size_t{2} << 20;  // bytes, of all
constexpr std::size_t tries_of_a_pair = 3;
constexpr std::size_t most_pairs = 1 << 18;
constexpr std::uint64_t largest_text = std::uint64_t{1} << 31;  // rel32 reaches no farther

std::int32_t relative(const std::byte* at) {
    std::int32_t value = 0;
    std::memcpy(&value, at, sizeof(value));
    return value;
}

struct Site {
    Address entry;  ///< of the function
    Address until;  ///< the end of the call, or of the store
};

/// Pairs of a variable and a callee, by bytes alone: what may be there.
class Sites {
public:
    /// `behind`: variables are looked for in stores behind the calls.
    Sites(const Runtime& runtime, const ModuleData& module, std::span<const Address> callees, bool behind)
        : runtime_(runtime), module_(module), behind_(behind), begins_(module.text.size() / 16 + 1) {
        for (std::uint32_t i = 0; i < callees.size(); ++i) {
            if (!module.text.contains(callees[i])) continue;
            by_entry_.try_emplace(callees[i].value, i);
            begins_[(callees[i] - module.text.begin) / 16] = true;
        }
    }

    void scan(Address begin, std::span<const std::byte> bytes) {
        const std::byte* at = bytes.data();
        const std::byte* const end = at + bytes.size();
        while (end - at >= std::ptrdiff_t{call_size} &&
               (at = static_cast<const std::byte*>(std::memchr(at, 0xe8, static_cast<std::size_t>(end - at)))) !=
                   nullptr &&
               end - at >= std::ptrdiff_t{call_size}) {
            const auto offset = static_cast<std::uint64_t>(at - bytes.data());
            const Address call = begin + offset;
            const Address target{call.value + call_size + static_cast<std::uint64_t>(std::int64_t{relative(at + 1)})};
            if (module_.text.contains(target) && begins_[(target - module_.text.begin) / 16])
                if (auto callee = by_entry_.find(target.value); callee != by_entry_.end()) {
                    if (behind_)
                        stores(call, at, std::min(bytes.size() - offset, reach), callee->second);
                    else
                        operands(call, at, std::min<std::uint64_t>(offset, reach), callee->second);
                }
            ++at;
        }
    }

    struct Pair {
        Address variable;
        std::uint32_t callee = 0;
        auto operator<=>(const Pair&) const = default;
    };
    std::map<Pair, std::vector<Site>> pairs;

private:
    void operands(Address call, const std::byte* at, std::uint64_t before, std::uint32_t callee) {
        for (std::uint64_t back = operand_size; back <= before; ++back) {
            const std::byte* p = at - back;
            const auto rex = std::to_integer<unsigned>(p[0]), op = std::to_integer<unsigned>(p[1]),
                       modrm = std::to_integer<unsigned>(p[2]);
            if ((rex & 0xfb) != 0x48 || (op != 0x8b && op != 0x8d) || (modrm & 0xc7) != 0x05) continue;
            note(call - back, p, call + call_size, callee);
        }
    }
    /// mov [rip+x], rax
    void stores(Address call, const std::byte* at, std::size_t room, std::uint32_t callee) {
        for (std::size_t ahead = call_size; ahead + operand_size <= room; ++ahead) {
            const std::byte* p = at + ahead;
            if (p[0] != std::byte{0x48} || p[1] != std::byte{0x89} || p[2] != std::byte{0x05}) continue;
            note(call + ahead, p, call + ahead + operand_size, callee);
        }
    }
    /// An instruction with a rip-relative operand; what is to be decoded ends at `until`.
    void note(Address at, const std::byte* bytes, Address until, std::uint32_t callee) {
        const Address variable{at.value + operand_size + static_cast<std::uint64_t>(std::int64_t{relative(bytes + 3)})};
        if (!module_.is_variable(variable) || pairs.size() >= most_pairs) return;
        std::vector<Site>& sites = pairs[{variable, callee}];
        auto func = runtime_.find_func(at);
        if (!func || func->is_asm() || until - func->entry > std::int64_t{longest_way}) return;
        sites.push_back({func->entry, until});
        // The shortest ways are kept: they are decoded first.
        std::ranges::sort(sites, {}, [](const Site& s) { return s.until - s.entry; });
        if (sites.size() > tries_of_a_pair) sites.pop_back();
    }

    const Runtime& runtime_;
    const ModuleData& module_;
    const bool behind_;
    std::vector<bool> begins_;  ///< by 16 bytes of text: a callee begins there
    std::unordered_map<std::uint64_t, std::uint32_t> by_entry_;
};

/// Follows one function from its start, and knows of each register whether it holds a variable's address or value.
class Follower {
public:
    Follower(const Memory& memory, const Runtime& runtime, const Disassembler& disassembler)
        : memory_(memory), disassembler_(disassembler), by_register_(runtime.version().at_least(17)) {
        auto row = [](std::string_view name) { return x86_64().row_of(name).value_or(0); };
        // go1.17–1.27 src/cmd/compile/abi-internal.md
        argument_ = {row("rax"), row("rbx"), row("rcx"), row("rdi"), row("rsi")};
        rsp_ = row("rsp");
    }

    using Arguments = std::array<CodeArgument, 5>;
    /// fn(call's address, its target, arguments) → what it returns, to be known by, or nothing.
    /// stored(variable, what): a register's value is stored in it.
    template <class Fn, class Stored>
    void follow(AddressRange range, Fn&& fn, Stored&& stored) {
        forget();
        for (const Instruction& i : disassembler_.decode_range(memory_, range, range.size())) {
            if (i.flow == Flow::call || i.flow == Flow::indirect_call) {
                if (i.flow == Flow::call && i.target) {
                    Arguments arguments;
                    for (std::size_t n = 0; n < arguments.size(); ++n)
                        if (by_register_)
                            arguments[n] = registers_[argument_[n]];
                        else if (n < slots_.size())
                            arguments[n] = slots_[n];
                    const std::optional<CodeArgument> returns = fn(i.pc, *i.target, arguments);
                    if (returns && returns->kind == CodeArgument::Kind::unknown) continue;  // it leaves all registers
                    forget();
                    if (returns && by_register_) registers_[argument_[0]] = *returns;
                } else {
                    forget();
                }
            } else if (i.flow == Flow::next) {
                if (i.mnemonic == "mov" && !i.memory.empty() && i.memory.front().written && i.memory.front().absolute &&
                    i.memory.front().size == 8 && i.source && !i.immediate)
                    stored(*i.memory.front().absolute, registers_[*i.source]);
                step(i);
            } else if (i.flow != Flow::conditional_jump) {
                forget();  // whoever comes here next comes from elsewhere
            }
        }
    }

private:
    void forget() {
        registers_.fill({});
        slots_.fill({});
    }
    static bool writes_only_what_it_names(std::string_view m) {
        static constexpr std::array<std::string_view, 29> plain = {
            "mov",  "movzx", "movsx",  "movsxd", "movabs", "lea",  "add",   "sub",   "and", "or",
            "xor",  "inc",   "dec",    "neg",    "not",    "shl",  "shr",   "sar",   "bt",  "cmp",
            "test", "nop",   "movups", "movaps", "movdqu", "movq", "movss", "xorps", "pxor"};
        return std::ranges::find(plain, m) != plain.end() || m.starts_with("set") || m.starts_with("cmov");
    }
    void step(const Instruction& i) {
        if (i.locked || !writes_only_what_it_names(i.mnemonic)) return forget();
        CodeArgument value;
        const MemoryOperand* memory = i.memory.empty() ? nullptr : &i.memory.front();
        if (i.lea && memory != nullptr && memory->absolute)
            value = {CodeArgument::Kind::address, *memory->absolute};
        else if (i.mnemonic == "mov" && memory == nullptr && i.source && i.destination && !i.immediate)
            value = registers_[*i.source];
        else if (i.mnemonic == "mov" && memory != nullptr && memory->read && memory->absolute && memory->size == 8 &&
                 !memory->fs_relative && !memory->gs_relative)
            value = {CodeArgument::Kind::value, *memory->absolute};
        if (i.destination) {
            if (*i.destination == rsp_) slots_.fill({});
            registers_[*i.destination] = value;
        }
        if (memory != nullptr && memory->written && memory->base && *memory->base == rsp_) store(i, *memory);
    }
    void store(const Instruction& i, const MemoryOperand& to) {
        for (std::size_t slot = 0; slot < slots_.size(); ++slot) {
            const auto at = static_cast<std::int64_t>(slot * 8);
            const auto size = static_cast<std::int64_t>(std::max(to.size, 1u));
            if (to.index || (to.displacement < at + 8 && to.displacement + size > at)) slots_[slot] = {};
            if (!to.index && to.displacement == at && to.size == 8 && i.mnemonic == "mov" && i.source && !i.immediate)
                slots_[slot] = registers_[*i.source];
        }
    }

    const Memory& memory_;
    const Disassembler& disassembler_;
    bool by_register_;  ///< 1.17 on: ABIInternal; before, arguments lie at the stack's top
    unsigned rsp_ = 0;
    std::array<unsigned, 5> argument_{};
    std::array<CodeArgument, max_registers> registers_{};
    std::array<CodeArgument, 4> slots_{};
};

/// Decodes the functions that `sites` names, the nearest of each pair first, until `take` says that the pair is known.
template <class Known, class Fn, class Stored>
void follow_sites(const Sites& sites, Follower& follower, Known&& known, Fn&& fn, Stored&& stored) {
    std::unordered_map<std::uint64_t, Address> decoded;  // by entry: up to where
    std::size_t bytes = 0;
    for (const auto& [pair, places] : sites.pairs)
        for (const Site& site : places) {
            if (known(pair) || bytes >= most_decoded) break;
            Address& until = decoded[site.entry.value];
            if (until >= site.until) continue;
            until = site.until;
            bytes += static_cast<std::size_t>(until - site.entry);
            follower.follow({site.entry, until}, fn, stored);
        }
}

void scan_text(const Memory& memory, const ModuleData& module, Sites& sites) {
    for (Address at = module.text.begin; at < module.text.end;) {
        auto bytes = memory.view_up_to(at, static_cast<std::size_t>(module.text.end - at));
        if (!bytes || bytes->empty()) break;
        sites.scan(at, *bytes);
        at += bytes->size();
    }
}

std::unordered_map<std::uint64_t, std::uint32_t> index_of(std::span<const Address> functions) {
    std::unordered_map<std::uint64_t, std::uint32_t> index;
    for (std::uint32_t i = 0; i < functions.size(); ++i) index.try_emplace(functions[i].value, i);
    return index;
}

}  // namespace

std::vector<CallOfVariable> calls_of_variables(const Memory& memory, const Runtime& runtime, const ModuleData& module,
                                               std::span<const Address> callees, const Disassembler& disassembler) {
    std::vector<CallOfVariable> out;
    if (module.text.empty() || module.text.size() > largest_text) return out;
    Sites sites(runtime, module, callees, false);
    scan_text(memory, module, sites);
    const auto index = index_of(callees);
    std::map<Sites::Pair, bool> told;
    Follower follower(memory, runtime, disassembler);
    auto take = [&](const Sites::Pair& pair) {
        auto known = sites.pairs.find(pair);
        return known != sites.pairs.end() && std::exchange(told[pair], true) == false;
    };
    follow_sites(
        sites, follower, [&](const Sites::Pair& pair) { return told[pair]; },
        [&](Address call, Address target, const Follower::Arguments& arguments) -> std::optional<CodeArgument> {
            auto callee = index.find(target.value);
            if (callee == index.end()) return std::nullopt;
            bool fresh = false;
            const auto& [first, second, third, fourth, fifth] = arguments;
            for (const CodeArgument& argument : {first, second})
                if (argument.kind != CodeArgument::Kind::unknown) fresh |= take({argument.at, callee->second});
            if (fresh) out.push_back({call, callee->second, first, second, third, fourth, fifth});
            return std::nullopt;
        },
        [](Address, const CodeArgument&) {});
    return out;
}

std::vector<StoreOfMade> stores_of_made(const Memory& memory, const Runtime& runtime, const ModuleData& module,
                                        std::span<const Address> makers, const Disassembler& disassembler) {
    std::vector<StoreOfMade> out;
    if (module.text.empty() || module.text.size() > largest_text || !runtime.version().at_least(17)) return out;
    Sites sites(runtime, module, makers, true);
    scan_text(memory, module, sites);
    const auto index = index_of(makers);
    std::set<Sites::Pair> told;
    std::uint32_t maker = 0;
    Follower follower(memory, runtime, disassembler);
    follow_sites(
        sites, follower, [&](const Sites::Pair& pair) { return told.contains(pair); },
        [&](Address, Address target, const Follower::Arguments& arguments) -> std::optional<CodeArgument> {
            if (auto made = index.find(target.value); made != index.end()) {
                maker = made->second;
                if (arguments[0].kind != CodeArgument::Kind::address) return std::nullopt;
                return CodeArgument{CodeArgument::Kind::made, arguments[0].at};
            }
            // go1.17–1.27 src/runtime/asm_amd64.s: it saves what it uses, but for r11.
            const auto func = runtime.find_func(target);
            if (func && func->name.starts_with("runtime.gcWriteBarrier")) return CodeArgument{};
            return std::nullopt;
        },
        [&](Address variable, const CodeArgument& value) {
            if (value.kind == CodeArgument::Kind::made && module.is_variable(variable) &&
                told.insert({variable, maker}).second)
                out.push_back({variable, maker, value.at});
        });
    return out;
}

}  // namespace incident::go
