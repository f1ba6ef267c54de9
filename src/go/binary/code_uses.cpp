#include "go/binary/code_uses.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "go/binary/code_follower.h"

namespace incident::go {
namespace {

constexpr std::size_t call_size = 5;                        // e8 rel32
constexpr std::size_t operand_size = 7;                     // rex.w 8b|8d modrm rel32
constexpr std::size_t reach = 96;                           // bytes before a call in which its arguments are made
constexpr std::size_t reach_behind = 256;                   // … behind one in which what it made is stored
constexpr std::size_t longest_way = 8192;                   // bytes decoded of one function
constexpr std::size_t most_decoded = std::size_t{2} << 20;  // bytes, of all
constexpr std::size_t behind_a_store = 64;                  // bytes in which a slice's other words are stored
constexpr std::size_t most_followed = 4096;                 // methods with their receivers
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
    /// `behind`: variables are looked for behind the calls: in stores, and in loads of what leads to an object.
    Sites(const CodeScope& scope, std::span<const Address> callees, bool behind)
        : scope_(scope),
          module_(scope.module),
          follower_(scope),
          behind_(behind),
          begins_(module_.text.size() / 16 + 1) {
        for (std::uint32_t i = 0; i < callees.size(); ++i) {
            if (!module_.text.contains(callees[i])) continue;
            by_entry_.try_emplace(callees[i].value, i);
            begins_[(callees[i] - module_.text.begin) / 16] = true;
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
                        stores(call, at, std::min(bytes.size() - offset, reach_behind), callee->second);
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
    /// mov [rip+x], r64, and mov r64, [rip+x] of what leads to an object.
    void stores(Address call, const std::byte* at, std::size_t room, std::uint32_t callee) {
        for (std::size_t ahead = call_size; ahead + operand_size <= room; ++ahead) {
            const std::byte* p = at + ahead;
            const auto rex = std::to_integer<unsigned>(p[0]), op = std::to_integer<unsigned>(p[1]),
                       modrm = std::to_integer<unsigned>(p[2]);
            if ((rex & 0xfb) != 0x48 || (modrm & 0xc7) != 0x05) continue;
            if (op != 0x89 && !(op == 0x8b && leads_to_object(call + ahead, p))) continue;
            note(call + ahead, p, call + ahead + operand_size + behind_a_store, callee);
        }
    }
    static Address operand_of(Address at, const std::byte* bytes) {
        return Address{at.value + operand_size + static_cast<std::uint64_t>(std::int64_t{relative(bytes + 3)})};
    }
    bool leads_to_object(Address at, const std::byte* bytes) const {
        const Address variable = operand_of(at, bytes);
        return module_.is_variable(variable) && follower_.object_behind(variable);
    }
    /// An instruction with a rip-relative operand; what is to be decoded ends at `until`.
    void note(Address at, const std::byte* bytes, Address until, std::uint32_t callee) {
        const Address variable = operand_of(at, bytes);
        if (!module_.is_variable(variable) || pairs.size() >= most_pairs) return;
        std::vector<Site>& sites = pairs[{variable, callee}];
        auto func = scope_.runtime.find_func(at);
        if (!func || func->is_asm()) return;
        until = std::min(until, func->end);
        if (until - func->entry > std::int64_t{longest_way}) return;
        sites.push_back({func->entry, until});
        // The shortest ways are kept: they are decoded first.
        std::ranges::sort(sites, {}, [](const Site& s) { return s.until - s.entry; });
        if (sites.size() > tries_of_a_pair) sites.pop_back();
    }

    const CodeScope& scope_;
    const ModuleData& module_;
    const CodeFollower follower_;
    const bool behind_;
    std::vector<bool> begins_;  ///< by 16 bytes of text: a callee begins there
    std::unordered_map<std::uint64_t, std::uint32_t> by_entry_;
};

/// Decodes the functions that `sites` names, the nearest of each pair first, until `known` says that the pair is.
template <class Known, class Follow>
void follow_sites(const Sites& sites, Known&& known, Follow&& follow) {
    std::unordered_map<std::uint64_t, Address> decoded;  // by entry: up to where
    std::size_t bytes = 0;
    for (const auto& [pair, places] : sites.pairs)
        for (const Site& site : places) {
            if (known(pair) || bytes >= most_decoded) break;
            Address& until = decoded[site.entry.value];
            if (until >= site.until) continue;
            until = site.until;
            bytes += static_cast<std::size_t>(until - site.entry);
            follow(AddressRange{site.entry, until});
        }
}

void scan_text(const CodeScope& scope, Sites& sites) {
    const AddressRange text = scope.module.text;
    for (Address at = text.begin; at < text.end;) {
        auto bytes = scope.memory.view_up_to(at, static_cast<std::size_t>(text.end - at));
        if (!bytes || bytes->empty()) break;
        sites.scan(at, *bytes);
        at += bytes->size();
    }
}

bool can_be_scanned(const ModuleData& module) { return !module.text.empty() && module.text.size() <= largest_text; }

std::unordered_map<std::uint64_t, std::uint32_t> index_of(std::span<const Address> functions) {
    std::unordered_map<std::uint64_t, std::uint32_t> index;
    for (std::uint32_t i = 0; i < functions.size(); ++i) index.try_emplace(functions[i].value, i);
    return index;
}

/// What is stored in the functions that are followed, one after another.
class Stores {
public:
    Stores(const CodeScope& scope, std::span<const Address> makers, CodeUses& out)
        : scope_(scope), makers_(index_of(makers)), out_(out) {}

    /// A call: what it leaves in the result's register, if that is known.
    std::optional<CodeArgument> called(Address target, const CodeFollower::Arguments& arguments) {
        if (auto made = makers_.find(target.value); made != makers_.end()) {
            if (arguments[0].kind != CodeArgument::Kind::address) return std::nullopt;
            return CodeArgument{CodeArgument::Kind::made, arguments[0].at, {}, made->second};
        }
        // go1.17–1.27 src/runtime/asm_amd64.s: it saves what it uses, but for r11.
        const auto func = scope_.runtime.find_func(target);
        if (func && func->name.starts_with("runtime.gcWriteBarrier")) return CodeArgument{};
        return std::nullopt;
    }
    void stored(const CodeFollower::Place& place, const CodeArgument& value) {
        if (!scope_.module.is_variable(place.at)) return;
        written_.insert(place.at);
        if (value.kind == CodeArgument::Kind::made)
            here_.push_back({place.at, place.object, value.maker, value.at, false});
        if (value.kind == CodeArgument::Kind::address && scope_.is_type_word(value.at))
            out_.type_words.push_back({place.at, place.object, value.at});
    }
    /// The function's end.
    void end() {
        for (StoreOfMade& store : here_) {
            store.header = written_.contains(store.variable + 8) && written_.contains(store.variable + 16);
            auto [told, fresh] = told_.try_emplace({store.variable, store.maker}, store.header);
            if (!fresh && told->second >= store.header) continue;
            told->second = store.header;
            out_.made.push_back(store);
        }
        here_.clear();
        written_.clear();
    }
    bool knows(const Sites::Pair& pair) const { return told_.contains(pair); }

private:
    const CodeScope& scope_;
    const std::unordered_map<std::uint64_t, std::uint32_t> makers_;
    CodeUses& out_;
    std::vector<StoreOfMade> here_;
    std::set<Address> written_;
    std::map<Sites::Pair, bool> told_;
};

}  // namespace

std::vector<CallOfVariable> calls_of_variables(const CodeScope& scope, std::span<const Address> callees) {
    std::vector<CallOfVariable> out;
    if (!can_be_scanned(scope.module)) return out;
    Sites sites(scope, callees, false);
    scan_text(scope, sites);
    const auto index = index_of(callees);
    std::set<Sites::Pair> told;
    CodeFollower follower(scope);
    auto called = [&](Address call, Address target,
                      const CodeFollower::Arguments& arguments) -> std::optional<CodeArgument> {
        auto callee = index.find(target.value);
        if (callee == index.end()) return std::nullopt;
        bool fresh = false;
        const auto& [first, second, third, fourth, fifth] = arguments;
        for (const CodeArgument& argument : {first, second})
            if (argument.kind != CodeArgument::Kind::unknown && scope.module.is_variable(argument.at))
                fresh |= told.insert({argument.at, callee->second}).second;
        if (fresh) out.push_back({call, callee->second, first, second, third, fourth, fifth});
        return std::nullopt;
    };
    follow_sites(
        sites, [&](const Sites::Pair& pair) { return told.contains(pair); },
        [&](AddressRange code) { follower.follow(code, {}, called, [](const auto&, const CodeArgument&) {}); });
    return out;
}

CodeUses stores_of_made(const CodeScope& scope, std::span<const Address> makers) {
    CodeUses out;
    if (!can_be_scanned(scope.module) || !scope.runtime.version().at_least(17)) return out;
    Sites sites(scope, makers, true);
    scan_text(scope, sites);
    CodeFollower follower(scope);
    Stores stores(scope, makers, out);
    follow_sites(
        sites, [&](const Sites::Pair& pair) { return stores.knows(pair); },
        [&](AddressRange code) {
            follower.follow(
                code, {},
                [&](Address, Address target, const CodeFollower::Arguments& arguments) {
                    return stores.called(target, arguments);
                },
                [&](const CodeFollower::Place& place, const CodeArgument& value) { stores.stored(place, value); });
            stores.end();
        });
    return out;
}

CodeUses uses_in_methods(const CodeScope& scope, std::span<const Address> methods, std::span<const Address> callees,
                         std::span<const Address> makers) {
    CodeUses out;
    if (!can_be_scanned(scope.module) || !scope.runtime.version().at_least(17)) return out;
    const auto method_index = index_of(methods), callee_index = index_of(callees);
    CodeFollower follower(scope);
    Stores stores(scope, makers, out);
    std::vector<Sites::Pair> wanted;  // receivers with the methods that they are handed to
    std::set<Sites::Pair> known;
    std::set<std::pair<Address, std::uint32_t>> told;
    auto want = [&](const CodeArgument& receiver, std::uint32_t method) {
        std::optional<Address> object;
        if (receiver.kind == CodeArgument::Kind::address) object = receiver.at;
        if (receiver.kind == CodeArgument::Kind::value) object = follower.object_behind(receiver.at);
        if (object && scope.module.is_variable(*object) && known.size() < most_followed &&
            known.insert({*object, method}).second) {
            wanted.push_back({*object, method});
            out.methods.push_back({*object, method});
        }
    };
    for (const CallOfVariable& call : calls_of_variables(scope, methods)) want(call.first, call.callee);
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < wanted.size() && bytes < most_decoded; ++i) {
        const Sites::Pair next = wanted[i];
        const auto func = scope.runtime.find_func(methods[next.callee]);
        if (!func || func->is_asm() || func->end <= func->entry) continue;
        const AddressRange code{func->entry, std::min(func->end, func->entry + longest_way)};
        bytes += code.size();
        follower.follow(
            code, {CodeArgument::Kind::address, next.variable, {}},
            [&](Address call, Address target, const CodeFollower::Arguments& arguments) {
                const auto& [first, second, third, fourth, fifth] = arguments;
                if (auto method = method_index.find(target.value); method != method_index.end())
                    want(first, method->second);
                if (auto callee = callee_index.find(target.value); callee != callee_index.end())
                    for (const CodeArgument& argument : {first, second})
                        if (argument.kind != CodeArgument::Kind::unknown && scope.module.is_variable(argument.at) &&
                            told.insert({argument.at, callee->second}).second) {
                            out.calls.push_back({call, callee->second, first, second, third, fourth, fifth});
                            break;
                        }
                return stores.called(target, arguments);
            },
            [&](const CodeFollower::Place& place, const CodeArgument& value) { stores.stored(place, value); });
        stores.end();
    }
    return out;
}

}  // namespace incident::go
