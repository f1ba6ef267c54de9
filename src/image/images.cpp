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

Images Images::match(const CoreFile& core, const Memory& memory, const ImageOptions& options) {
    auto state = std::make_unique<State>();
    auto paths = std::make_shared<DebugPaths>();
    paths->sysroots = options.sysroots;
    paths->debug_dirs = options.debug_dirs;
    if (options.debuginfod) paths->debuginfod = std::make_shared<Debuginfod>(options.debuginfod_budget_seconds);

    BuildIds program;
    if (!options.executable.empty())
        if (auto file = ElfFile::open(options.executable)) program = file->ids();
    MappedElfs mapped = find_mapped_elfs(core, memory, program);
    if (mapped.all.empty() && !options.executable.empty()) {  // a core that says nothing about files
        mapped.all.push_back({.path = options.executable, .executable_rows = true});
        mapped.main = 0;
    }
    const UnwrittenPages unwritten(core);

    const auto match_one = [&](std::size_t i) {
        const MappedElf& one = mapped.all[i];
        const bool is_main = mapped.main == i;
        Search search = find_file(one, is_main, core, memory, options, paths->debuginfod.get());
        report::Module module;
        module.path = one.path;
        if (one.elf) module.build_id = one.elf->ids.gnu;
        if (search.found) {
            FoundFile& found = *search.found;
            module.found_at = found.path;
            module.note = found.verdict.why;
            // A forced one counts as unverified, as the contract says; its note tells that it differs.
            module.status =
                found.verdict.agreement == Agreement::same ? ModuleStatus::verified : ModuleStatus::unverified;
            if (found.verdict.agreement == Agreement::differs) module.note += "; used because of --allow-mismatch";
            auto image = std::make_unique<Image::State>(std::move(found.file));
            image->path = one.path.empty() ? found.path : one.path;
            image->found_at = found.path;
            image->status = module.status;
            image->bias = found.verdict.bias;
            image->debug_paths = paths;
            fill_static_tables(*image);
            add_splices(*image, unwritten, state->to_splice);
            if (is_main) state->executable = state->images.size();
            state->images.push_back(Image(std::move(image)));
        } else if (!search.refused_path.empty()) {
            module.status = ModuleStatus::mismatched;
            module.found_at = search.refused_path;
            module.note = join(search.refused);
        } else {
            module.note = one.deleted ? "deleted before the process died" : join(search.refused);
        }
        describe_outcome(one, is_main, search, module, state->gaps);
        if (is_main) state->executable_module = module;
        State::ModuleRange place;
        place.module = state->modules.size();
        if (one.elf && !one.elf->range.empty()) {
            place.range = one.elf->range;
            place.bias = one.elf->bias;
        } else if (!one.rows.empty()) {
            place.range = {one.rows.front().range.begin, one.rows.back().range.end};
            place.bias = one.rows.front().range.begin.value - one.rows.front().file_offset;
        }
        if (!place.range.empty()) state->module_ranges.push_back(place);
        state->modules.push_back(std::move(module));
    };
    if (mapped.main) match_one(*mapped.main);
    for (std::size_t i = 0; i < mapped.all.size(); ++i)
        if (mapped.main != i) match_one(i);
    if (!mapped.main)
        state->gaps.push_back({"the core does not say which file was the program",
                               "no NT_FILE row holds AT_PHDR or AT_ENTRY", "everything about the program itself",
                               true});

    if (paths->debuginfod && !paths->debuginfod->problem().empty())
        state->gaps.push_back(
            {"debuginfod was asked for and gave nothing more", paths->debuginfod->problem(), {}, false});

    if (auto bytes = load_vdso(core, memory))
        if (auto file = ElfFile::from_bytes(std::move(*bytes))) {
            const std::uint64_t at = *core.aux(33 /* AT_SYSINFO_EHDR */);
            if (const auto bias = file->bias_for(at, 0)) {
                auto image = std::make_unique<Image::State>(std::move(*file));
                image->path = "[vdso]";
                image->found_at = core.path();
                image->status = ModuleStatus::verified;
                image->bias = *bias;
                image->debug_paths = paths;
                fill_static_tables(*image);
                state->module_ranges.push_back({image->range, state->modules.size(), image->bias});
                state->modules.push_back({"[vdso]", image->file.ids().gnu, ModuleStatus::verified, core.path(),
                                          "its bytes are in the core"});
                state->images.push_back(Image(std::move(image)));
            }
        }

    for (std::size_t i = 0; i < state->images.size(); ++i)
        if (!state->images[i].range().empty()) state->by_address.emplace_back(state->images[i].range(), i);
    std::ranges::sort(state->by_address);
    std::ranges::sort(state->module_ranges, {}, [](const auto& row) { return row.range.begin; });
    return Images(std::move(state));
}

}  // namespace incident
