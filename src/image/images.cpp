// Matching: mapped ELF files -> our copies of them. Opening one costs a few page faults; symbol tables and DWARF wait
// until somebody asks the Image.
#include "image/images.h"

#include <algorithm>

#include "base/text.h"
#include "image/find_file.h"
#include "image/image_state.h"
#include "image/target_elf.h"

namespace incident {

using report::ModuleStatus;

struct Images::State {
    std::vector<Image> images;
    std::vector<std::pair<AddressRange, std::size_t>> by_address;  ///< range -> index in images, sorted
    std::optional<std::size_t> executable;
    std::vector<report::Module> modules;
    std::optional<report::Module> executable_module;
    std::vector<report::Gap> gaps;
    std::vector<Segment> to_splice;
    struct ModuleRange {
        AddressRange range;
        std::size_t module = 0;  ///< index in modules
        std::uint64_t bias = 0;
    };
    std::vector<ModuleRange> module_ranges;  ///< sorted
};

Images::Images(std::unique_ptr<State> state) : state_(std::move(state)) {}
Images::Images(Images&&) noexcept = default;
Images::~Images() = default;

std::span<const Image> Images::all() const { return state_->images; }
const Image* Images::executable() const { return state_->executable ? &state_->images[*state_->executable] : nullptr; }
const std::vector<report::Module>& Images::modules() const { return state_->modules; }
const std::optional<report::Module>& Images::executable_module() const { return state_->executable_module; }
const std::vector<report::Gap>& Images::gaps() const { return state_->gaps; }

const Image* Images::find(Address a) const {
    const auto& rows = state_->by_address;
    auto it = std::ranges::upper_bound(rows, a, {}, [](const auto& row) { return row.first.begin; });
    // Ranges are hulls and may nest: look a little further back.
    for (int steps = 0; it != rows.begin() && steps < 8; ++steps) {
        --it;
        if (it->first.contains(a)) return &state_->images[it->second];
    }
    return nullptr;
}

std::optional<Images::Place> Images::find_module(Address a) const {
    const auto& rows = state_->module_ranges;
    auto it = std::ranges::upper_bound(rows, a, {}, [](const auto& row) { return row.range.begin; });
    for (int steps = 0; it != rows.begin() && steps < 8; ++steps) {
        --it;
        if (it->range.contains(a)) return Place{&state_->modules[it->module], it->bias};
    }
    return std::nullopt;
}

void Images::splice_into(Memory& memory) const {
    for (const Segment& segment : state_->to_splice) memory.splice(segment);
}

namespace {

/// Which parts of writable segments still hold the file's bytes in the target. The kernel leaves a private file mapping
/// out of the core only when it has no anonymous page, that is: nobody wrote to it. That argument needs a core that
/// dumps anonymous memory at all, and a kernel that decided: a part that was cut off may have been written.
class UnwrittenPages {
public:
    explicit UnwrittenPages(const CoreFile& core) {
        if (core.written_by_gcore()) return;
        bool dumps_anonymous = false;
        std::vector<AddressRange> files;
        for (const MappedFile& file : core.mapped_files()) files.push_back(file.range);
        std::ranges::sort(files);
        const auto of_file = [&](AddressRange range) {  // mappings do not overlap: one neighbour is enough
            auto next = std::ranges::lower_bound(files, range.end, {}, &AddressRange::begin);
            return next != files.begin() && (next - 1)->overlaps(range);
        };
        for (const LoadSegment& load : core.load_segments()) {
            if (load.file_size == 0) left_out_.push_back(load.range);
            dumps_anonymous |= load.file_size != 0 && (load.permissions & 2) != 0 && !of_file(load.range);
        }
        if (!dumps_anonymous || files.empty()) left_out_.clear();
    }
    template <class Visit>
    void for_each_in(AddressRange range, Visit visit) const {
        for (const AddressRange& part : left_out_)
            if (part.overlaps(range)) visit(part.intersect(range));
    }

private:
    std::vector<AddressRange> left_out_;
};

void add_splices(const ImageState& image, const UnwrittenPages& unwritten, std::vector<Segment>& out) {
    for (const Segment& segment : image.segments) {
        if ((segment.permissions & 2) == 0) {
            out.push_back(segment);
            continue;
        }
        unwritten.for_each_in(segment.range, [&](AddressRange part) {
            Segment piece = segment;
            piece.range = part;
            piece.data = segment.data + (part.begin - segment.range.begin);
            out.push_back(piece);
        });
    }
}

std::string join(const std::vector<std::string>& words) {
    std::string out;
    for (const auto& word : words) out += (out.empty() ? "" : "; ") + word;
    return out;
}

/// "/srv/app (build-id ab12…)"
std::string named(const MappedElf& mapped) {
    std::string out = mapped.path.empty() ? "the executable" : mapped.path;
    if (mapped.elf && mapped.elf->ids.gnu)
        out += " (build-id " + *mapped.elf->ids.gnu + ")";
    else if (mapped.elf && mapped.elf->ids.go)
        out += " (Go build-id " + *mapped.elf->ids.go + ")";
    return out;
}

void describe_outcome(const MappedElf& mapped, bool is_main, const Search& search, report::Module& module,
                      std::vector<report::Gap>& gaps) {
    const std::string weakens = is_main ? "names, lines and variables of the program itself"
                                        : "names and frames of code in " + mapped.path + "; unwinding through it";
    const std::string refused = join(search.refused);
    if (module.status == ModuleStatus::missing) {
        gaps.push_back({(is_main ? "the executable is missing: " : "a library is missing: ") + named(mapped),
                        mapped.deleted ? "it was deleted before the process died; looked at its path, --sysroot, "
                                         "--debug-dir and build-id directories"
                                       : "looked at its path, --sysroot, --debug-dir and build-id directories",
                        weakens, true});
    } else if (const bool used = search.found && search.found->verdict.agreement == Agreement::differs;
               used || module.status == ModuleStatus::mismatched) {
        gaps.push_back({used ? named(mapped) + " is read from another build: " + search.found->path
                             : "another file stands for " + named(mapped) + " and was refused",
                        refused, weakens, true});
    } else if (module.status == ModuleStatus::unverified) {
        gaps.push_back({"nobody can tell whether " + search.found->path + " is what ran as " + named(mapped),
                        search.found->verdict.why, weakens, false});
    } else if (search.executable_refused) {
        gaps.push_back({"the executable that was named is another one",
                        refused + "; used " + search.found->path + " instead",
                        {},
                        false});
    }
}

}  // namespace

/// One core's files, one after the other.
class Images::Matching {
public:
    Matching(const CoreFile& core, const Memory& memory, const ImageOptions& options, State& state)
        : core_(core), memory_(memory), options_(options), state_(state), unwritten_(core) {
        paths_->sysroots = options.sysroots;
        paths_->debug_dirs = options.debug_dirs;
        if (options.debuginfod) paths_->debuginfod = std::make_shared<Debuginfod>(options.debuginfod_budget_seconds);
    }
    void add_file(const MappedElf& mapped, bool is_main);
    void add_vdso();
    void add_debuginfod_gap() {
        if (paths_->debuginfod && !paths_->debuginfod->problem().empty())
            state_.gaps.push_back(
                {"debuginfod was asked for and gave nothing more", paths_->debuginfod->problem(), {}, false});
    }

private:
    std::unique_ptr<Image::State> image_of(ElfFile file, std::string path, std::string found_at, ModuleStatus status,
                                           std::uint64_t bias) const;
    report::Module use(FoundFile& found, const MappedElf& mapped, bool is_main);
    void add_range(const MappedElf& mapped, std::size_t module);

    const CoreFile& core_;
    const Memory& memory_;
    const ImageOptions& options_;
    State& state_;
    const UnwrittenPages unwritten_;
    std::shared_ptr<DebugPaths> paths_ = std::make_shared<DebugPaths>();
};

std::unique_ptr<Image::State> Images::Matching::image_of(ElfFile file, std::string path, std::string found_at,
                                                         ModuleStatus status, std::uint64_t bias) const {
    auto image = std::make_unique<Image::State>(std::move(file));
    image->path = std::move(path);
    image->found_at = std::move(found_at);
    image->status = status;
    image->bias = bias;
    image->debug_paths = paths_;
    fill_static_tables(*image);
    return image;
}

report::Module Images::Matching::use(FoundFile& found, const MappedElf& mapped, bool is_main) {
    report::Module module;
    module.found_at = found.path;
    module.note = found.verdict.why;
    // A forced one counts as unverified, as the contract says; its note tells that it differs.
    module.status = found.verdict.agreement == Agreement::same ? ModuleStatus::verified : ModuleStatus::unverified;
    if (found.verdict.agreement == Agreement::differs) module.note += "; used because of --allow-mismatch";
    auto image = image_of(std::move(found.file), mapped.path.empty() ? found.path : mapped.path, found.path,
                          module.status, found.verdict.bias);
    add_splices(*image, unwritten_, state_.to_splice);
    if (is_main) state_.executable = state_.images.size();
    state_.images.push_back(Image(std::move(image)));
    return module;
}

void Images::Matching::add_range(const MappedElf& mapped, std::size_t module) {
    State::ModuleRange place;
    place.module = module;
    if (mapped.elf && !mapped.elf->range.empty()) {
        place.range = mapped.elf->range;
        place.bias = mapped.elf->bias;
    } else if (!mapped.rows.empty()) {
        place.range = {mapped.rows.front().range.begin, mapped.rows.back().range.end};
        place.bias = mapped.rows.front().range.begin.value - mapped.rows.front().file_offset;
    }
    if (!place.range.empty()) state_.module_ranges.push_back(place);
}

void Images::Matching::add_file(const MappedElf& mapped, bool is_main) {
    Search search = find_file(mapped, is_main, core_, memory_, options_, paths_->debuginfod.get());
    // SBCL maps code out of a file of its own kind, and not its first page.
    if (!is_main && !mapped.elf && !search.found && search.no_elf) return;
    report::Module module;
    if (search.found) {
        module = use(*search.found, mapped, is_main);
    } else if (!search.refused_path.empty()) {
        module.status = ModuleStatus::mismatched;
        module.found_at = search.refused_path;
        module.note = join(search.refused);
    } else {
        module.note = mapped.deleted ? "deleted before the process died" : join(search.refused);
    }
    module.path = mapped.path;
    if (mapped.elf) module.build_id = mapped.elf->ids.gnu;
    describe_outcome(mapped, is_main, search, module, state_.gaps);
    if (is_main) state_.executable_module = module;
    add_range(mapped, state_.modules.size());
    state_.modules.push_back(std::move(module));
}

void Images::Matching::add_vdso() {
    auto bytes = load_vdso(core_, memory_);
    if (!bytes) return;
    auto file = ElfFile::from_bytes(std::move(*bytes));
    if (!file) return;
    const std::uint64_t at = *core_.aux(33 /* AT_SYSINFO_EHDR */);
    const auto bias = file->bias_for(at, 0);
    if (!bias) return;
    const auto build_id = file->ids().gnu;
    auto image = image_of(std::move(*file), "[vdso]", core_.path(), ModuleStatus::verified, *bias);
    state_.module_ranges.push_back({image->range, state_.modules.size(), image->bias});
    state_.modules.push_back({"[vdso]", build_id, ModuleStatus::verified, core_.path(), "its bytes are in the core"});
    state_.images.push_back(Image(std::move(image)));
}

Images Images::match(const CoreFile& core, const Memory& memory, const ImageOptions& options) {
    auto state = std::make_unique<State>();
    BuildIds program;
    if (!options.executable.empty())
        if (auto file = ElfFile::open(options.executable)) program = file->ids();
    MappedElfs mapped = find_mapped_elfs(core, memory, program);
    if (mapped.all.empty() && !options.executable.empty()) {  // a core that says nothing about files
        mapped.all.push_back({.path = options.executable, .executable_rows = true});
        mapped.main = 0;
    }
    Matching matching(core, memory, options, *state);
    if (mapped.main) matching.add_file(mapped.all[*mapped.main], true);
    for (std::size_t i = 0; i < mapped.all.size(); ++i)
        if (mapped.main != i) matching.add_file(mapped.all[i], false);
    if (!mapped.main)
        state->gaps.push_back({"the core does not say which file was the program",
                               "no NT_FILE row holds AT_PHDR or AT_ENTRY", "everything about the program itself",
                               true});
    matching.add_debuginfod_gap();
    matching.add_vdso();

    for (std::size_t i = 0; i < state->images.size(); ++i)
        if (!state->images[i].range().empty()) state->by_address.emplace_back(state->images[i].range(), i);
    std::ranges::sort(state->by_address);
    std::ranges::sort(state->module_ranges, {}, [](const auto& row) { return row.range.begin; });
    return Images(std::move(state));
}

}  // namespace incident
