#include "sections.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "native/allocators.h"
#include "process/fault_access.h"
#include "process/snapshot.h"

namespace incident {

namespace {

std::vector<report::Register> register_rows(const Registers& registers, const Locator& locator) {
    std::vector<report::Register> rows;
    auto& machine = registers.machine();
    for (unsigned i = 0; i < machine.registers.size(); ++i)
        if (auto value = registers.get(i))
            rows.push_back({std::string(machine.registers[i].name), *value, locator.points_to(*value), {}});
    return rows;
}

/// The frames a reader wants to see first: the program's own, from where it died.
void add_snapshots(report::Crash& crash, const Process& process, const Locator& locator) {
    const CrashContext& context = *process.crash;
    if (context.kind == report::CrashKind::requested) return;
    constexpr std::size_t wanted = 4;
    Snapshots snapshots(locator, &*process.disassembler);
    auto* registers = context.stack_from_registers && context.registers ? &*context.registers : nullptr;
    for (std::size_t i = 0; i < context.stack.frames.size() && crash.snapshots.size() < wanted; ++i) {
        auto& frame = context.stack.frames[i];
        if (context.stack.physical[context.stack.frame_of[i]].owner == go::StackOwner::signal) continue;
        bool machinery = frame.runtime_internal || frame.function == "panic" || frame.function.starts_with("runtime.");
        if (machinery && !(i == 0 && registers != nullptr)) continue;
        if (frame.inlined) continue;  // its slots are those of the function it was inlined into
        auto snapshot = snapshots.frame(context.stack, i, registers);
        // The annotated stack may begin elsewhere than the listed one: number frames as the list does.
        auto listed = std::ranges::find_if(
            crash.frames, [&](auto& f) { return f.pc == frame.pc && f.sp == frame.sp && f.inlined == frame.inlined; });
        if (listed != crash.frames.end()) snapshot.index = static_cast<std::size_t>(listed - crash.frames.begin());
        snapshot.goroutine = context.goid;
        snapshot.thread = context.tid;
        crash.snapshots.push_back(std::move(snapshot));
    }
    auto sp = context.registers ? context.registers->sp() : std::nullopt;
    if (sp && context.stack_from_registers) crash.raw_stack = snapshots.raw_stack(*sp, 2, 14);
}

}  // namespace

report::Input input_section(const Process& process) {
    report::Input input;
    auto& core = process.core;
    input.core.path = core.path();
    input.core.size = core.size();
    input.core.compression = core.compression();
    input.core.arch = core.machine().name;
    if (auto& info = core.process_info()) {
        input.core.pid = info->pid;
        input.core.program = info->program;
        input.core.arguments = info->arguments;
    } else if (!core.threads().empty()) {
        input.core.pid = core.threads().front().tid;
    }
    if (auto cut = core.truncation()) input.core.truncated = {cut->at, cut->missing_bytes};
    input.executable = process.images->executable_module();
    input.modules = process.images->modules();
    return input;
}

report::Runtime runtime_section(const Process& process) {
    report::Runtime runtime;
    if (process.go) runtime.go = process.go->description();
    if (auto found = native::identify_libc(*process.images)) runtime.libc = found->libc;
    return runtime;
}

report::Crash crash_section(const Process& process, const Locator& locator) {
    const CrashContext& context = *process.crash;
    report::Crash crash;
    crash.kind = context.kind;
    if (context.signal) {
        auto& info = *context.signal;
        report::Signal signal;
        signal.number = info.number;
        signal.name = signal_name(info.number);
        signal.code = info.code;
        signal.code_name = signal_code_name(info.number, info.code);
        signal.sender_pid = info.sender_pid;
        if (info.sender_uid) signal.sender_uid = static_cast<std::int32_t>(*info.sender_uid);
        crash.signal = signal;
    }
    crash.fault_address = context.fault_address;
    crash.thread = context.tid;
    crash.goroutine = context.goid;
    crash.message = context.message;
    crash.frames = context.frames;
    if (context.registers && context.kind != report::CrashKind::requested) {
        crash.registers = register_rows(*context.registers, locator);
        if (auto pc = context.registers->pc()) {
            auto instruction = process.disassembler->decode(process.memory, *pc);
            if (instruction) crash.instruction = readable_text(*instruction);
            if (context.signal && context.signal->code > 0) {
                auto access = analyse_access(process, *context.registers, context.fault_address, {});
                if (access && access->bad_register && access->operand)
                    for (auto& row : crash.registers)
                        if (row.name == process.core.machine().registers[*access->bad_register].name)
                            row.note =
                                "base of the faulting access " + operand_text(*access->operand, process.core.machine());
            }
        }
    }
    add_snapshots(crash, process, locator);
    return crash;
}

std::vector<report::Thread> threads_section(const Process& process, const Locator& locator,
                                            std::optional<std::int32_t> only) {
    std::vector<report::Thread> threads;
    for (auto& native : process.threads) {
        if (only && native.state->tid != *only) continue;
        report::Thread thread;
        thread.tid = native.state->tid;
        thread.name = native.name;
        thread.goroutine = native.goroutine;
        thread.registers = register_rows(native.state->registers, locator);
        thread.frames = native.stack.frames;
        thread.stack_end = native.stack.end;
        threads.push_back(std::move(thread));
    }
    return threads;
}

}  // namespace incident
