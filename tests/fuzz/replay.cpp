// Replays inputs through a fuzz target without a fuzzer: the target's own seeds, and the files named on the command
// line. `--write-seeds DIR` writes the seeds for a fuzzer instead.
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include "fuzz/seeds.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

void run(std::span<const std::byte> bytes) {
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
}

int write_seeds(const std::filesystem::path& directory) {
    std::filesystem::create_directories(directory);
    incident::for_each_seed([&](std::string_view name, std::span<const std::byte> bytes) {
        std::string file(name);
        for (char& c : file)
            if (c == ' ' || c == '/') c = '_';
        std::ofstream(directory / file, std::ios::binary)
            .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    });
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc == 3 && std::string_view(argv[1]) == "--write-seeds") return write_seeds(argv[2]);
    std::size_t inputs = 0;
    incident::for_each_seed([&](std::string_view, std::span<const std::byte> bytes) {
        run(bytes);
        ++inputs;
    });
    for (int i = 1; i < argc; ++i, ++inputs) {
        std::ifstream file(argv[i], std::ios::binary);
        std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
        run(std::as_bytes(std::span(bytes)));
    }
    std::printf("%zu inputs replayed\n", inputs);
    return 0;
}
