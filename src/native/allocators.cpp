// Recognising allocators and C libraries by name.
#include "native/allocators.h"
#include "base/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

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

std::optional<report::Libc> identify_libc(const CoreFile& core, const Images& images) {
    for (const Image& image : images.all()) {
        bool library =
            base_name(image.path()).starts_with("libc.so.6") || base_name(image.path()).starts_with("libc-2.");
        if (!library && &image != images.executable()) continue;
        const Section* constants = image.find_section(".rodata");
        if (constants == nullptr) continue;
        // csu/version.c: "GNU C Library (…) stable release version 2.36.\n"
        std::string_view text(reinterpret_cast<const char*>(constants->bytes.data()), constants->bytes.size());
        std::size_t banner = text.find("GNU C Library (");
        if (banner == std::string_view::npos) continue;
        constexpr std::string_view before = " release version ";
        std::size_t at = text.find(before, banner);
        if (at == std::string_view::npos || at - banner > 256) return report::Libc{"glibc", std::nullopt};
        at += before.size();
        std::size_t end = at;
        while (end < text.size() && end - at < 16 &&
               (std::isdigit(static_cast<unsigned char>(text[end])) || text[end] == '.'))
            ++end;
        std::string version(text.substr(at, end - at));
        while (!version.empty() && version.back() == '.') version.pop_back();
        return report::Libc{"glibc", version.empty() ? std::nullopt : std::optional(version)};
    }
    for (const MappedFile& file : core.mapped_files()) {
        if (base_name(file.path).starts_with("ld-musl-")) return report::Libc{"musl", std::nullopt};
        if (base_name(file.path).starts_with("libc.so.6")) return report::Libc{"glibc", std::nullopt};
    }
    return std::nullopt;
}

}  // namespace incident::native
