#include "image/find_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <unordered_set>

#include "base/text.h"

namespace incident {
namespace {

struct Place {
    std::string path;
    bool expected = true;       ///< the target's own path: a wrong file here is worth naming
    bool only_if_same = false;  ///< a guess: not taken without proof
};

std::string directory_of(const std::string& path) {
    const auto slash = path.rfind('/');
    return slash == std::string::npos ? "." : path.substr(0, slash);
}

std::vector<Place> places(const MappedElf& mapped, bool is_main, const CoreFile& core, const ImageOptions& options) {
    std::vector<Place> out;
    const std::string name(base_name(mapped.path));
    const bool absolute = mapped.path.starts_with('/');
    if (is_main && !options.executable.empty()) out.push_back({options.executable});
    for (const auto& root : options.sysroots)
        if (absolute) out.push_back({root + mapped.path});
    if (absolute) out.push_back({mapped.path});
    const std::string by_id = build_id_path(mapped.elf ? mapped.elf->ids.gnu : std::nullopt);
    const auto add_id_directory = [&](const std::string& directory) {
        if (by_id.empty()) return;
        out.push_back({directory + "/.build-id/" + by_id, false, true});
        // Some stores keep executables with their debug information under the name that is meant for debug files.
        out.push_back({directory + "/.build-id/" + by_id + ".debug", false, true});
    };
    const auto below = [](const std::string& directory, const std::string& file) {
        return fmt::format("{}/{}", directory, file);
    };
    for (const auto& directory : options.debug_dirs) {
        add_id_directory(directory);
        if (absolute) out.push_back({directory + mapped.path, false, true});
        if (!name.empty()) out.push_back({below(directory, name), false, true});
    }
    for (const auto& root : options.sysroots) {
        add_id_directory(root + "/usr/lib/debug");
        if (!name.empty()) out.push_back({below(root, name), false, true});
    }
    add_id_directory("/usr/lib/debug");
    // Beside EXE and beside the core, where people put what they copied from the crashed machine.
    if (!options.executable.empty()) {
        if (!name.empty()) out.push_back({directory_of(options.executable) + "/" + name, false, true});
        if (!is_main) out.push_back({options.executable, false, true});
    }
    if (!name.empty() && !core.from_stdin()) {
        const std::string beside = directory_of(core.path());
        out.push_back({beside + "/" + name, false, true});
        out.push_back({beside + "/../" + name, false, true});
    }
    // As `incident collect` leaves them: CORE.exe, and .build-id in the same folder.
    if (!core.from_stdin()) {
        if (is_main) {
            std::string stem = core.path();
            for (const std::string_view suffix : {".zst", ".xz", ".lz4", ".gz"})
                if (stem.ends_with(suffix)) stem.resize(stem.size() - suffix.size());
            out.push_back({stem + ".exe", false, true});
        }
        add_id_directory(directory_of(core.path()));
    }
    return out;
}

/// Executables store .build-id files without their code: sections there are NOBITS, the program headers point to
/// nothing.
bool has_code(const ElfFile& file) {
    for (const Elf64_Phdr& load : file.segments())
        if (load.p_type == PT_LOAD && (load.p_flags & PF_X) != 0)
            return load.p_filesz != 0 && !file.slice(load.p_offset, load.p_filesz).empty();
    return true;
}

}  // namespace

std::string build_id_path(const std::optional<std::string>& id) {
    if (!id || id->size() < 4) return {};
    return id->substr(0, 2) + "/" + id->substr(2);
}

Search find_file(const MappedElf& mapped, bool is_main, const CoreFile& core, const Memory& memory,
                 const ImageOptions& options, Debuginfod* debuginfod) {
    Search out;
    std::optional<FoundFile> other;  // for --allow-mismatch
    std::unordered_set<std::string> seen;
    for (const Place& place : places(mapped, is_main, core, options)) {
        std::error_code ignored;
        const auto canonical = std::filesystem::weakly_canonical(place.path, ignored).string();
        if (!ignored && !seen.insert(canonical).second) continue;
        const bool named = is_main && place.path == options.executable;
        auto file = ElfFile::open(place.path);
        if (!file) {
            out.no_elf |= place.expected && !named && file.error().kind == ErrorKind::unsupported;
            if (named) out.refused.push_back(place.path + ": " + file.error().what), out.executable_refused = true;
            continue;
        }
        Verdict verdict = compare_with_target(*file, mapped, is_main, core, memory);
        if (verdict.agreement != Agreement::differs && !has_code(*file)) continue;
        if (verdict.agreement == Agreement::same) {
            out.found = FoundFile{place.path, std::move(*file), std::move(verdict)};
            return out;
        }
        if (verdict.agreement == Agreement::unknown) {
            if (!place.only_if_same && !out.found)
                out.found = FoundFile{place.path, std::move(*file), std::move(verdict)};
            continue;
        }
        if (place.expected) {
            if (out.refused_path.empty()) out.refused_path = place.path;
            out.refused.push_back(place.path + ": " + verdict.why);
            out.executable_refused |= named;
            const bool usable = file->header().e_machine == core.machine().elf_machine && has_code(*file);
            if (!other && usable) other = FoundFile{place.path, std::move(*file), std::move(verdict)};
        }
    }
    if (!out.found && debuginfod != nullptr && mapped.elf && mapped.elf->ids.gnu)
        if (auto path = debuginfod->find(Debuginfod::Kind::executable, *mapped.elf->ids.gnu))
            if (auto file = ElfFile::open(*path)) {
                Verdict verdict = compare_with_target(*file, mapped, is_main, core, memory);
                if (verdict.agreement == Agreement::same)
                    out.found = FoundFile{*path, std::move(*file), std::move(verdict)};
            }
    if (!out.found && options.allow_mismatch) out.found = std::move(other);
    return out;
}

}  // namespace incident
