// CodeTable and the runtime's rules for printing names and hiding frames. Sharded by pc, each entry made once and never
// moved, so that readers hold plain pointers.
#include "go/stacks/code_table.h"

#include <array>
#include <deque>
#include <mutex>
#include <string>
#include <unordered_map>
#include <unordered_set>

namespace incident::go {

namespace {

constexpr std::size_t shard_count = 16;

struct Shard {
    std::mutex mutex;
    std::unordered_map<std::uint64_t, const CodePoint*> by_key;
    std::deque<CodePoint> points;
};

std::uint64_t key_of(Address pc, bool after_call) { return pc.value << 1 | (after_call ? 1 : 0); }

/// go1.23 src/runtime/traceback.go, isExportedRuntime: exported functions, and from 1.23 on exported methods of
/// exported types.
bool is_exported_runtime(std::string_view name, bool methods) {
    name.remove_prefix(std::string_view("runtime.").size());
    auto upper = [](std::string_view s) { return !s.empty() && s[0] >= 'A' && s[0] <= 'Z'; };
    if (!methods) return upper(name);
    auto dot = name.rfind('.');
    if (dot == std::string_view::npos) return upper(name);
    std::string_view receiver = name.substr(0, dot);
    if (receiver.size() >= 3 && receiver.starts_with("(*") && receiver.ends_with(')'))
        receiver = receiver.substr(2, receiver.size() - 3);
    return upper(name.substr(dot + 1)) && (receiver.empty() || upper(receiver));
}

Show show_of(std::string_view raw_name, const Version& version) {
    if (raw_name == "runtime.gopanic") return Show::panic;
    return shown_by_runtime(raw_name, version) ? Show::user : Show::runtime_internal;
}

}  // namespace

bool shown_by_runtime(std::string_view raw_name, const Version& version) {
    // go1.25: the outermost frame tells that a goroutine runs finalizers or cleanups.
    if (version.at_least(25) && (raw_name == "runtime.runFinalizers" || raw_name == "runtime.runCleanups")) return true;
    if (raw_name.find('.') == std::string_view::npos) return false;
    return !raw_name.starts_with("runtime.") || is_exported_runtime(raw_name, version.at_least(23));
}

std::string elide_type_arguments(std::string_view name) {
    auto open = name.find('[');
    if (open == std::string_view::npos) return std::string(name);
    auto close = name.rfind(']');
    if (close == std::string_view::npos || close <= open) return std::string(name);
    std::string_view interior = name.substr(open + 1, close - open - 1);
    auto cut = [&] { return std::string(name.substr(0, open)) + "[...]" + std::string(name.substr(close + 1)); };
    // Generic method of a generic type, go1.27: "main.T[int].Map[string]" keeps what stands between the brackets. "]["
    // at depth 0 tells it from nested brackets.
    int depth = 1;
    std::size_t end_of_first = std::string_view::npos;
    for (std::size_t i = 0; i < interior.size(); ++i) {
        if (interior[i] == '[' && ++depth == 1) {
            return std::string(name.substr(0, open)) + "[...]" +
                   std::string(interior.substr(end_of_first + 1, i - end_of_first - 1)) + "[...]" +
                   std::string(name.substr(close + 1));
        }
        if (interior[i] == ']' && --depth == 0) end_of_first = i;
        if (depth < 0) return std::string(name);
    }
    return depth == 1 ? cut() : std::string(name);
}

struct CodeTable::State {
    Runtime runtime;
    struct Module {
        AddressRange text;
        std::string_view path;
        std::uint64_t bias = 0;
    };
    std::vector<Module> modules;
    std::vector<MappedFile> files;  // for pcs of no Go function
    std::deque<std::string> paths;
    std::array<Shard, shard_count> shards;
    std::mutex names_mutex;
    std::unordered_map<std::string_view, std::string_view> names;  // keys live in the image
    std::deque<std::string> name_text;

    explicit State(const Runtime& r) : runtime(r) {}
};

CodeTable::CodeTable(const CoreFile& core, const Runtime& runtime) : state_(std::make_unique<State>(runtime)) {
    state_->files.assign(core.mapped_files().begin(), core.mapped_files().end());
    for (const auto& module : runtime.modules()) {
        State::Module entry{.text = module.text, .path = {}, .bias = 0};
        if (module.image != nullptr) {
            entry.path = state_->paths.emplace_back(module.image->path());
            entry.bias = module.image->bias();
        } else {
            for (const auto& file : core.mapped_files()) {
                if (!file.range.contains(module.text.begin)) continue;
                entry.path = state_->paths.emplace_back(file.path);
                entry.bias = file.range.begin.value - file.file_offset;
                break;
            }
        }
        state_->modules.push_back(entry);
    }
}

CodeTable::~CodeTable() = default;

const Runtime& CodeTable::runtime() const { return state_->runtime; }

std::string_view CodeTable::printed_name(std::string_view name) {
    if (name == "runtime.gopanic") return "panic";
    if (name.find('[') == std::string_view::npos) return name;
    std::lock_guard lock(state_->names_mutex);
    auto found = state_->names.find(name);
    if (found != state_->names.end()) return found->second;
    std::string_view printed = state_->name_text.emplace_back(elide_type_arguments(name));
    state_->names.emplace(name, printed);
    return printed;
}

const CodePoint* CodeTable::at(Address pc, bool after_call) {
    const std::uint64_t key = key_of(pc, after_call);
    Shard& shard = state_->shards[std::hash<Address>{}(pc) % shard_count];
    std::lock_guard lock(shard.mutex);
    auto [slot, fresh] = shard.by_key.try_emplace(key, nullptr);
    if (!fresh) return slot->second;

    CodePoint& point = shard.points.emplace_back();
    slot->second = &point;
    point.pc = pc;
    point.after_call = after_call;
    // A call may be the last instruction of its function (it does not return), so a return address is looked up at
    // pc-1; a pc at the entry was never a return address: the runtime makes such frames for what has not run yet.
    const Runtime& runtime = state_->runtime;
    Address lookup = pc;
    if (after_call) {
        auto at_pc = runtime.find_func(pc);
        if (!at_pc || at_pc->entry != pc) lookup = pc - 1;
    }
    point.func = runtime.find_func(lookup);
    if (!point.func || point.func->table == nullptr) {
        point.func.reset();
        for (const auto& file : state_->files) {
            if (!file.range.contains(lookup)) continue;
            point.module = file.path;
            point.module_offset = pc.value - file.range.begin.value + file.file_offset;
            break;
        }
        return &point;
    }
    const Func& func = *point.func;
    if (func.pcsp != 0) point.sp_delta = func.table->sp_delta(func, pc < func.end ? pc : lookup);
    for (const auto& frame : func.table->logical_frames(func, lookup)) {
        point.logical.push_back({.function = printed_name(frame.function),
                                 .raw_name = frame.function,
                                 .position = frame.position,
                                 .inlined = frame.inlined,
                                 .wrapper = frame.wrapper,
                                 .show = show_of(frame.function, runtime.version())});
    }
    for (const auto& module : state_->modules) {
        if (!module.text.contains(lookup)) continue;
        point.module = module.path;
        point.module_offset = pc.value - module.bias;
        break;
    }
    return &point;
}

}  // namespace incident::go
