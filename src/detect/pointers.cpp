// What the detectors of pointers and frames share in telling.
#include "detect/pointers.h"

#include <fmt/format.h>

#include "process/snapshot.h"

namespace incident::detect {

std::string executable_path(const Process& process) {
    const Image* executable = process.images ? process.images->executable() : nullptr;
    return executable != nullptr && !executable->found_at().empty() ? std::string(executable->found_at()) : "EXE";
}

report::Verify gdb_words(const Process& process, Address at, unsigned words, std::string_view remark) {
    return {"gdb", fmt::format("gdb {} {} -ex 'x/{}gx {:#x}'   # {}", executable_path(process), process.core.path(),
                               words, at.value, remark)};
}

std::string origin_of(const Process& process, Address at) {
    const Segment* segment = process.memory.find(at);
    return segment != nullptr ? std::string(to_string(segment->origin)) : "core";
}

const report::Frame* logical_frame(const go::GoStack& stack, std::size_t physical) {
    for (std::size_t i = 0; i < stack.frames.size(); ++i)
        if (stack.frame_of[i] == physical && !stack.frames[i].inlined) return &stack.frames[i];
    return nullptr;
}

bool add_frame_snapshot(const Process& process, const Locator& locator, report::Finding& finding, std::size_t goroutine,
                        std::size_t physical) {
    if (!process.disassembler || finding.snapshots.size() >= 4) return false;
    const go::GoStack stack = process.stacks.load(goroutine);
    const report::Frame* frame = logical_frame(stack, physical);
    if (frame == nullptr) return false;
    Snapshots snapshots(locator, &*process.disassembler);
    auto snapshot = snapshots.frame(stack, static_cast<std::size_t>(frame - stack.frames.data()));
    snapshot.goroutine = process.goroutines->all[goroutine].goid;
    finding.snapshots.push_back(std::move(snapshot));
    return true;
}

std::string place_in_source(const report::Frame& frame) {
    std::string name = frame.function.empty() ? fmt::format("{:#x}", frame.pc.value) : std::string(frame.function);
    if (frame.file.empty() || frame.line == 0) return name;
    return fmt::format("{} ({}:{})", name, frame.file.substr(frame.file.rfind('/') + 1), frame.line);
}

}  // namespace incident::detect
