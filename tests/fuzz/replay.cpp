// Replays inputs through a fuzz target without a fuzzer: the table of malformed cores, every prefix of each in steps of
// 2 %, single bytes turned over in the headers and notes of a sound core, and the files named on the command line.
// `--write-seeds DIR` writes the table as a fuzzer's seeds instead.
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include "support/core_builder.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

void run(std::span<const std::byte> bytes) {
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
}

int write_seeds(const std::filesystem::path& directory) {
    std::filesystem::create_directories(directory);
    for (const auto& core : incident::malformed_cores()) {
        std::string name = core.name;
        for (char& c : name)
            if (c == ' ' || c == '/') c = '_';
        std::ofstream(directory / name, std::ios::binary)
            .write(reinterpret_cast<const char*>(core.bytes.data()), static_cast<std::streamsize>(core.bytes.size()));
    }
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc == 3 && std::string_view(argv[1]) == "--write-seeds") return write_seeds(argv[2]);
    std::size_t inputs = 0;
    for (const auto& core : incident::malformed_cores()) {
        run(core.bytes);
        for (unsigned percent = 0; percent < 100; percent += 2)
            run(std::span(core.bytes).first(core.bytes.size() * percent / 100));
        inputs += 51;
    }
    auto sound = incident::realistic_core().build();
    for (std::size_t at = 0; at < 3000; ++at) {  // header, program headers and the first thread's notes
        for (std::uint8_t mask : {0x01, 0x80, 0xff}) {
            sound[at] ^= std::byte{mask};
            run(sound);
            sound[at] ^= std::byte{mask};
            ++inputs;
        }
    }
    for (int i = 1; i < argc; ++i, ++inputs) {
        std::ifstream file(argv[i], std::ios::binary);
        std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
        run(std::as_bytes(std::span(bytes)));
    }
    std::printf("%zu inputs replayed\n", inputs);
    return 0;
}
