// Types of package variables in modules without debug information, from the code that uses them. Seven things prove
// one:
// - its address is the receiver in a direct call of "pkg.(*T).M": it is a T (or begins with one);
// - its value is: it leads to a T, perhaps the first of several;
// - its value is the map in a call of a map operation, whose first argument is the map's type (or another name of it);
// - its value, with its third word for a capacity, is what append lets grow to more of a T: it is a []T;
// - what newobject or makeslice made of T is stored in it: it is a *T, or a []T;
// - an itab or a descriptor is stored in it, which is no pointer to the collector: it is an interface;
// - its address plus 12 is what an inlined RLock waits on: it is a sync.RWMutex.
// T is found by its name among the descriptors, and only where *T's own method table lists M: a type declared in a
// function has the same name and no methods. sync's locks need no descriptor: their words are known.
//
// A T without a descriptor (`var store = &cache{}` needs none) stays unknown as a whole, but its words are told as
// variables are: by what the code does with them that loads them through the variable, or has their T as receiver.
//
// Surprising: code proves what the compiler believed; unsafe casts can make that a lie. So every answer must also agree
// with the collector's pointer mask of the variable's section, word for word, and with all other answers that overlap
// it; otherwise none of them counts. The second word of an interface looks like a pointer variable of whatever type it
// holds now: it is told by the word before it.
#include <algorithm>
#include <map>
#include <unordered_map>
#include <unordered_set>

#include <fmt/format.h>

#include "disasm/disasm.h"
#include "go/binary/code_uses.h"
#include "go/binary/methods.h"
#include "go/binary/runtime_state.h"
#include "go/binary/type_table_state.h"

namespace incident::go {
namespace {

constexpr std::uint64_t largest_variable = 1ull << 26;  // bytes
constexpr std::size_t most_words = 1 << 20;             // looked at of one type

/// "pkg.T" of "pkg.(*T).M"; empty: no such function, a closure in one, or a type that a name does not tell apart.
struct MethodName {
    std::string type;
    std::string_view method;
};
std::optional<MethodName> method_of(std::string_view function) {
    const std::size_t open = function.find(".(*"), close = function.find(").");
    if (open == std::string_view::npos || close == std::string_view::npos || close < open) return std::nullopt;
    const std::string_view type = function.substr(open + 3, close - open - 3), method = function.substr(close + 2);
    if (type.empty() || method.empty() || type.find_first_of("[]()*·") != std::string_view::npos ||
        method.find_first_of(".-[·") != std::string_view::npos)
        return std::nullopt;
    return MethodName{as_written(fmt::format("{}.{}", function.substr(0, open), type)), method};
}

/// Operations (type, map, …); go1.16–1.27.
bool is_map_operation(std::string_view function) {
    return function.starts_with("runtime.mapaccess1") || function.starts_with("runtime.mapaccess2") ||
           function.starts_with("runtime.mapassign") || function.starts_with("runtime.mapdelete") ||
           function == "runtime.mapiterinit" || function == "runtime.mapIterStart" || function == "runtime.mapclear";
}

/// sync.Mutex and sync.RWMutex have been of these sizes since Go 1.0.
std::uint64_t size_of_lock(std::string_view type) { return type == "sync.Mutex" ? 8 : type == "sync.RWMutex" ? 24 : 0; }

class CodeTypes {
public:
    CodeTypes(TypeTableBuilder& builder, const ModuleData& module) : builder_(builder), module_(module) {}

    std::vector<GlobalOfType> run(const Disassembler& disassembler) {
        name_callees();
        if (entries_.empty()) return {};
        const CodeScope scope{builder_.memory, builder_.runtime, module_, disassembler,
                              [this](Address word) { return is_type_word(word); }};
        for (const CallOfVariable& call : calls_of_variables(scope, entries_)) take(call);
        take(stores_of_made(scope, makers_));
        take(uses_in_methods(scope, methods_, entries_, makers_));
        return agreed();
    }

private:
    struct Callee {
        std::string type;         ///< of the receiver; empty: an operation on maps
        std::string_view method;  ///< that *type must list; empty: type is one of sync's locks
        std::uint64_t into = 0;   ///< bytes from the variable to the argument
        TypeId id = no_type;      ///< of the receiver; resolved once it is called
        bool resolved = false;
        bool grows = false;  ///< append
    };

    enum class Makes : std::uint8_t { object, slice, itself };
    static std::optional<Makes> maker(std::string_view function) {
        if (function == "runtime.newobject") return Makes::object;
        if (function == "runtime.makeslice") return Makes::slice;
        if (function == "runtime.makechan" || function == "runtime.makemap") return Makes::itself;
        return std::nullopt;
    }

    void name_callees() {
        std::unordered_set<std::string_view> twice;
        for (TypeId id = 1; id < builder_.out.types.size(); ++id)
            if (const Type& type = builder_.out.types[id]; !type.rtype.is_null())
                if (auto found = builder_.out.by_name.find(type.name); found != builder_.out.by_name.end())
                    if (found->second != id) twice.insert(type.name);
        const auto known = [&](std::string_view name) {
            return builder_.out.by_name.contains(name) && !twice.contains(name);
        };
        for (std::size_t i = 0; i < module_.pclntab.function_count(); ++i) {
            const std::string_view name = module_.pclntab.name_at(i);
            if (const auto makes = maker(name))
                if (auto func = module_.pclntab.at_index(i)) {
                    makers_.push_back(func->entry);
                    makes_.push_back(*makes);
                }
            Callee callee;
            if (auto method = method_of(name)) {
                // internal/sync.Mutex (1.24+) is what a sync.Mutex consists of.
                const std::string lock =
                    method->type == "internal/sync.Mutex" ? std::string("sync.Mutex") : method->type;
                if (size_of_lock(lock) != 0)
                    callee.type = lock;
                else if (known(method->type) && known("*" + method->type))
                    callee = {std::move(method->type), method->method, 0};
                else {
                    if (auto func = module_.pclntab.at_index(i); func && !of_runtime(name)) {
                        methods_.push_back(func->entry);
                        method_types_.push_back(std::move(method->type));
                    }
                    continue;
                }
            } else if (name == "sync.runtime_SemacquireRWMutexR") {
                // go1.20–1.27 src/sync/rwmutex.go: RLock alone calls it, with its readerSem.
                callee = {"sync.RWMutex", {}, 12};
            } else if (name == "runtime.growslice" || name == "runtime.growsliceNoAlias") {
                callee.grows = true;
            } else if (!is_map_operation(name)) {
                continue;
            }
            if (auto func = module_.pclntab.at_index(i); func && !func->is_asm()) {
                entries_.push_back(func->entry);
                callees_.push_back(std::move(callee));
            }
        }
    }

    static bool of_runtime(std::string_view function) {
        return function.starts_with("runtime.") || function.starts_with("internal/runtime/");
    }

    TypeId receiver(Callee& callee) {
        if (std::exchange(callee.resolved, true)) return callee.id;
        auto& by_name = builder_.out.by_name;
        if (callee.method.empty()) {
            auto found = by_name.find(callee.type);
            if (found == by_name.end()) {
                const TypeId made = builder_.add_struct(callee.type, size_of_lock(callee.type), {});
                found = by_name.emplace(builder_.out.types[made].name, made).first;
            }
            return callee.id = found->second;
        }
        const TypeId type = by_name.find(callee.type)->second, pointer = by_name.find("*" + callee.type)->second;
        if (builder_.out.types[pointer].elem == type && lists(pointer, callee.method)) callee.id = type;
        return callee.id;
    }

    bool lists(TypeId id, std::string_view method) const {
        const Type& type = builder_.out.types[id];
        return std::ranges::any_of(read_methods(builder_.memory, builder_.runtime, type.kind, type.rtype),
                                   [&](const TypeMethod& m) { return m.name == method; });
    }

    void take(const CallOfVariable& call) {
        Callee& callee = callees_[call.callee];
        using Kind = CodeArgument::Kind;
        if (callee.grows) return take_grown(call);
        if (callee.type.empty()) {
            if (call.first.kind != Kind::address || call.second.kind != Kind::value) return;
            const TypeId map = builder_.out.find(call.first.at);
            if (map != no_type && builder_.out.types[map].kind == go::Kind::map)
                note(call.second.at, map, true, call.second.object);
            return;
        }
        if (call.first.kind == Kind::unknown) return;
        const TypeId type = receiver(callee);
        if (type == no_type) return;
        if (call.first.kind == Kind::address) {
            note(call.first.at - callee.into, type, false, call.first.object);
        } else if (callee.into == 0) {
            auto pointer = builder_.out.by_name.find("*" + callee.type);
            if (pointer != builder_.out.by_name.end()) note(call.first.at, pointer->second, true, call.first.object);
        }
    }

    void take(const CodeUses& uses) {
        for (const CallOfMethod& call : uses.methods) {
            auto [known, fresh] = receivers_.try_emplace(call.object, method_types_[call.method]);
            if (!fresh && known->second != method_types_[call.method]) known->second.clear();  // one embeds the other
        }
        for (const CallOfVariable& call : uses.calls) take(call);
        for (const StoreOfMade& store : uses.made) {
            const TypeId made = builder_.out.find(store.type);
            switch (makes_[store.maker]) {
                case Makes::object:
                    if (const TypeId type = pointer_to(made); type != no_type && !may_be_boxed(store))
                        note(store.variable, type, true, store.object);
                    break;
                case Makes::slice:
                    if (const TypeId type = only_slice_of(made); type != no_type && store.header)
                        note(store.variable, type, true, store.object);
                    break;
                case Makes::itself:
                    if (made != no_type) note(store.variable, made, true, store.object);
                    break;
            }
        }
        for (const StoreOfAddress& store : uses.type_words)
            if (const TypeId type = interface_of(store.stored); type != no_type && store.variable.is_aligned(8))
                note(store.variable, type, false, store.object);
    }
    /// What has this for its first word.
    TypeId interface_of(Address word) const {
        const auto& types = builder_.out.types;
        if (builder_.out.find(word) != no_type) {
            auto found = builder_.out.by_name.find("interface {}");
            return found != builder_.out.by_name.end() ? found->second : no_type;
        }
        const auto inter = builder_.memory.load_address(word);  // go1.16–1.27 src/internal/abi/iface.go: ITab.Inter
        const TypeId type = inter ? builder_.out.find(*inter) : no_type;
        return type != no_type && types[type].kind == go::Kind::interface ? type : no_type;
    }

    /// growslice(old pointer, new length, old capacity, number, element) from Go 1.20 on; before, (element, pointer,
    /// length, capacity, new capacity).
    void take_grown(const CallOfVariable& call) {
        using Kind = CodeArgument::Kind;
        const bool new_order = call.first.kind == Kind::value;
        const CodeArgument& pointer = new_order ? call.first : call.second;
        const CodeArgument& capacity = new_order ? call.third : call.fourth;
        const CodeArgument& elem = new_order ? call.fifth : call.first;
        if (pointer.kind != Kind::value || capacity.kind != Kind::value || capacity.at != pointer.at + 16 ||
            elem.kind != Kind::address)
            return;
        if (const TypeId type = slice_of(builder_.out.find(elem.at)); type != no_type)
            note(pointer.at, type, true, pointer.object);
    }
    /// no_type: a type with a name of its own may be meant (net.IPMask).
    TypeId only_slice_of(TypeId elem) {
        const TypeId type = slice_of(elem);
        return named_slices_.contains(elem) ? no_type : type;
    }
    TypeId slice_of(TypeId elem) {
        if (elem == no_type) return no_type;
        if (slices_.empty())
            for (TypeId id = 1; id < builder_.out.types.size(); ++id)
                if (const Type& type = builder_.out.types[id]; type.kind == go::Kind::slice) {
                    if (type.name.starts_with("[]"))
                        slices_.try_emplace(type.elem, id);
                    else
                        named_slices_.insert(type.elem);
                }
        auto [known, fresh] = slices_.try_emplace(elem, no_type);
        if (fresh) known->second = builder_.slice_of(elem);
        return known->second;
    }

    /// The first word of an object is no interface's second; neither is one behind a number.
    bool may_be_boxed(const StoreOfMade& store) const {
        if (store.variable == store.object || follows_a_pointer(store.variable)) return false;
        const auto before = builder_.memory.load_address(store.variable - 8);
        return !before || before->is_null() || is_type_word(*before);
    }
    /// A word behind one that is no pointer may be an interface's second: whoever made its value boxed it so.
    bool follows_a_pointer(Address variable) const {
        const bool data = module_.data.contains(variable);
        const AddressRange section = data ? module_.data : module_.bss;
        if (variable < section.begin + 8 || variable >= section.end) return false;
        const auto before = static_cast<std::uint64_t>(variable - section.begin) / 8 - 1;
        const std::byte* bits =
            builder_.memory.data_at((data ? module_.gcdatamask : module_.gcbssmask) + before / 8, 1);
        return bits != nullptr && (std::to_integer<unsigned>(*bits) >> (before % 8) & 1) != 0;
    }
    TypeId pointer_to(TypeId elem) {
        // A closure is made so, too: a variable of a function type holds it.
        if (elem == no_type || builder_.out.types[elem].name.starts_with("struct { F uintptr")) return no_type;
        auto known = builder_.out.by_name.find(fmt::format("*{}", builder_.out.types[elem].name));
        if (known != builder_.out.by_name.end() && builder_.out.types[known->second].elem == elem) return known->second;
        auto [made, fresh] = pointers_.try_emplace(elem, no_type);
        if (fresh) made->second = builder_.pointer_to(elem);
        return made->second;
    }

    /// `object`: what the code reached it through, null: nothing.
    void note(Address at, TypeId type, bool pointer, Address object) {
        if (!at.is_aligned(pointer ? 8 : 4)) return;
        if (pointer) {  // an interface's second word?
            const auto before = builder_.memory.load_address(at - 8);
            if (before && is_type_word(*before)) return;
        }
        auto [known, fresh] = found_.try_emplace({at, builder_.out.types[type].size}, Claim{type, object});
        if (known->second.object.is_null()) known->second.object = object;
        if (!fresh && known->second.type != type) known->second.type = no_type;  // two of one size: a contradiction
    }
    bool is_type_word(Address word) const {
        if (word.is_null()) return false;
        if (builder_.out.find(word) != no_type) return true;
        const Field<Address>& type = builder_.out.itab_type;
        const auto of = StructView(builder_.memory, word).get(type);
        return of && builder_.out.find(*of) != no_type;
    }

    /// What `type` has at `offset`, down to a part of `size` bytes; no_type: nothing of the kind begins there.
    TypeId part_at(TypeId type, std::uint64_t offset, TypeId wanted) const {
        const auto& types = builder_.out.types;
        for (unsigned depth = 0; depth < 32; ++depth) {
            const Type& t = types[type];
            if (offset == 0 && (type == wanted || t.name == types[wanted].name)) return type;
            // What was boxed is stored in the second word by whoever made it.
            if (offset == 8 && t.kind == go::Kind::interface && types[wanted].kind == go::Kind::pointer) return type;
            // Its first word leads to one.
            if (offset == 0 && t.kind == go::Kind::slice && types[wanted].kind == go::Kind::pointer)
                return types[wanted].elem == t.elem ? type : no_type;
            if (t.kind == go::Kind::array && t.elem != no_type && types[t.elem].size != 0) {
                offset %= types[t.elem].size;
                type = t.elem;
                continue;
            }
            if (t.kind != go::Kind::struct_) return no_type;
            TypeId inner = no_type;
            for (const TypeField& f : std::span(builder_.out.fields).subspan(t.first_field, t.field_count))
                if (f.offset <= offset && offset - f.offset < types[f.type].size) {
                    inner = f.type;
                    offset -= f.offset;
                    break;
                }
            if (inner == no_type) return no_type;
            type = inner;
        }
        return no_type;
    }

    /// Pointer words of a type as the collector's masks have them; false: not known.
    bool mark(TypeId id, std::uint64_t base, std::vector<bool>& words, std::size_t& visits) const {
        const Type& t = builder_.out.types[id];
        if (id == no_type || ++visits > most_words) return false;
        const auto set = [&](std::uint64_t at) {
            if (at % 8 != 0 || at / 8 >= words.size()) return false;
            words[at / 8] = true;
            return true;
        };
        switch (t.kind) {
            case go::Kind::pointer:
            case go::Kind::unsafe_pointer:
            case go::Kind::chan:
            case go::Kind::func:
            case go::Kind::map:
            case go::Kind::string:
            case go::Kind::slice: return set(base);
            case go::Kind::interface: return set(base + 8);  // itabs and types are not the collector's
            case go::Kind::array:
                if (t.pointer_bytes == 0) return true;
                for (std::uint64_t i = 0; i < t.count; ++i)
                    if (!mark(t.elem, base + i * builder_.out.types[t.elem].size, words, visits)) return false;
                return true;
            case go::Kind::struct_:
                if (t.pointer_bytes == 0) return true;
                for (const TypeField& f : std::span(builder_.out.fields).subspan(t.first_field, t.field_count))
                    if (builder_.out.types[f.type].size != 0 && !mark(f.type, base + f.offset, words, visits))
                        return false;
                return true;
            case go::Kind::invalid: return false;
            default: return true;
        }
    }

    /// Does the section's own mask have the pointers of a `type` at `at`?
    bool masks_agree(Address at, TypeId type) const {
        const std::uint64_t size = builder_.out.types[type].size;
        if (size == 0 || size > largest_variable) return false;
        const AddressRange range{at, at + size};
        const auto inside = [&](AddressRange section) { return section.contains(at) && range.end <= section.end; };
        std::vector<bool> words((size + 7) / 8);
        // A lock has no pointers, and no descriptor perhaps.
        std::size_t visits = 0;
        if (size_of_lock(builder_.out.types[type].name) == 0 && !mark(type, 0, words, visits)) return false;
        const bool none = std::ranges::find(words, true) == words.end();
        if (inside(module_.noptrdata) || inside(module_.noptrbss)) return none;
        const bool data = inside(module_.data);
        if (!data && !inside(module_.bss)) return false;
        const AddressRange section = data ? module_.data : module_.bss;
        const Address mask = data ? module_.gcdatamask : module_.gcbssmask;
        if (!at.is_aligned(8) && !none) return false;
        const auto first = static_cast<std::uint64_t>(at - section.begin) / 8;
        for (std::uint64_t i = 0; i < words.size(); ++i) {
            const std::byte* bits = builder_.memory.data_at(mask + (first + i) / 8, 1);
            if (bits == nullptr || ((std::to_integer<unsigned>(*bits) >> ((first + i) % 8) & 1) != 0) != words[i])
                return false;
        }
        return true;
    }

    std::string name_of(Address variable, Address object) const {
        auto type = receivers_.find(object);
        if (object.is_null() || type == receivers_.end() || type->second.empty())
            return fmt::format("package variable at {:#x}", variable.value);
        return fmt::format("word {:#x} of the {} at {:#x}", static_cast<std::uint64_t>(variable - object), type->second,
                           object.value);
    }

    std::vector<GlobalOfType> agreed() const {
        struct Found {
            AddressRange range;
            TypeId type;
            Address object;
        };
        std::vector<Found> all;
        all.reserve(found_.size());
        for (const auto& [place, claim] : found_)
            all.push_back(
                {{place.first, place.first + std::max<std::uint64_t>(place.second, 1)}, claim.type, claim.object});
        // Whoever begins first, and of those the largest, holds the others.
        std::ranges::sort(all, [](const Found& a, const Found& b) {
            return a.range.begin != b.range.begin ? a.range.begin < b.range.begin : a.range.end > b.range.end;
        });
        std::vector<GlobalOfType> out;
        for (std::size_t i = 0; i < all.size();) {
            const Found& outer = all[i];
            Address end = outer.range.end;
            bool sound = outer.type != no_type && masks_agree(outer.range.begin, outer.type);
            for (++i; i < all.size() && all[i].range.begin < end; ++i) {
                const auto offset = static_cast<std::uint64_t>(all[i].range.begin - outer.range.begin);
                sound = sound && all[i].type != no_type && part_at(outer.type, offset, all[i].type) != no_type;
                end = std::max(end, all[i].range.end);
            }
            if (sound)
                out.push_back({builder_.keep(name_of(outer.range.begin, outer.object)), outer.range.begin, outer.type});
        }
        return out;
    }

    TypeTableBuilder& builder_;
    const ModuleData& module_;
    std::vector<Address> entries_;
    std::vector<Callee> callees_;
    std::unordered_map<TypeId, TypeId> slices_, pointers_;  ///< by element
    std::unordered_set<TypeId> named_slices_;
    std::vector<Address> methods_;              ///< whose receiver's type has no descriptor
    std::vector<std::string> method_types_;     ///< of `methods_`: that type
    std::map<Address, std::string> receivers_;  ///< objects: of which type; empty: of two
    std::vector<Address> makers_;
    std::vector<Makes> makes_;  ///< of `makers_`
    struct Claim {
        TypeId type;
        Address object;
    };
    std::map<std::pair<Address, std::uint64_t>, Claim> found_;  ///< by place and size
};

}  // namespace

void TypeTableBuilder::add_variables_by_code(std::size_t module) {
    const ModuleData& data = runtime.modules()[module];
    if (data.image == nullptr || data.types.empty()) return;
    auto disassembler = Disassembler::create(x86_64());
    if (!disassembler) return;
    auto found = CodeTypes(*this, data).run(*disassembler);
    std::ranges::move(found, std::back_inserter(out.globals));
}

}  // namespace incident::go
