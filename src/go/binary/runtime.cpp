// Runtime::attach: version, layout, modules, globals, in that order, each needing the one before. Whatever is missing
// becomes a gap, but for the version: without it nothing else has a meaning.
//
// Two degraded ways in. Executable missing: the build info and the data are in the core itself, so version, layout and
// the globals that have a shape are still there. Data lost from a cut core: the linker's moduledata is also in the
// file.
#include "go/binary/runtime.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/text.h"
#include "go/binary/foreign.h"
#include "go/binary/runtime_state.h"
#include "go/binary/runtimes.h"

namespace incident::go {
namespace {

using report::Gap;

constexpr std::uint64_t most_anonymous_data = 1ull << 30;  // bytes behind a file mapping that are taken for its .bss

/// By section headers where they tell: opening DWARF decompresses all of it.
std::string debug_info_of(const Image& image) {
    if (image.find_section(".debug_info") != nullptr || image.find_section(".zdebug_info") != nullptr) return "dwarf";
    if (image.find_section(".symtab") != nullptr) return "symbols";
    return image.has_dwarf() ? "dwarf" : image.has_symtab() ? "symbols" : "stripped";
}

/// The tables are as good as DWARF for the releases they were made from (the conformance test compares every field),
/// and DWARF costs a tenth of a second to a few: it is read when the version is none of these.
Result<RuntimeLayout> choose_layout(const Image* image, const Version& version, const LayoutVariant& variant) {
    auto table = layout_from_table(version, variant);
    if (table && table_is_exact(version)) return table;
    if (image != nullptr && image->has_dwarf())
        if (auto layout = layout_from_dwarf(*image, version)) return layout;
    return table;
}

/// The dumped data of the image whose mapping holds `at`: its file mappings and the anonymous memory right behind them
/// (.bss).
std::vector<AddressRange> data_ranges(const CoreFile& core, const Memory& memory, Address at, bool writable_only) {
    std::string path;
    for (const MappedFile& file : core.mapped_files())
        if (file.range.contains(at)) path = file.path;
    AddressRange hull{at, at};
    for (const MappedFile& file : core.mapped_files())
        if (file.path == path) hull = {std::min(hull.begin, file.range.begin), std::max(hull.end, file.range.end)};
    const Address file_end = hull.end;
    std::vector<AddressRange> ranges;
    for (const Segment& segment : memory.segments()) {
        constexpr std::uint8_t writable = 2;
        if (segment.range.end <= hull.begin || (writable_only && (segment.permissions & writable) == 0)) continue;
        if (segment.range.begin > hull.end ||
            segment.range.begin.value - std::min(segment.range.begin.value, file_end.value) > most_anonymous_data)
            break;
        ranges.push_back(segment.range);
        hull.end = std::max(hull.end, segment.range.end);
    }
    return ranges;
}

struct Search {
    const CoreFile& core;
    const Memory& memory;
    const Images& images;
    RuntimeState& state;

    std::optional<BuildInfo> build_info;
    const Image* home = nullptr;  ///< whose runtime is read

    Result<void> find_version(const std::vector<const Image*>& list);
    Result<void> find_version_in_core();
    bool has_another_version(const Image& image);
    void name_other_runtime(const std::string& where, const std::string& version);
    void find_all_modules(const std::vector<const Image*>& list);
    void find_globals(const Disassembler& disassembler);
    void fill_description(const std::vector<const Image*>& list);
};

Result<void> Search::find_version(const std::vector<const Image*>& list) {
    for (const Image* image : list) {
        auto info = find_build_info(memory, *image);
        std::string text = info && info->version ? *info->version : std::string{};
        if (text.empty()) {
            // No blob, or a cut core: the symbol, if there are symbols.
            if (auto symbol = image->find_symbol("runtime.buildVersion"))
                if (auto data = memory.load_address(symbol->address))
                    if (auto length = memory.load<std::uint64_t>(symbol->address + 8); length && *length < 256)
                        if (auto bytes = memory.view(*data, *length))
                            text.assign(reinterpret_cast<const char*>(bytes->data()), bytes->size());
        }
        if (info && !build_info) build_info = std::move(info);
        if (text.empty()) continue;
        if (auto version = parse_version(text)) {
            state.version = *version;
            return {};
        }
        if (text == "unknown")
            return fail(ErrorKind::unsupported,
                        "obfuscated by garble: its Go version reads \"unknown\", and names and tables are changed");
        return fail(ErrorKind::unsupported, "its Go version reads \"" + escape_for_terminal(text) + "\"");
    }
    return fail(ErrorKind::absent, "no Go version found");
}

Result<void> Search::find_version_in_core() {
    build_info = find_build_info(core, memory);
    if (!build_info) return fail(ErrorKind::absent, "no Go build information in the core");
    if (build_info->version) {
        if (auto version = parse_version(*build_info->version)) {
            state.version = *version;
            return {};
        }
        return fail(ErrorKind::unsupported,
                    "its Go version reads \"" + escape_for_terminal(*build_info->version) + "\"");
    }
    if (build_info->inline_strings) return fail(ErrorKind::truncated, "the Go version is cut off", build_info->at);
    // Up to Go 1.17 the text is in read-only data, which is not in the core; 1.16 and 1.17 differ in where g.gopc is,
    // and only there can be told apart: a goroutine was created somewhere, and few have got a signal.
    const auto ranges = data_ranges(core, memory, build_info->at, true);
    std::size_t best = 0;
    for (int minor : {16, 17}) {
        Version version;
        version.minor = minor;
        version.text = "go1." + std::to_string(minor);
        auto layout = layout_from_table(version);
        if (!layout) continue;
        GlobalSearch search(memory, *layout, ranges);
        find_by_scan(search);
        if (!search.found.allgs) continue;
        auto first = memory.load_address(*search.found.allgs);
        auto length = memory.load<std::uint64_t>(*search.found.allgs + 8);
        std::size_t created = 0;
        for (std::uint64_t i = 0; first && length && i < std::min<std::uint64_t>(*length, 1000); ++i) {
            auto g = memory.load_address(*first + i * 8);
            if (!g) continue;
            auto where = StructView(memory, *g).get(layout->g.gopc);
            auto start = StructView(memory, *g).get(layout->g.startpc);
            created += where && start && memory.is_mapped(*where) && memory.is_mapped(*start) && !where->is_null();
        }
        if (created > best) {
            best = created;
            state.version = version;
        }
    }
    if (best == 0) return fail(ErrorKind::absent, "Go 1.17 or older; its exact version is in the executable only");
    state.gaps.push_back(
        {"the patch release of " + state.version.text,
         "its text is in the executable only; " + state.version.text + " by the shape of its goroutines", "", false});
    return {};
}

/// Each runtime is one version: what loads a plugin refuses those of others.
bool Search::has_another_version(const Image& image) {
    if (&image == home) return false;
    const auto info = find_build_info(memory, image);
    const auto version = info && info->version ? parse_version(*info->version) : std::nullopt;
    if (!version || version->text == state.version.text) return false;
    name_other_runtime(image.path(), ", " + version->text);
    return true;
}

void Search::name_other_runtime(const std::string& where, const std::string& version) {
    state.gaps.push_back({"another Go runtime, of " + where + version, "one runtime of a process is read",
                          "its goroutines, locks and heap; whether anything is wrong with them", true});
}

void Search::find_all_modules(const std::vector<const Image*>& list) {
    std::vector<Error> refused;
    for (const Image* image : list) {
        if (has_another_version(*image)) continue;
        auto found = find_modules(memory, *image, state.layout, state.version, refused);
        if (found.empty() && !image->position_independent()) {
            auto own = std::make_unique<Memory>();
            for (const Segment& segment : image->file_segments()) own->add(segment);
            own->freeze();
            found = find_modules(*own, *image, state.layout, state.version, refused);
            if (!found.empty()) {
                state.gaps.push_back(
                    {"the module data of " + image->path(), "the core has lost it; taken from the file", "", true});
                state.file_memories.push_back(std::move(own));
            }
        }
        for (ModuleData& module : found) state.modules.push_back(std::move(module));
    }
    if (state.modules.empty() && build_info)
        for (ModuleData& module : find_modules(memory, data_ranges(core, memory, build_info->at, false), state.layout,
                                               state.version, refused))
            state.modules.push_back(std::move(module));
    if (state.modules.empty() && !list.empty())
        state.gaps.push_back({"Go functions, lines and types",
                              refused.empty() ? "no module data found" : incident::describe(refused.front()),
                              "every Go stack and type", true});
    for (const ModuleData& other : split_off_other_runtimes(memory, state.layout, state.modules))
        name_other_runtime(other.image != nullptr ? other.image->path() : hex(other.address.value), "");
    // Plugins hang on the chain; those whose file is missing show up only there.
    std::size_t steps = 0;
    for (std::size_t i = 0; i < state.modules.size() && steps < 256; ++i) {
        auto next = StructView(memory, state.modules[i].address).get(state.layout.moduledata.next);
        ++steps;
        if (!next || next->is_null()) continue;
        const bool known = std::any_of(state.modules.begin(), state.modules.end(),
                                       [&](const ModuleData& m) { return m.address == *next; });
        if (known) continue;
        auto module = read_module(memory, state.layout, state.version, *next, images.find(*next));
        const bool own = module && std::ranges::none_of(state.modules, [&](const ModuleData& m) {
                             return m.types.overlaps(module->types) || m.text.overlaps(module->text);
                         });
        if (own)
            state.modules.push_back(std::move(*module));
        else
            state.gaps.push_back({"a further Go module (plugin) at " + hex(next->value),
                                  module ? "it claims code or types of another" : incident::describe(module.error()),
                                  "functions, lines and types of that plugin", true});
    }
}

void Search::find_globals(const Disassembler& disassembler) {
    // The module with the runtime in it: plugins have none.
    const ModuleData* runtime_module = nullptr;
    for (const ModuleData& module : state.modules)
        if (runtime_module == nullptr && (module.pluginpath.empty() || state.modules.size() == 1))
            runtime_module = &module;
    std::vector<AddressRange> data;
    if (runtime_module != nullptr)
        data = {runtime_module->data, runtime_module->bss, runtime_module->noptrbss, runtime_module->noptrdata};
    else if (build_info)
        data = data_ranges(core, memory, build_info->at, true);
    GlobalSearch search(memory, state.layout, std::move(data));
    if (runtime_module != nullptr) {
        find_by_decoding(search, runtime_module->pclntab, disassembler);
        const Globals& found = search.found;
        const bool complete = found.allgs && found.allm && found.allp && found.sched && found.semtable && found.mheap;
        if (!complete && runtime_module->image != nullptr) find_by_symbols(search, *runtime_module->image);
    }
    find_by_scan(search);
    if (search.found.wait_reason_strings)
        search.found.wait_reason_count = search.checks.count_strings(*search.found.wait_reason_strings);
    for (auto [used, word] :
         {std::pair(search.by_symbol, "symbols"), {search.by_decoding, "decoded"}, {search.by_scan, "scan"}})
        if (used) search.found.basis += (search.found.basis.empty() ? "" : ", ") + std::string(word);
    for (const std::string& name : search.doubtful)
        state.gaps.push_back({"whether " + name + " can be trusted", "its memory does not look as it should",
                              "what is read through it", true});
    const std::pair<const std::optional<Address>&, const char*> needed[] = {
        {search.found.allgs, "goroutines"},
        {search.found.allm, "the threads of the Go scheduler"},
        {search.found.mheap, "the Go heap"}};
    for (const auto& [place, what] : needed)
        if (!place) state.gaps.push_back({what, "the runtime's variable was not found", "", true});
    state.globals = std::move(search.found);

    // crosscall2 is in package runtime/cgo, and only there.
    if (runtime_module != nullptr) state.cgo = runtime_module->pclntab.find_by_name("crosscall2").has_value();
}

void Search::fill_description(const std::vector<const Image*>& list) {
    report::GoRuntime& out = state.description;
    out.version = state.version.text;
    out.layout = state.layout.source == LayoutSource::dwarf ? "dwarf" : "table";
    const Image* image = state.modules.empty() ? (list.empty() ? nullptr : list.front()) : state.modules.front().image;
    // What the core itself holds of an image has no section headers: it says nothing of the file.
    if (image != nullptr && !image->found_at().empty()) out.debug_info = debug_info_of(*image);
    std::vector<std::string> words;
    if (!state.version.experiments.empty())
        words.push_back(fmt::format("GOEXPERIMENT {}", fmt::join(state.version.experiments, ",")));
    if (build_info) {
        auto setting = [&](std::string_view key) -> std::optional<std::string> {
            const std::string line = "build\t" + std::string(key) + "=";
            const auto at = build_info->module_info.find(line);
            if (at == std::string::npos) return std::nullopt;
            const auto begin = at + line.size();
            return build_info->module_info.substr(begin, build_info->module_info.find('\n', begin) - begin);
        };
        if (auto mode = setting("-buildmode"); mode && *mode != "exe" && *mode != "default")
            words.push_back("buildmode " + *mode);
        if (setting("-race") == "true") words.push_back("race detector");
        if (setting("-asan") == "true") words.push_back("asan");
        if (setting("-msan") == "true") words.push_back("msan");
        if (auto level = setting("GOAMD64"); level && *level != "v1") words.push_back("GOAMD64 " + *level);
    }
    if (state.modules.size() > 1) words.push_back(count_of(state.modules.size(), "module"));
    for (const std::string& word : words) out.variant += (out.variant.empty() ? "" : ", ") + word;
}

}  // namespace

Result<Runtime> Runtime::attach(const CoreFile& core, const Memory& memory, const Images& images,
                                const Disassembler& disassembler) {
    auto state = std::make_shared<State>();
    state->memory = &memory;
    const auto list = go_images(core, memory, images);
    Search search{core, memory, images, *state, {}, list.empty() ? nullptr : list.front()};
    auto version = list.empty() ? search.find_version_in_core() : search.find_version(list);
    if (!version && !list.empty() && version.error().kind == ErrorKind::absent) version = search.find_version_in_core();
    if (!version) {
        if (version.error().kind == ErrorKind::unsupported) return std::unexpected(std::move(version).error());
        if (auto why = recognise_foreign(core, memory, images)) return fail(ErrorKind::unsupported, *why);
        return std::unexpected(std::move(version).error());
    }
    state->variant = variant_of(state->version);
    state->layout = TRY(choose_layout(list.empty() ? nullptr : list.front(), state->version, state->variant));
    if (state->layout.source == LayoutSource::table && !table_is_exact(state->version)) {
        if (const auto experiment = unmeasured_experiment(state->version))
            state->gaps.push_back({"the layout of the runtime's structs",
                                   fmt::format("GOEXPERIMENT {} moves their fields, how was not measured, and the "
                                               "executable has no DWARF to read it from",
                                               *experiment),
                                   "everything that is read from them: goroutines, what they wait for, the heap",
                                   true});
        else
            state->gaps.push_back({"the exact layout of some runtime structs",
                                   state->version.text + " lies between the versions that were measured",
                                   "fields that moved within go1." + std::to_string(state->version.minor), false});
    }
    search.find_all_modules(list);
    if (state->modules.empty())
        if (auto why = recognise_foreign(core, memory, images)) return fail(ErrorKind::unsupported, *why);
    search.find_globals(disassembler);
    search.fill_description(list);
    Runtime runtime;
    runtime.state_ = std::move(state);
    return runtime;
}

const Version& Runtime::version() const { return state_->version; }
const LayoutVariant& Runtime::variant() const { return state_->variant; }
const RuntimeLayout& Runtime::layout() const { return state_->layout; }
const Globals& Runtime::globals() const { return state_->globals; }
std::span<const ModuleData> Runtime::modules() const { return state_->modules; }
report::GoRuntime Runtime::description() const { return state_->description; }
const std::vector<report::Gap>& Runtime::gaps() const { return state_->gaps; }
bool Runtime::cgo() const { return state_->cgo; }
const Memory& Runtime::memory() const { return *state_->memory; }

bool Runtime::is_variable(Address a) const {
    return std::ranges::any_of(state_->modules, [&](const ModuleData& module) { return module.is_variable(a); });
}

std::optional<Func> Runtime::find_func(Address pc) const {
    for (const ModuleData& module : state_->modules)
        if (auto f = module.pclntab.find(pc)) return f;
    return std::nullopt;
}

std::optional<Func> Runtime::find_func(std::string_view name) const {
    for (const ModuleData& module : state_->modules)
        if (auto f = module.pclntab.find_by_name(name)) return f;
    return std::nullopt;
}

std::optional<Address> Runtime::find_variable(std::string_view name) const {
    for (const ModuleData& module : state_->modules)
        if (module.image != nullptr)
            if (auto symbol = module.image->find_symbol(name)) return symbol->address;
    return std::nullopt;
}

std::optional<std::string> Runtime::type_name(Address type) const {
    return read_type_name(*state_->memory, state_->layout, state_->version, state_->modules, type);
}

}  // namespace incident::go
