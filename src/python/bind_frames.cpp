// Frames, slots, instructions, registers, goroutines and threads.
#include <fmt/format.h>
#include <pybind11/stl.h>

#include "bind.h"
#include "report/report.h"

namespace incident::python {

using namespace report;

namespace {

std::string place(const Frame& frame) {
    std::string text = frame.function.empty() ? fmt::format("{:#x}", frame.pc.value) : std::string(frame.function);
    if (frame.line != 0) {
        auto slash = frame.file.rfind('/');
        text += fmt::format(" {}:{}", slash == std::string_view::npos ? frame.file : frame.file.substr(slash + 1),
                            frame.line);
    }
    return to_valid_utf8(text);
}

/// Members of a Frame, also those of the frame inside a FrameSnapshot.
template <class T, class Get>
void frame_members(Bound<T>& bound, Get get) {
    auto add = [&](const char* name, auto value, const char* doc) {
        bound.property(name, [get, value](const T& self) { return value(get(self)); }, doc);
    };
    add("pc", [](const Frame& f) { return to_python(f.pc); }, "Program counter; for a caller, the return address.");
    add("sp", [](const Frame& f) { return to_python(f.sp); }, "Stack pointer while this frame executes.");
    add("bp", [](const Frame& f) { return to_python(f.bp); }, "Frame pointer register in this frame.");
    add("cfa", [](const Frame& f) { return to_python(f.cfa); }, "The caller's sp after the return: DWARF's CFA.");
    add("function", [](const Frame& f) { return to_python(f.function); }, "None: unknown.");
    add("file", [](const Frame& f) { return to_python(f.file); }, "Source file, as the compiler was given it.");
    add(
        "line", [](const Frame& f) { return f.line != 0 ? to_python(f.line) : py::object(py::none()); },
        "Source line; None: unknown.");
    add("module", [](const Frame& f) { return to_python(f.module); }, "Path of the ELF file.");
    add(
        "module_offset",
        [](const Frame& f) { return !f.module.empty() ? to_python(f.module_offset) : py::object(py::none()); },
        "pc minus the module's load bias, bytes.");
    add(
        "function_offset", [](const Frame& f) { return to_python(f.function_offset); },
        "pc minus the function's entry, bytes.");
    add("kind", [](const Frame& f) { return to_python(f.kind); }, "'go', 'native' or 'signal'.");
    add(
        "trust", [](const Frame& f) { return to_python(f.trust); },
        "How it was found: 'context', 'pclntab', 'cfi', 'frame_pointer' or 'scan'.");
    add("inlined", [](const Frame& f) { return to_python(f.inlined); }, "Shares pc and sp with the next frame.");
    add("after_call", [](const Frame& f) { return to_python(f.after_call); }, "pc is a return address.");
    add(
        "runtime_internal", [](const Frame& f) { return to_python(f.runtime_internal); },
        "The runtime would not print it without GOTRACEBACK=system.");
    add(
        "left_out", [](const Frame& f) { return to_python(f.left_out); },
        "Physical frames of a very deep stack that are missing before this one.");
}

py::dict register_values(const std::vector<Register>& registers) {
    py::dict values;
    for (const auto& r : registers) values[to_str(r.name)] = r.value;
    return values;
}

}  // namespace

void bind_frames(py::module_& module) {
    Bound<Frame> frame(module, "Frame", "One frame of a stack, innermost first.");
    frame_members(frame, [](const Frame& f) -> const Frame& { return f; });
    frame.repr([](const Frame& f) { return "Frame " + place(f); });
    bind_view<Frame>(module, "FrameSequence");

    Bound<Slot>(module, "Slot", "One word or variable of a frame.")
        .value("offset", &Slot::place, "Where, from the frame's base: 'bp-0x48', 'cfa+0x8', 'rax'.")
        .value("address", &Slot::address, "None: it lives in a register only.")
        .value("name", &Slot::name, "Variable; None: unknown (stripped).")
        .value("type", &Slot::type, "Source type, or 'pointer', 'scalar', 'word'.")
        .value("value", &Slot::value, "As printed; None: unreadable.")
        .value("points_to", &Slot::points_to, "What the value is an address of.")
        .value("by", &Slot::by, "Who says so: dwarf, stack map, frame layout, scan.")
        .repr([](const Slot& s) { return to_valid_utf8(fmt::format("Slot {} {} = {}", s.place, s.name, s.value)); });
    bind_view<Slot>(module, "SlotSequence");

    Bound<CodeLine>(module, "CodeLine", "One instruction near a pc.")
        .value("pc", &CodeLine::pc)
        .value("text", &CodeLine::text)
        .value("comment", &CodeLine::comment)
        .value("current", &CodeLine::current, "The faulting or next instruction.")
        .repr([](const CodeLine& c) { return to_valid_utf8(fmt::format("CodeLine {:#x} {}", c.pc.value, c.text)); });
    bind_view<CodeLine>(module, "CodeLineSequence");

    Bound<FrameSnapshot> snapshot(module, "FrameSnapshot", "A frame with its slots and the code around its pc.");
    frame_members(snapshot, [](const FrameSnapshot& s) -> const Frame& { return s.frame; });
    snapshot.value("index", &FrameSnapshot::index, "Position in its stack.")
        .view("slots", &FrameSnapshot::slots)
        .view("code", &FrameSnapshot::code)
        .value("notes", &FrameSnapshot::notes)
        .value("goroutine", &FrameSnapshot::goroutine, "Whose stack.")
        .value("thread", &FrameSnapshot::thread)
        .repr([](const FrameSnapshot& s) { return "FrameSnapshot " + place(s.frame); });
    bind_view<FrameSnapshot>(module, "FrameSnapshotSequence");

    Bound<Register>(module, "Register", "A register's value, and what can be said of it.")
        .value("name", &Register::name)
        .value("value", &Register::value)
        .value("points_to", &Register::points_to)
        .value("note", &Register::note)
        .repr([](const Register& r) { return fmt::format("Register {} {:#x}", r.name, r.value); });
    bind_view<Register>(module, "RegisterSequence");

    Bound<Thread>(module, "Thread", "An OS thread.")
        .value("tid", &Thread::tid)
        .value("name", &Thread::name)
        .value("goroutine", &Thread::goroutine, "Id of the goroutine that runs on it; None: none.")
        .property(
            "registers", [](const Thread& t) { return register_values(t.registers); }, "Name to value.")
        .view("register_notes", &Thread::registers)
        .view("frames", &Thread::frames)
        .value("stack_end", &Thread::stack_end, "Why the walk ended.")
        .value("note", &Thread::note)
        .repr([](const Thread& t) { return to_valid_utf8(fmt::format("Thread {} {}", t.tid, t.name)); });
    bind_view<Thread>(module, "ThreadSequence");

    Bound<Waited>(module, "Waited", "How long a goroutine has waited, as far as a core can tell.")
        .value("at_least_ns", &Waited::at_least_ns, "Nanoseconds.")
        .value("basis", &Waited::basis);
    Bound<BlockedOn>(module, "BlockedOn", "What a goroutine waits for.")
        .value("address", &BlockedOn::address)
        .value("what", &BlockedOn::what)
        .repr([](const BlockedOn& b) { return to_valid_utf8(fmt::format("BlockedOn {}", b.what)); });
    bind_view<BlockedOn>(module, "BlockedOnSequence");
    Bound<Defer>(module, "Defer", "A pending deferred call.")
        .value("function", &Defer::function)
        .value("kind", &Defer::kind, "'open-coded', 'record' or 'rangefunc'.")
        .value("frame", &Defer::frame, "Index into the goroutine's frames.")
        .value("closure", &Defer::closure)
        .repr([](const Defer& d) { return to_valid_utf8(fmt::format("Defer {}", d.function)); });
    bind_view<Defer>(module, "DeferSequence");
    Bound<Panic>(module, "Panic", "A panic in progress.")
        .value("value", &Panic::value, "As the runtime would print it.")
        .value("type", &Panic::type)
        .value("recovered", &Panic::recovered)
        .value("goexit", &Panic::goexit)
        .repr([](const Panic& p) { return to_valid_utf8(fmt::format("Panic {}", p.value)); });
    bind_view<Panic>(module, "PanicSequence");

    Bound<Goroutine>(module, "Goroutine", "A goroutine.")
        .value("id", &Goroutine::id)
        .value("status", &Goroutine::status, "'waiting', 'running', 'runnable', 'syscall', 'dead' …")
        .value("wait_reason", &Goroutine::wait_reason, "The runtime's words.")
        .part("waited", &Goroutine::waited)
        .property(
            "blocked_on", [](const Goroutine& g) { return g.blocked_on.empty() ? nullptr : &g.blocked_on.front(); },
            "What it waits for; of a select, the first case.")
        .view("blocked_on_cases", &Goroutine::blocked_on, "Every case of a select.")
        .value("created_by", &Goroutine::created_by, "Function with the `go` statement.")
        .value("created_by_goroutine", &Goroutine::created_by_goroutine)
        .value("created_file", &Goroutine::created_file)
        .property(
            "created_line",
            [](const Goroutine& g) { return g.created_line != 0 ? to_python(g.created_line) : py::object(py::none()); })
        .value("start", &Goroutine::start, "Function it began with.")
        .property(
            "labels",
            [](const Goroutine& g) {
                py::dict labels;
                for (const auto& [name, value] : g.labels) labels[to_str(name)] = to_str(value);
                return labels;
            },
            "Profiler labels.")
        .value("thread", &Goroutine::thread, "Tid of the thread it runs on.")
        .value("system", &Goroutine::system, "The runtime's own.")
        .value("locked_to_thread", &Goroutine::locked_to_thread)
        .view("frames", &Goroutine::frames)
        .value("stack_end", &Goroutine::stack_end, "Why the walk ended.")
        .view("defers", &Goroutine::defers)
        .view("panics", &Goroutine::panics)
        .view("snapshots", &Goroutine::snapshots, "Annotated frames: of Process.goroutine(id) only.")
        .repr([](const Goroutine& g) {
            return to_valid_utf8(fmt::format("Goroutine {} {}{}", g.id, g.status,
                                             g.wait_reason.empty() ? "" : fmt::format(" ({})", g.wait_reason)));
        });
    bind_view<Goroutine>(module, "GoroutineSequence");
}

}  // namespace incident::python
