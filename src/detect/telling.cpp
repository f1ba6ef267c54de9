#include "detect/telling.h"

#include <fmt/format.h>

#include "base/text.h"
#include "process/snapshot.h"

namespace incident::detect {

namespace {

constexpr std::size_t most_snapshots = 4;  // of one finding

std::string executable_argument(const Process& process) {
    const Image* executable = process.images ? process.images->executable() : nullptr;
    return executable != nullptr && !executable->found_at().empty() ? shell_quoted(executable->found_at()) : "EXE";
}

std::string own_core_argument(const Process& process) {
    return process.core.from_stdin() ? "CORE" : shell_quoted(process.core.path());
}

/// For tools that read no compressed cores.
std::string core_argument(const Process& process) {
    return process.core.compression().empty() ? own_core_argument(process) : "CORE";
}

/// "exe core": how gdb and Delve name the two.
std::string both(const Process& process) {
    return fmt::format("{} {}", executable_argument(process), core_argument(process));
}

}  // namespace

std::string place_in_source(const report::Frame& frame) {
    std::string name = !frame.function.empty() ? std::string(frame.function)
                       : !frame.module.empty() ? fmt::format("{}+{:#x}", base_name(frame.module), frame.module_offset)
                                               : hex(frame.pc.value);
    if (frame.file.empty() || frame.line == 0) return name;
    return fmt::format("{} ({}:{})", name, base_name(frame.file), frame.line);
}

std::string place_in_source(const report::Frame* frame) {
    return frame != nullptr ? place_in_source(*frame) : "an unknown function";
}

std::string place_in_source(const go::GoStack& stack, std::size_t physical) {
    for (std::size_t i = 0; i < stack.frames.size(); ++i)
        if (stack.frame_of[i] == physical) return place_in_source(stack.frames[i]);
    return physical < stack.physical.size() ? std::string(stack.physical[physical].name()) : std::string();
}

const report::Frame* frame_of_variable(const Process& process, const go::GoStack& stack, std::size_t physical,
                                       std::string_view name, Address at) {
    std::vector<const report::Frame*> levels;
    for (std::size_t i = 0; i < stack.frames.size(); ++i)
        if (stack.frame_of[i] == physical) levels.push_back(&stack.frames[i]);
    if (levels.empty() || physical >= stack.physical.size()) return nullptr;
    const go::PhysicalFrame& frame = stack.physical[physical];
    const Address pc = frame.pc - (frame.after_call ? 1 : 0);
    const Image* image = process.images ? process.images->find(pc) : nullptr;
    // The outermost holds the words at least.
    if (image == nullptr || levels.size() == 1 || frame.cfa.is_null()) return levels.back();
    Registers registers(process.core.machine());
    registers.set_pc(frame.pc);
    registers.set_sp(frame.sp);
    if (!frame.bp.is_null()) registers.set_fp(frame.bp);
    const std::vector<Variable> variables = image->variables_at(pc, registers, frame.cfa, process.memory);
    const auto found = std::ranges::find_if(variables, [&](const Variable& variable) {
        return variable.name == name && variable.address && at >= *variable.address &&
               at - *variable.address < static_cast<std::int64_t>(std::max<std::uint64_t>(variable.size, 1));
    });
    const bool shown = found != variables.end() && found->level < levels.size() &&
                       image->inline_frames_at(pc).size() == levels.size();  // wrappers are not
    return shown ? levels[found->level] : levels.back();
}

std::string text_in(std::uint64_t word) {
    std::string text;
    for (unsigned i = 0; i < 8; ++i) {
        const char c = static_cast<char>(word >> i * 8 & 0xff);
        if (c < 0x20 || c > 0x7e) return {};
        text += c;
    }
    return " = \"" + text + "\"";
}

const report::Frame* logical_frame(const go::GoStack& stack, std::size_t physical) {
    for (std::size_t i = 0; i < stack.frames.size(); ++i)
        if (stack.frame_of[i] == physical && !stack.frames[i].inlined) return &stack.frames[i];
    return nullptr;
}

bool is_go_machinery(std::string_view function) {
    // Up to 1.23 there are packages below runtime/internal; later they are below internal/runtime.
    return function.starts_with("runtime.") || function.starts_with("sync.") || function.starts_with("internal/") ||
           function.starts_with("runtime/internal/");
}

bool add_snapshot(const Process& process, report::Finding& finding, const go::GoStack& stack, std::size_t frame,
                  std::optional<std::int64_t> goid) {
    if (!process.disassembler || finding.snapshots.size() >= most_snapshots) return false;
    auto snapshot = Snapshots(*process.locator, &*process.disassembler).frame(stack, frame);
    snapshot.goroutine = goid;
    finding.snapshots.push_back(std::move(snapshot));
    return true;
}

bool add_frame_snapshot(const Process& process, report::Finding& finding, const go::GoStack& stack,
                        std::size_t physical, std::optional<std::int64_t> goid) {
    const report::Frame* frame = logical_frame(stack, physical);
    return frame != nullptr &&
           add_snapshot(process, finding, stack, static_cast<std::size_t>(frame - stack.frames.data()), goid);
}

bool add_frame_snapshot(const Process& process, report::Finding& finding, std::size_t goroutine, std::size_t physical) {
    return add_frame_snapshot(process, finding, process.stacks.load(goroutine), physical,
                              process.goroutines->all[goroutine].goid);
}

std::string origin_of(const Process& process, Address at) {
    const Segment* segment = process.memory.find(at);
    return segment != nullptr ? std::string(to_string(segment->origin)) : "core";
}

report::Verify gdb_check(const Process& process, std::initializer_list<std::string_view> commands,
                         std::string_view remark) {
    std::string text = "gdb " + both(process);
    for (std::string_view command : commands) text += fmt::format(" -ex '{}'", command);
    if (!remark.empty()) text += fmt::format("   # {}", remark);
    return {"gdb", std::move(text)};
}

report::Verify gdb_words(const Process& process, Address at, unsigned words, std::string_view remark) {
    return gdb_check(process, {fmt::format("x/{}gx {:#x}", words, at.value)}, remark);
}

void add_delve_check(const Process& process, report::Finding& finding, std::string_view command) {
    if (process.go->description().debug_info != "dwarf") return;
    finding.verify.push_back({"dlv", fmt::format("dlv core {}   then: {}", both(process), command)});
}

report::Verify incident_check(const Process& process, std::string_view command) {
    return {"incident",
            fmt::format("incident {} {} {}", command, own_core_argument(process), executable_argument(process))};
}

std::optional<report::Verify> unpack_check(const Process& process) {
    const std::string& compression = process.core.compression();
    if (compression.empty() || process.core.from_stdin()) return std::nullopt;
    return report::Verify{compression, fmt::format("{} -dc {} > CORE   # the other tools want it unpacked", compression,
                                                   shell_quoted(process.core.path()))};
}

}  // namespace incident::detect
