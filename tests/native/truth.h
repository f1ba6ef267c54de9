// What a target program wrote down about itself: "live ADDRESS SIZE", "info NAME VALUE", then malloc_info's XML.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

namespace incident {

struct MallocTruth {
    struct ArenaRow {
        std::uint64_t fast_chunks = 0, fast_bytes = 0, rest_chunks = 0, rest_bytes = 0, system = 0;
    };
    std::map<std::uint64_t, std::uint64_t> live;
    std::map<std::string, std::uint64_t> info;  ///< mallinfo2
    std::vector<ArenaRow> arenas;               ///< malloc_info, in its order

    static MallocTruth load(const std::filesystem::path& path) {
        MallocTruth truth;
        std::ifstream file(path);
        std::size_t closed = 0;  // behind the last arena come the sums
        for (std::string line; std::getline(file, line);) {
            unsigned long a = 0, b = 0;
            char name[64] = {};
            if (std::sscanf(line.c_str(), "live 0x%lx %lu", &a, &b) == 2)
                truth.live[a] = b;
            else if (std::sscanf(line.c_str(), "info %63s %lu", name, &a) == 2)
                truth.info[name] = a;
            else if (line.starts_with("<heap"))
                truth.arenas.emplace_back();
            else if (line.starts_with("</malloc>"))
                break;
            else if (line.starts_with("</heap>"))
                closed = truth.arenas.size();
            if (truth.arenas.empty() || closed == truth.arenas.size()) continue;
            ArenaRow& arena = truth.arenas.back();
            if (std::sscanf(line.c_str(), "<total type=\"fast\" count=\"%lu\" size=\"%lu\"", &a, &b) == 2)
                arena.fast_chunks = a, arena.fast_bytes = b;
            if (std::sscanf(line.c_str(), "<total type=\"rest\" count=\"%lu\" size=\"%lu\"", &a, &b) == 2)
                arena.rest_chunks = a, arena.rest_bytes = b;
            if (std::sscanf(line.c_str(), "<system type=\"current\" size=\"%lu\"", &a) == 1) arena.system = a;
        }
        return truth;
    }
};

}  // namespace incident
