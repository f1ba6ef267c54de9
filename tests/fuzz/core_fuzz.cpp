// Any bytes as a core: open it, walk everything it gives out, and check what Memory promises. Wrong bytes may be
// refused or named; they may not crash, hang, read outside the file, or break an invariant.
//
// fuzzer options: -max_len=65536 -timeout=20
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "core/core_file.h"
#include "fuzz/seeds.h"
#include "support/core_builder.h"

using namespace incident;

namespace {

void require(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "broken promise: %s\n", what);
    std::abort();
}

unsigned touch(std::span<const std::byte> bytes) {
    unsigned sum = 0;
    for (std::size_t i = 0; i < bytes.size(); i += 512) sum += std::to_integer<unsigned>(bytes[i]);
    return bytes.empty() ? sum : sum + std::to_integer<unsigned>(bytes.back());
}

void walk_memory(const CoreFile& core) {
    Memory memory;
    core.fill(memory);
    memory.freeze();
    unsigned sum = 0;
    Address end{};
    for (const auto& segment : memory.segments()) {
        require(segment.range.begin >= end && !segment.range.empty(), "segments are sorted and disjoint");
        end = segment.range.end;
        sum += touch({segment.data, segment.range.size()});
        require(memory.find(segment.range.begin) == &segment, "find() finds the first byte");
        require(memory.find(Address{segment.range.end.value - 1}) == &segment, "find() finds the last byte");
        (void)memory.load<std::uint64_t>(segment.range.end - 4);
        (void)memory.view_cstring(segment.range.begin, 100);
    }
    end = {};
    for (const auto& missing : memory.missing()) {
        require(missing.range.begin >= end && !missing.range.empty(), "missing ranges are sorted and disjoint");
        end = missing.range.end;
        require(memory.find(missing.range.begin) == nullptr, "missing means missing");
        require(memory.explain(missing.range.begin).kind == missing.why, "explain() knows why");
    }
    for (const auto& thread : core.threads()) {
        sum += touch(thread.fpregs) + touch(thread.xstate);
        if (auto sp = thread.registers.sp()) (void)memory.view_up_to(*sp, 4096);
    }
    volatile unsigned sink = sum;
    (void)sink;
}

}  // namespace

/// The table of malformed cores, every prefix of each in steps of 2 %, and single bytes turned over in the headers and
/// notes of a sound core.
void incident::for_each_seed(const std::function<void(std::string_view, std::span<const std::byte>)>& use) {
    for (const auto& core : malformed_cores()) {
        use(core.name, core.bytes);
        for (unsigned percent = 0; percent < 100; percent += 2)
            use(core.name + " " + std::to_string(percent),
                std::span(core.bytes).first(core.bytes.size() * percent / 100));
    }
    auto sound = realistic_core().build();
    for (std::size_t at = 0; at < 3000; ++at) {  // header, program headers and the first thread's notes
        for (std::uint8_t mask : {0x01, 0x80, 0xff}) {
            sound[at] ^= std::byte{mask};
            use("byte " + std::to_string(at) + " " + std::to_string(mask), sound);
            sound[at] ^= std::byte{mask};
        }
    }
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const int fd = ::memfd_create("fuzz", MFD_CLOEXEC);
    if (::ftruncate(fd, 0) != 0 || ::pwrite(fd, data, size, 0) != static_cast<ssize_t>(size)) return 0;
    auto core = CoreFile::open("/proc/self/fd/" + std::to_string(fd), {.max_spool = 1 << 20, .progress = {}});
    if (!core) {
        require(!core.error().what.empty(), "a refusal says why");
        return 0;
    }
    if (core->truncation()) {
        require(core->truncation()->missing_bytes != 0, "truncated means that bytes are missing");
        require(!core->damage().empty(), "truncation is named");
    }
    for (const auto& load : core->load_segments())
        require(load.lost <= load.file_size, "no more is lost than was there");
    (void)core->aux(3);
    walk_memory(*core);
    return 0;
}
