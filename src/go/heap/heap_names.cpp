#include "go/heap/heap_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace incident::go {

namespace {

constexpr unsigned deepest = 3;             // structs in structs that a value shows
constexpr std::uint64_t longest_text = 48;  // bytes of a string
constexpr std::uint64_t most_elements = 8;
constexpr unsigned most_parts_of_a_static = 64;
constexpr unsigned deepest_static = 6;          // pointers from a variable to what the linker laid out for it
constexpr std::size_t named_at_each_end = 100;  // steps of a path: the last element of a list may be the millionth

std::string quoted(std::string_view raw, bool cut) {
    std::string out = "\"";
    for (const char c : raw) {
        if (c == '"' || c == '\\') out += '\\';
        out += c;
    }
    return out + (cut ? "…\"" : "\"");
}

}  // namespace

std::string HeapNames::value(TypeId id, Address at, unsigned depth) const {
    const TypeTable& types = types_.types();
    const Type& type = types[id];
    const Memory& memory = types_.graph().slots().memory();
    const auto number = [&]<class T>(T) -> std::string {
        auto value = memory.load<T>(at);
        return value ? fmt::format("{}", *value) : "?";
    };
    const auto word = [&](std::uint64_t offset) { return memory.load<std::uint64_t>(at + offset); };
    switch (type.kind) {
        case Kind::boolean: {
            auto value = memory.load<std::uint8_t>(at);
            return !value ? "?" : *value != 0 ? "true" : "false";
        }
        case Kind::int_:
        case Kind::int64: return number(std::int64_t{});
        case Kind::int8: return fmt::format("{}", memory.load<std::int8_t>(at).value_or(0));
        case Kind::int16: return number(std::int16_t{});
        case Kind::int32: return number(std::int32_t{});
        case Kind::uint:
        case Kind::uint64: return number(std::uint64_t{});
        case Kind::uintptr: {
            auto value = word(0);
            return value ? fmt::format("{:#x}", *value) : "?";
        }
        case Kind::uint8: return fmt::format("{}", memory.load<std::uint8_t>(at).value_or(0));
        case Kind::uint16: return number(std::uint16_t{});
        case Kind::uint32: return number(std::uint32_t{});
        case Kind::float32: return number(float{});
        case Kind::float64: return number(double{});
        case Kind::string: {
            auto data = memory.load_address(at);
            auto length = word(8);
            if (!data || !length || *length > 1ull << 40) return "?";
            if (*length == 0) return "\"\"";
            const auto bytes = memory.view(*data, std::min(*length, longest_text));
            if (!bytes) return "?";
            return quoted({reinterpret_cast<const char*>(bytes->data()), bytes->size()}, *length > longest_text);
        }
        case Kind::slice: {
            auto data = word(0), length = word(8), capacity = word(16);
            if (!data || !length || !capacity) return "?";
            if (*data == 0) return "nil";
            return fmt::format("len {} cap {} at {:#x}", *length, *capacity, *data);
        }
        case Kind::interface: {
            auto first = memory.load_address(at), data = memory.load_address(at + 8);
            if (!first || !data) return "?";
            if (first->is_null()) return "nil";
            const TypeId dynamic = types.dynamic_type(*first, type.empty_interface);
            if (dynamic == no_type) return fmt::format("{{{:#x}, {:#x}}}", first->value, data->value);
            if (depth > deepest || types[dynamic].direct_interface)
                return fmt::format("({}) {:#x}", types[dynamic].name, data->value);
            return fmt::format("{}({})", types[dynamic].name, value(dynamic, *data, depth + 1));
        }
        case Kind::array: {
            if (depth > deepest) return "[…]";
            std::string text = "[";
            for (std::uint64_t i = 0; i < std::min(type.count, most_elements); ++i)
                text += (i > 0 ? " " : "") + value(type.elem, at + i * types[type.elem].size, depth + 1);
            return text + (type.count > most_elements ? " …]" : "]");
        }
        case Kind::struct_: {
            if (depth > deepest) return "{…}";
            std::string text = "{";
            std::uint64_t shown = 0;
            for (const TypeField& field : types.fields(id)) {
                if (shown++ != 0) text += ", ";
                if (shown > most_elements) return text + "…}";
                text += fmt::format("{}: {}", field.name, value(field.type, at + field.offset, depth + 1));
            }
            return text + "}";
        }
        case Kind::func: {
            auto funcval = memory.load_address(at);
            if (!funcval) return "?";
            if (funcval->is_null()) return "nil";
            if (auto entry = memory.load_address(*funcval))
                if (auto func = types_.graph().input().runtime.find_func(*entry)) return std::string(func->name);
            return fmt::format("{:#x}", funcval->value);
        }
        default: {
            auto value = word(0);
            return !value ? "?" : *value == 0 ? "nil" : fmt::format("{:#x}", *value);
        }
    }
}

std::string HeapNames::cell(TypeId group, Address base, std::uint64_t offset, Word& word) const {
    const TypeTable& types = types_.types();
    const TypeField *keys = nullptr, *elems = nullptr;
    for (const TypeField& field : types.fields(group)) {
        if (field.name == "keys") keys = &field;
        if (field.name == "values" || field.name == "elems") elems = &field;
        if (field.name != "slots" || offset < field.offset) continue;
        const TypeId slot = types[field.type].elem;
        const std::uint64_t size = types[slot].size;
        const TypeField *key = types.field(slot, "key"), *elem = types.field(slot, "elem");
        if (size == 0 || key == nullptr) return {};
        const std::uint64_t index = (offset - field.offset) / size, in_slot = (offset - field.offset) % size;
        const Address at = base + (field.offset + index * size);
        const std::string name = fmt::format("[{}]", value(key->type, at + key->offset));
        if (elem != nullptr && in_slot >= elem->offset) {
            word = inside(elem->type, at + elem->offset, in_slot - elem->offset);
            return name + word.text;
        }
        word = inside(key->type, at + key->offset, in_slot - key->offset);
        return fmt::format("[key {}]", value(key->type, at + key->offset)) + word.text;
    }
    if (keys == nullptr || elems == nullptr) return {};
    const TypeId key_type = types[keys->type].elem, elem_type = types[elems->type].elem;
    const std::uint64_t key_size = types[key_type].size, elem_size = types[elem_type].size;
    const bool in_elems = offset >= elems->offset && elem_size != 0 && offset < elems->offset + 8 * elem_size;
    const bool in_keys = offset >= keys->offset && key_size != 0 && offset < keys->offset + 8 * key_size;
    if (!in_elems && !in_keys) return {};  // overflow
    const std::uint64_t index = in_elems ? (offset - elems->offset) / elem_size : (offset - keys->offset) / key_size;
    const Address key = base + (keys->offset + index * key_size), elem = base + (elems->offset + index * elem_size);
    const std::string text = value(key_type, key);
    if (in_elems) {
        word = inside(elem_type, elem, offset - static_cast<std::uint64_t>(elem - base));
        return fmt::format("[{}]", text) + word.text;
    }
    word = inside(key_type, key, offset - static_cast<std::uint64_t>(key - base));
    return fmt::format("[key {}]", text) + word.text;
}

HeapNames::Word HeapNames::inside(TypeId id, Address at, std::uint64_t offset) const {
    const TypeTable& types = types_.types();
    Word word{id, at, {}};
    for (unsigned depth = 0; depth < 32; ++depth) {
        const Type& type = types[word.type];
        if (made_type(type.name) == MadeType::map_cells && type.kind == Kind::struct_) {
            Word inner;
            const std::string text = cell(word.type, word.value, offset, inner);
            if (text.empty()) return word;
            inner.text = word.text + text;
            return inner;
        }
        if (type.kind == Kind::array) {
            const std::uint64_t size = types[type.elem].size;
            if (size == 0) return word;
            const std::uint64_t index = offset / size;
            word = {type.elem, word.value + index * size, word.text + fmt::format("[{}]", index)};
            offset -= index * size;
            continue;
        }
        if (type.kind != Kind::struct_) return word;
        const TypeField* found = nullptr;
        for (const TypeField& field : types.fields(word.type))
            if (offset >= field.offset && offset - field.offset < types[field.type].size) found = &field;
        if (found == nullptr) {
            if (offset != 0) word.text += fmt::format("+{:#x}", offset);
            return word;
        }
        // The insides of atomics and such say nothing to a reader.
        const bool furniture = type.name.contains("atomic.Pointer[") || type.name == "sync/atomic.Value";
        word = {found->type, word.value + found->offset,
                furniture ? word.text : word.text + "." + std::string(found->name)};
        offset -= found->offset;
    }
    return word;
}

bool HeapNames::is_map_part(std::string_view name) const {
    const MadeType made = made_type(name.starts_with('*') ? name.substr(1) : name);
    return made == MadeType::map_header || made == MadeType::map_table || name == "runtime.mapextra";
}

std::optional<std::pair<Address, TypeId>> HeapNames::static_at(Address word) const {
    const auto statics = types_.statics();
    auto at = std::ranges::upper_bound(statics, std::pair(word, ~TypeId{0}));
    // Parts of a value that others point to (a sync.Pool) are listed too; whole values have names.
    std::optional<std::pair<Address, TypeId>> outermost;
    for (unsigned back = 0; back < most_parts_of_a_static && at != statics.begin(); ++back)
        if (const auto& [address, type] = *--at; word < address + types_.types()[type].size) outermost = *at;
    return outermost;
}

const std::vector<HeapNames::Leads>& HeapNames::leads() const {
    if (leads_) return *leads_;
    const auto statics = types_.statics();
    leads_.emplace(statics.size());
    if (statics.empty()) return *leads_;
    const std::uint64_t low = statics.front().first.value, high = statics.back().first.value;
    const auto note = [&](Address at, std::uint64_t word) {
        const auto found = std::ranges::lower_bound(statics, Address{word}, {}, &std::pair<Address, TypeId>::first);
        if (found->first.value != word) return;
        Leads& leads = (*leads_)[static_cast<std::size_t>(found - statics.begin())];
        Address& first = types_.types().global_at(at) != nullptr ? leads.variable : leads.value;
        if (first.is_null()) first = at;
    };
    const auto& input = types_.graph().input();
    for (const ModuleData& module : input.runtime.modules())
        for (AddressRange range : {module.data, module.bss})
            for (Address at = range.begin; at < range.end;) {
                const auto bytes = input.memory.view_up_to(at, static_cast<std::size_t>(range.end - at));
                if (!bytes || bytes->size() < 8) break;
                for (std::size_t i = 0; i + 8 <= bytes->size(); i += 8) {
                    std::uint64_t word = 0;
                    std::memcpy(&word, bytes->data() + i, sizeof(word));
                    if (word >= low && word <= high) note(at + i, word);
                }
                at += bytes->size() & ~std::size_t{7};
            }
    return *leads_;
}

std::string HeapNames::static_name(Address value, unsigned depth) const {
    if (depth > deepest_static) return {};
    const auto statics = types_.statics();
    const auto found = std::ranges::lower_bound(statics, value, {}, &std::pair<Address, TypeId>::first);
    if (found == statics.end() || found->first != value) return {};
    const Leads& first = leads()[static_cast<std::size_t>(found - statics.begin())];
    if (!first.variable.is_null()) {
        const GlobalOfType& global = *types_.types().global_at(first.variable);
        return std::string(global.name) +
               inside(global.type, global.address, static_cast<std::uint64_t>(first.variable - global.address)).text;
    }
    const auto holder = first.value.is_null() ? std::nullopt : static_at(first.value);
    if (!holder) return {};
    const auto& [address, type] = *holder;
    const std::string before = static_name(address, depth + 1);
    return before.empty() ? before
                          : before + inside(type, address, static_cast<std::uint64_t>(first.value - address)).text;
}

HeapNames::Word HeapNames::root_word(const Root& root, NamedPath& out) const {
    const auto& input = types_.graph().input();
    if (root.kind == RootKind::data || root.kind == RootKind::bss) {
        out.root = "package variable";
        if (const GlobalOfType* global = types_.types().global_at(root.where)) {
            Word word = inside(global->type, global->address, static_cast<std::uint64_t>(root.where - global->address));
            word.text = std::string(global->name) + word.text;
            return word;
        }
        Word word{no_type, root.where, describe_root(root, input, images_)};
        if (const auto holder = static_at(root.where)) {
            const auto& [address, type] = *holder;
            Root first = root;
            first.where = address;
            word = inside(type, address, static_cast<std::uint64_t>(root.where - address));
            const std::string name = static_name(address);
            word.text = (name.empty() ? describe_root(first, input, images_) : name) + word.text;
        }
        return word;
    }
    out.root = std::string(to_string(root.kind));
    if (root.goroutine != no_owner && input.stacks != nullptr && input.goroutines != nullptr) {
        out.root = fmt::format("goroutine {}", input.goroutines->all[root.goroutine].goid);
        if (auto frame = input.stacks->frame(root.goroutine, root.frame))
            out.root += fmt::format(", {}", frame->name());
        if (auto variable = types_.frame_variable(root.goroutine, root.frame, root.where)) {
            Word word =
                inside(variable->type, variable->address, static_cast<std::uint64_t>(root.where - variable->address));
            std::string_view name = variable->name;
            if (name.starts_with('&')) name.remove_prefix(1);
            word.text = std::string(name) + word.text;
            return word;
        }
    }
    return {no_type, root.where, describe_root(root, input, images_)};
}

NamedPath HeapNames::path(const RootPath& path) const {
    NamedPath out;
    const auto& graph = types_.graph();
    const auto& slots = graph.slots();
    const TypeTable& types = types_.types();
    Word word = root_word(graph.roots().all[path.root], out);
    out.text = word.text;
    std::string place = word.text;
    Address at = graph.roots().all[path.root].where;
    const std::size_t count = path.steps.size();
    for (std::size_t i = 0; i < count; ++i) {
        if (i == named_at_each_end && count > 2 * named_at_each_end) {
            i = count - named_at_each_end;
            place = fmt::format("… {} more", i - named_at_each_end);
            out.text += fmt::format("…({} more)…", i - named_at_each_end);
            at = slots.base(path.steps[i - 1].slot) + path.steps[i - 1].offset;
            word = {no_type, at, {}};
        }
        const auto& step = path.steps[i];
        const ObjectType object = types_.type_of(step.slot);
        const Type& holder = types[word.type];
        out.steps.push_back({at, place, slots.base(step.slot), types_.name_of(step.slot), step.slot});
        place.clear();
        if (i + 1 == count) {
            // What an interface or a slice leads to is named as Go would get at it.
            if (holder.kind == Kind::slice) place = "[…]";
            break;
        }
        const Address base = slots.base(step.slot);
        at = base + step.offset;
        if (holder.kind == Kind::interface) {
            auto first = slots.memory().load_address(word.value);
            const TypeId dynamic = first ? types.dynamic_type(*first, holder.empty_interface) : no_type;
            if (dynamic != no_type) out.text += fmt::format(".({})", types[dynamic].name);
        }
        const Kind kind = holder.kind;
        const Address pointer =
            slots.memory().load_address(word.value + (kind == Kind::interface ? 8 : 0)).value_or(base);
        if (object.closure != nullptr) {
            const TypeField* capture = nullptr;
            for (const TypeField& field : object.closure->captures)
                if (step.offset >= field.offset && step.offset - field.offset < types[field.type].size)
                    capture = &field;
            if (capture != nullptr) {
                word = inside(capture->type, base + capture->offset, step.offset - capture->offset);
                std::string_view name = capture->name;
                if (name.starts_with('&')) name.remove_prefix(1);
                word.text = fmt::format("{{{}{}}}", name, word.text);
            } else {
                word = {no_type, at, fmt::format("{{+{:#x}}}", step.offset)};
            }
        } else if (object.type == no_type) {
            word = {no_type, at, fmt::format(".+{:#x}", step.offset)};
        } else {
            const std::uint64_t size = std::max<std::uint64_t>(types[object.type].size, 1);
            const std::uint64_t offset = step.offset - std::min(step.offset, object.offset);
            const std::uint64_t index = offset / size;
            const Address value = base + (object.offset + index * size);
            word = inside(object.type, value, offset - index * size);
            const std::string_view name = types[object.type].name;
            if (kind == Kind::slice && value >= pointer) {
                word.text = fmt::format("[{}]", static_cast<std::uint64_t>(value - pointer) / size) + word.text;
            } else if (made_type(name) == MadeType::channel || is_map_part(name)) {
                word.text.clear();
            } else if (made_type(name) == MadeType::map_cells) {
                if (!word.text.starts_with('[')) word.text.clear();
            } else if (object.count > 1) {
                word.text = fmt::format("[{}]", index) + word.text;
            } else if (word.text.empty() && kind == Kind::pointer) {
                out.text = "(*" + out.text + ")";
            }
        }
        place = word.text;
        out.text += word.text;
    }
    // The object may lie behind the last pointer: an element of a slice.
    if (!path.steps.empty()) {
        const Type& holder = types[word.type];
        if (holder.kind == Kind::interface) {
            auto first = slots.memory().load_address(word.value);
            const TypeId dynamic = first ? types.dynamic_type(*first, holder.empty_interface) : no_type;
            if (dynamic != no_type) out.text += fmt::format(".({})", types[dynamic].name);
        }
    }
    return out;
}

}  // namespace incident::go
