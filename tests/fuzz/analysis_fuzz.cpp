// Any words in a real core: the input says which bundled core, and which of its words hold what instead. Then every
// pass, detector, section and renderer runs over it. Nothing may crash or hang, whatever the memory of a dead process
// says.
//
// fuzzer options: -max_len=400 -timeout=60 -rss_limit_mb=4096
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "analyze.h"
#include "fuzz/seeds.h"
#include "process/process.h"
#include "report/renderers.h"
#include "support/corpora.h"

using namespace incident;

namespace {

/// One bundled core: a copy in memory whose words are overwritten and put back.
class Base {
public:
    explicit Base(const test::Probe& probe) : executable_(probe.executable) {
        auto core = CoreFile::open(probe.core, {});
        if (!core) return;
        for (const LoadSegment& load : core->load_segments())
            if (load.file_size >= 8 && (load.permissions & 2) != 0) writable_.push_back(load);
        fd_ = ::memfd_create("core", MFD_CLOEXEC);
        const int source = ::open(probe.core.c_str(), O_RDONLY | O_CLOEXEC);
        const auto size = ::lseek(source, 0, SEEK_END);
        std::vector<std::byte> page(1 << 16);
        bool whole = ::ftruncate(fd_, size) == 0;
        for (off_t at = 0; whole && (at = ::lseek(source, at, SEEK_DATA)) >= 0;) {  // the rest stays a hole
            auto got = ::pread(source, page.data(), page.size(), at);
            whole = got > 0 && ::pwrite(fd_, page.data(), static_cast<std::size_t>(got), at) == got;
            at += got;
        }
        ::close(source);
        if (!whole) writable_.clear();
    }

    bool usable() const { return !writable_.empty(); }
    std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }
    const std::string& executable() const { return executable_; }

    struct Word {
        std::uint64_t offset;  ///< in the file
        Address address;
    };
    /// A word that the process could write: the high byte takes the mapping, the rest the word; zeros are passed over.
    Word word(std::uint32_t place) const {
        const LoadSegment& load = writable_[(place >> 24) % writable_.size()];
        const std::uint64_t count = load.file_size / 8;
        std::uint64_t index = (place & 0xffffff) % count;
        for (unsigned tries = 0; tries < 4096 && load_word(load.file_offset + index * 8) == 0; ++tries)
            index = (index + 1) % count;
        return {load.file_offset + index * 8, load.range.begin + index * 8};
    }
    Address end(std::uint32_t place) const { return writable_[(place >> 24) % writable_.size()].range.end; }
    std::uint64_t load_word(std::uint64_t offset) const {
        std::uint64_t value = 0;
        return ::pread(fd_, &value, 8, static_cast<off_t>(offset)) == 8 ? value : 0;
    }
    void store_word(std::uint64_t offset, std::uint64_t value) const {
        if (::pwrite(fd_, &value, 8, static_cast<off_t>(offset)) != 8) std::perror("pwrite");
    }

private:
    std::string executable_;
    std::vector<LoadSegment> writable_;
    int fd_ = -1;
};

const std::vector<Base>& bases() {
    static const std::vector<Base> all = [] {
        constexpr std::array<std::array<const char*, 3>, 8> probes{{{"heap-go1.27", "dwarf", "graph"},
                                                                    {"heap-go1.16", "dwarf", "map_shapes"},
                                                                    {"heap-go1.22", "stripped", "pool_right"},
                                                                    {"locks-go1.27", "dwarf", "cycle3"},
                                                                    {"cgo-go1.27", "dwarf", "cycle_mixed"},
                                                                    {"native-glibc-2.36", "O2", "overrun_hold"},
                                                                    {"native-glibc-2.36", "O0", "pt_cycle3"},
                                                                    {"native-glibc-2.36", "xxO2", "umap_iter"}}};
        std::vector<Base> found;
        for (const auto& [bundle, build, mode] : probes)
            if (auto probe = test::probe(bundle, build, mode)) {
                Base base(*probe);
                if (base.usable()) found.push_back(std::move(base));
            }
        if (found.empty()) std::puts(test::corpus_problem().c_str());
        return found;
    }();
    return all;
}

struct Patch {  // as it stands in the input, packed
    std::uint8_t operation;
    std::uint32_t place;
    std::uint64_t value;
};
constexpr std::size_t patch_size = 13, most_patches = 32;

Patch patch_at(const std::uint8_t* data) {
    Patch patch;
    patch.operation = data[0];
    std::memcpy(&patch.place, data + 1, 4);
    std::memcpy(&patch.value, data + 5, 8);
    return patch;
}

std::uint64_t patched(const Base& base, const Base::Word& word, std::uint64_t old, const Patch& patch) {
    const auto small = patch.value % 256;
    switch (patch.operation % 8) {
        case 0: return patch.value;
        case 1: return old + patch.value;
        case 2: return old ^ (std::uint64_t{1} << small % 64);
        case 3: return word.address.value + small - 128;                                           // itself, and beside
        case 4: return base.load_word(base.word(static_cast<std::uint32_t>(patch.value)).offset);  // another word
        case 5: return base.word(static_cast<std::uint32_t>(patch.value)).address.value;
        case 6: return base.end(static_cast<std::uint32_t>(patch.value)).value - small;
        default: return (old & ~(std::uint64_t{0xffff} << small % 7 * 8)) | (patch.value >> 48) << small % 7 * 8;
    }
}

void ask_everything(const Base& base, const std::vector<Address>& addresses) {
    AnalyzeOptions options;
    options.core_path = base.path();
    options.images.executable = base.executable();
    options.jobs = 2;
    std::vector<AnalyzeOptions> questions;
    for (Command command : {Command::analyze, Command::heap, Command::maps}) {
        options.command = command;
        options.retained = command == Command::heap;
        options.summary = command == Command::maps;
        questions.push_back(options);
    }
    if (!addresses.empty()) {
        options.retained = options.summary = false;
        options.command = Command::heap;
        options.object = options.roots = addresses.front();
        questions.push_back(options);
        options.command = Command::locate;
        options.address = addresses.back();
        questions.push_back(options);
    }
    Passes all = passes_for(questions.front());
    ProcessOptions open{.core_path = options.core_path,
                        .open = {},
                        .images = options.images,
                        .passes = all,
                        .jobs = options.jobs,
                        .trace = true,
                        .log = [](std::string_view) {},
                        .progress = {}};
    auto process = open_process(open);
    if (!process) return;
    for (const AnalyzeOptions& question : questions) {
        const report::Report report = report_on(*process, question);
        for (const auto& renderer : report::renderers())
            renderer.render(report, {.all = true, .stacks = true}, [](std::string_view) { return true; });
    }
}

}  // namespace

/// A few words in each core. What a fuzzer found stands in found/analysis/.
void incident::for_each_seed(const std::function<void(std::string_view, std::span<const std::byte>)>& use) {
    std::mt19937_64 chance(1);
    for (std::size_t base = 0; base < bases().size(); ++base)
        for (std::size_t patches : {0, 4, 24}) {
            std::vector<std::byte> input(1 + patches * patch_size);
            for (std::byte& byte : input) byte = static_cast<std::byte>(chance());
            input[0] = static_cast<std::byte>(base);
            use(std::to_string(base) + " " + std::to_string(patches), input);
        }
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0 || bases().empty()) return 0;
    const Base& base = bases()[data[0] % bases().size()];
    std::vector<std::pair<std::uint64_t, std::uint64_t>> before;  // offset, value
    std::vector<Address> addresses;
    for (std::size_t at = 1; at + patch_size <= size && before.size() < most_patches; at += patch_size) {
        const Patch patch = patch_at(data + at);
        const Base::Word word = base.word(patch.place);
        const std::uint64_t old = base.load_word(word.offset);
        before.emplace_back(word.offset, old);
        addresses.push_back(word.address);
        base.store_word(word.offset, patched(base, word, old, patch));
    }
    ask_everything(base, addresses);
    while (!before.empty()) {
        base.store_word(before.back().first, before.back().second);
        before.pop_back();
    }
    return 0;
}
