// Malloc's functions are known by name, of which a stripped libc keeps those that programs call: all others are called
// by them. A stripped static program has no names at all; there any code of its own may be malloc's.
#include "process/malloc_stop.h"

#include <algorithm>
#include <array>
#include <span>
#include <string_view>

#include "base/system_libraries.h"
#include "process/native_threads.h"
#include "process/own_frames.h"

namespace incident {

namespace {

/// Of glibc's names the part that all versions share (malloc/malloc.c, malloc/arena.c).
bool names_malloc(std::string_view name) {
    for (std::string_view start : {"__GI_", "__libc_", "__", "_int_"})
        if (name.starts_with(start)) name.remove_prefix(start.size());
    name = name.substr(0, name.find('.'));
    constexpr std::array functions = {"malloc",
                                      "free",
                                      "cfree",
                                      "calloc",
                                      "realloc",
                                      "reallocarray",
                                      "memalign",
                                      "aligned_alloc",
                                      "posix_memalign",
                                      "valloc",
                                      "pvalloc",
                                      "malloc_trim",
                                      "sysmalloc",
                                      "systrim",
                                      "malloc_consolidate",
                                      "unlink_chunk",
                                      "tcache_init",
                                      "mallinfo",
                                      "mallinfo2",
                                      "malloc_stats",
                                      "malloc_info",
                                      "free_merge_chunk",
                                      "free_create_chunk",
                                      "free_chunk"};
    return std::ranges::find(functions, name) != functions.end();
}

class Stops {
public:
    explicit Stops(const Process& process)
        : process_(process), shared_libc_(std::ranges::any_of(process.images->all(), [](const Image& image) {
              return holds_libc(image.path());
          })) {}

    bool in_malloc(std::span<const report::Frame> frames) const {
        return std::ranges::any_of(frames, [&](const report::Frame& frame) {
            if (frame.kind != report::FrameKind::native) return false;
            if (shared_libc_) return holds_libc(frame.module) && names_malloc(frame.function);
            return frame.function.empty() ? !died() : names_malloc(frame.function);
        });
    }

    /// Without frames: libc's code, or any in a program that holds its libc itself.
    bool perhaps_in_malloc(const ThreadState& thread) const {
        const auto pc = thread.registers.pc();
        const Image* image = pc ? process_.images->find(*pc) : nullptr;
        return image == nullptr || !shared_libc_ || holds_libc(image->path());
    }

    bool died() const { return process_.crash && process_.crash->kind != report::CrashKind::requested; }

private:
    const Process& process_;
    bool shared_libc_;
};

}  // namespace

native::MallocStop malloc_stop(const Process& process) {
    const Stops stops(process);
    native::MallocStop out;
    std::span<const report::Frame> fatal,
        interrupted;  // what died, and what it stands on: its own code and a handler's
    if (stops.died()) {
        const std::span<const report::Frame> frames = process.crash->stack.frames;
        const auto own = std::ranges::find_if_not(frames, is_machinery) - frames.begin();
        fatal = frames.first(static_cast<std::size_t>(own));
        interrupted = frames.subspan(static_cast<std::size_t>(own));
        out.died_inside = stops.in_malloc(fatal);
    }
    if (process.core.threads().size() != 1) return out;
    if (stops.died())
        out.alone_inside = stops.in_malloc(interrupted);
    else if (!process.threads.empty())
        out.alone_inside = stops.in_malloc(process.threads[0].stack.frames);
    else
        out.alone_inside = stops.perhaps_in_malloc(process.core.threads()[0]);
    return out;
}

}  // namespace incident
