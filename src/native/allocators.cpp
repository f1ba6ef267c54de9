// Recognising allocators and C libraries by name.
#include "native/allocators.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/system_libraries.h"
#include "base/text.h"

namespace incident::native {

namespace {

struct Row {
    const char* name;
    const char* file;                    ///< start of the library's file name
    std::array<const char*, 3> symbols;  ///< any of these in an executable that holds it
};
constexpr Row rows[] = {
    {"jemalloc", "libjemalloc", {"je_malloc_conf", "je_arena_mapbits", "je_malloc"}},
    {"tcmalloc", "libtcmalloc", {"tc_malloc", "MallocExtension_Internal_GetStatsInPbtxt", "TCMallocInternalMalloc"}},
    {"mimalloc", "libmimalloc", {"mi_malloc", "mi_heap_malloc", "_mi_options_init"}},
    {"snmalloc", "libsnmalloc", {"sn_malloc", nullptr, nullptr}},
    {"hardened_malloc", "libhardened_malloc", {nullptr, nullptr, nullptr}},
    {"AddressSanitizer", "libasan", {"__asan_init", nullptr, nullptr}},
    {"ThreadSanitizer", "libtsan", {"__tsan_init", nullptr, nullptr}},
    {"musl malloc", "ld-musl-", {"__malloc_alloc_meta", nullptr, nullptr}},
};

/// csu/version.c: "GNU C Library (Debian GLIBC 2.36-9+deb12u14) stable release version 2.36.\n"
std::optional<report::Libc> read_glibc_banner(const Image& image) {
    const Section* constants = image.find_section(".rodata");
    if (constants == nullptr) return std::nullopt;
    std::string_view text(reinterpret_cast<const char*>(constants->bytes.data()), constants->bytes.size());
    const std::size_t banner = text.find("GNU C Library (");
    if (banner == std::string_view::npos) return std::nullopt;
    constexpr std::string_view before = " release version ";
    constexpr std::size_t longest = 256, longest_version = 16;
    text = text.substr(banner, longest);
    const std::size_t at = text.find(before);
    if (at == std::string_view::npos) return report::Libc{"glibc", std::nullopt};
    text = text.substr(at + before.size(), longest_version);
    std::string version(text.substr(0, text.find_first_not_of("0123456789.")));
    while (version.ends_with('.')) version.pop_back();
    return report::Libc{"glibc", version.empty() ? std::nullopt : std::optional(version)};
}

}  // namespace

std::vector<ForeignAllocator> find_foreign_allocators(const CoreFile& core, const Images& images) {
    std::vector<ForeignAllocator> found;
    for (const Row& row : rows) {
        auto mapped = std::ranges::find_if(
            core.mapped_files(), [&](const MappedFile& file) { return base_name(file.path).starts_with(row.file); });
        if (mapped != core.mapped_files().end()) {
            found.push_back({row.name, fmt::format("{} is mapped", mapped->path)});
            continue;
        }
        const Image* executable = images.executable();
        if (executable == nullptr) continue;
        for (const char* symbol : row.symbols) {
            if (symbol == nullptr || !executable->find_symbol(symbol)) continue;
            found.push_back({row.name, fmt::format("the executable has {}", symbol)});
            break;
        }
    }
    return found;
}

std::optional<FoundLibc> identify_libc(const Images& images) {
    auto file = std::ranges::find_if(images.modules(), [](const report::Module& module) {
        return system_library(module.path) == SystemLibrary::glibc ||
               system_library(module.path) == SystemLibrary::musl;
    });
    if (file == images.modules().end()) {
        const Image* executable = images.executable();
        auto libc = executable == nullptr ? std::nullopt : read_glibc_banner(*executable);
        return libc ? std::optional(FoundLibc{*libc, true}) : std::nullopt;
    }
    if (system_library(file->path) == SystemLibrary::musl) return FoundLibc{{"musl", std::nullopt}};
    for (const Image& image : images.all())
        if (image.path() == file->path)
            if (auto libc = read_glibc_banner(image)) return FoundLibc{*libc};
    return FoundLibc{{"glibc", std::nullopt}};
}

}  // namespace incident::native
