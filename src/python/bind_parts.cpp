// The report's smaller parts: input, runtime, crash, locks, wait graph, heap, maps, locations, words.
#include <fmt/format.h>
#include <pybind11/stl.h>

#include "bind.h"
#include "report/report.h"

namespace incident::python {

using namespace report;

namespace {

std::string who(const Actor& actor) {
    if (actor.goroutine) return fmt::format("goroutine {}", *actor.goroutine);
    if (actor.thread) return fmt::format("thread {}", *actor.thread);
    return "unknown";
}

void bind_input(py::module_& module) {
    Bound<Tool>(module, "Tool", "Who made the report.").value("name", &Tool::name).value("version", &Tool::version);
    Bound<Module>(module, "Module", "A mapped ELF file.")
        .value("path", &Module::path, "As the target knew it.")
        .value("build_id", &Module::build_id, "Lower-case hex.")
        .value("status", &Module::status, "'verified', 'unverified', 'missing' or 'mismatched'.")
        .value("found_at", &Module::found_at, "Where our copy was.")
        .value("note", &Module::note)
        .repr([](const Module& m) { return to_valid_utf8(fmt::format("Module {} {}", m.path, to_string(m.status))); });
    bind_view<Module>(module, "ModuleSequence");
    Bound<CoreInput::Truncated>(module, "Truncated", "Where the core file is cut.")
        .value("at", &CoreInput::Truncated::at, "First missing byte of the decompressed file.")
        .value("missing_bytes", &CoreInput::Truncated::missing_bytes);
    Bound<CoreInput>(module, "CoreInput", "The core file.")
        .value("path", &CoreInput::path)
        .value("size", &CoreInput::size, "Bytes of the file as given.")
        .property(
            "compression",
            [](const CoreInput& c) { return to_str(c.compression.empty() ? "none" : std::string_view(c.compression)); })
        .value("arch", &CoreInput::arch)
        .value("pid", &CoreInput::pid)
        .value("program", &CoreInput::program)
        .value("arguments", &CoreInput::arguments)
        .part("truncated", &CoreInput::truncated);
    Bound<Input>(module, "Input", "What was read.")
        .part("core", &Input::core)
        .part("executable", &Input::executable)
        .view("modules", &Input::modules);
    Bound<GoRuntime>(module, "GoRuntime", "The Go runtime of the target.")
        .value("version", &GoRuntime::version)
        .value("layout", &GoRuntime::layout, "'dwarf' or 'table'.")
        .value("debug_info", &GoRuntime::debug_info, "'dwarf', 'symbols' or 'stripped'; None without the executable.")
        .value("variant", &GoRuntime::variant);
    Bound<Libc>(module, "Libc", "The C library of the target.")
        .value("name", &Libc::name)
        .value("version", &Libc::version);
    Bound<report::Runtime>(module, "Runtime", "The runtimes in the target.")
        .part("go", &report::Runtime::go)
        .part("libc", &report::Runtime::libc);
}

void bind_crash(py::module_& module) {
    Bound<Signal>(module, "Signal", "The signal the process died of.")
        .value("number", &Signal::number)
        .value("name", &Signal::name)
        .value("code", &Signal::code, "si_code.")
        .value("code_name", &Signal::code_name)
        .value("sender_pid", &Signal::sender_pid)
        .value("sender_uid", &Signal::sender_uid);
    Bound<Crash>(module, "Crash", "What died, and of what.")
        .value("kind", &Crash::kind, "'signal', 'go-panic', 'go-fatal', 'abort' or 'requested'.")
        .part("signal", &Crash::signal)
        .value("fault_address", &Crash::fault_address)
        .value("instruction", &Crash::instruction)
        .value("thread", &Crash::thread)
        .value("goroutine", &Crash::goroutine)
        .value("message", &Crash::message, "Of the panic or fatal error.")
        .value("cause", &Crash::cause, "One sentence.")
        .view("frames", &Crash::frames)
        .property(
            "registers",
            [](const Crash& c) {
                py::dict values;
                for (const auto& r : c.registers) values[to_str(r.name)] = r.value;
                return values;
            },
            "Of the faulting context: name to value.")
        .view("register_notes", &Crash::registers)
        .view("snapshots", &Crash::snapshots)
        .view("raw_stack", &Crash::raw_stack)
        .repr([](const Crash& c) { return to_valid_utf8(fmt::format("Crash {}: {}", to_string(c.kind), c.cause)); });
}

void bind_locks(py::module_& module) {
    Bound<LockWaiter>(module, "LockWaiter", "Who waits for a lock.")
        .property("goroutine", [](const LockWaiter& w) { return w.who.goroutine; })
        .property("thread", [](const LockWaiter& w) { return w.who.thread; })
        .value("mode", &LockWaiter::mode, "'lock', 'rlock' or 'wait'.")
        .repr([](const LockWaiter& w) { return "LockWaiter " + who(w.who); });
    bind_view<LockWaiter>(module, "LockWaiterSequence");
    Bound<LockHolder>(module, "LockHolder", "Who will release a lock, and why we believe it.")
        .property("goroutine", [](const LockHolder& h) { return h.who.goroutine; })
        .property("thread", [](const LockHolder& h) { return h.who.thread; })
        .value("basis", &LockHolder::basis)
        .value("strength", &LockHolder::strength, "'proved', 'likely' or 'possible'.")
        .repr([](const LockHolder& h) { return "LockHolder " + who(h.who); });
    bind_view<LockHolder>(module, "LockHolderSequence");
    Bound<Lock::State>(module, "LockState", "A lock's words, decoded.")
        .value("raw", &Lock::State::raw)
        .value("locked", &Lock::State::locked)
        .value("waiters", &Lock::State::waiters)
        .value("words", &Lock::State::words);
    Bound<Lock>(module, "Lock", "A lock that is waited for or held.")
        .value("address", &Lock::address)
        .value("type", &Lock::type, "'sync.Mutex', 'sync.RWMutex', 'pthread_mutex_t' …")
        .value("where", &Lock::where, "Symbol, or type and offset.")
        .part("state", &Lock::state)
        .view("waiters", &Lock::waiters)
        .view("holders", &Lock::holders)
        .repr([](const Lock& l) {
            return to_valid_utf8(fmt::format("Lock {} {:#x} {}", l.type, l.address.value, l.where));
        });
    bind_view<Lock>(module, "LockSequence");

    Bound<Actor>(module, "Actor", "A goroutine or a thread; the other one is None.")
        .property("goroutine", [](const Actor& a) { return a.goroutine; })
        .property("thread", [](const Actor& a) { return a.thread; })
        .repr([](const Actor& a) { return "Actor " + who(a); });
    Bound<WaitEdge> edge(module, "WaitEdge", "Somebody waits for somebody.");
    edge.python()
        .def_property_readonly(
            "from_", [](const WaitEdge& e) -> const Actor& { return e.from; },
            py::return_value_policy::reference_internal, "JSON: `from`, a keyword of Python.")
        .def_property_readonly(
            "to", [](const WaitEdge& e) -> const Actor& { return e.to; }, py::return_value_policy::reference_internal);
    edge.value("what", &WaitEdge::what).value("basis", &WaitEdge::basis).value("object", &WaitEdge::object);
    edge.value("alternatives", &WaitEdge::alternatives);
    edge.repr([](const WaitEdge& e) {
        return to_valid_utf8(fmt::format("WaitEdge {} waits for {}: {}", who(e.from), who(e.to), e.what));
    });
    bind_view<WaitEdge>(module, "WaitEdgeSequence");
    Bound<WaitGraph>(module, "WaitGraph", "Who waits for whom.")
        .view("edges", &WaitGraph::edges)
        .property(
            "cycles", [](const WaitGraph& g) { return g.cycles; }, "Each a list of indices into edges, in order.");
}

}  // namespace

void bind_parts(py::module_& module) {
    bind_input(module);
    bind_crash(module);
    bind_locks(module);

    Bound<HeapType>(module, "HeapType", "All objects of one type.")
        .value("name", &HeapType::name)
        .value("count", &HeapType::count)
        .value("bytes", &HeapType::bytes)
        .value("live", &HeapType::live, "Bytes that can be reached.")
        .repr([](const HeapType& t) { return to_valid_utf8(fmt::format("HeapType {} {} B", t.name, t.bytes)); });
    bind_view<HeapType>(module, "HeapTypeSequence");
    Bound<Heap>(module, "Heap", "The Go heap, by type.")
        .view("types", &Heap::types)
        .view("retainers", &Heap::retainers, "`bytes` is the retained size; None: not asked for.")
        .property("totals", [](const Heap& h) { return h.totals; });

    Bound<MemoryUse>(module, "MemoryUse", "Bytes of the core file under what they are.")
        .value("group", &MemoryUse::group)
        .value("what", &MemoryUse::what)
        .value("bytes", &MemoryUse::bytes)
        .value("touched", &MemoryUse::touched, "Of these in pages that are not all zero.");
    bind_view<MemoryUse>(module, "MemoryUseSequence");
    Bound<MemoryAccount>(module, "MemoryAccount", "maps --summary: the bytes of all uses add up to core_bytes.")
        .value("core_bytes", &MemoryAccount::core_bytes, "Size of the core file, decompressed.")
        .value("memory", &MemoryAccount::memory)
        .value("address_space", &MemoryAccount::address_space)
        .view("uses", &MemoryAccount::uses);

    Bound<Mapping>(module, "Mapping", "A range of the target's memory.")
        .property("begin", [](const Mapping& m) { return m.range.begin.value; })
        .property(
            "end", [](const Mapping& m) { return m.range.end.value; }, "First address behind it.")
        .value("permissions", &Mapping::permissions)
        .value("in_core", &Mapping::in_core, "Bytes that the core file holds.")
        .value("lost", &Mapping::lost, "Bytes cut off by truncation.")
        .value("origin", &Mapping::origin, "'core', 'file', 'absent' or 'mixed'.")
        .value("path", &Mapping::path)
        .property("file_offset",
                  [](const Mapping& m) { return !m.path.empty() ? to_python(m.file_offset) : py::object(py::none()); })
        .value("what", &Mapping::what)
        .repr([](const Mapping& m) {
            return to_valid_utf8(fmt::format("Mapping {:#x}-{:#x} {}", m.range.begin.value, m.range.end.value, m.what));
        });
    bind_view<Mapping>(module, "MappingSequence");

    Bound<Location>(module, "Location", "What an address is.")
        .value("address", &Location::address)
        .value("kind", &Location::kind, "'go-heap', 'go-stack', 'image', 'unmapped' …")
        .value("text", &Location::text, "One line.")
        .property("details",
                  [](const Location& l) {
                      py::dict details;
                      for (const auto& [name, value] : l.details) details[to_str(name)] = to_str(value);
                      return details;
                  })
        .repr(
            [](const Location& l) { return to_valid_utf8(fmt::format("Location {:#x} {}", l.address.value, l.text)); });
    Bound<Word>(module, "Word", "One word of memory.")
        .value("address", &Word::address)
        .value("value", &Word::value, "None: unreadable, see origin.")
        .value("symbol", &Word::symbol, "What lies at the address itself.")
        .value("points_to", &Word::points_to, "What the value is an address of.")
        .value("origin", &Word::origin, "'core', 'file', or why it is absent.")
        .repr([](const Word& w) {
            return w.value ? fmt::format("Word {:#x}: {:#x}", w.address.value, *w.value)
                           : fmt::format("Word {:#x}: unreadable", w.address.value);
        });
    bind_view<Word>(module, "WordSequence");
    Bound<Gap>(module, "Gap", "Something that is not known.")
        .value("what", &Gap::what)
        .value("why", &Gap::why)
        .value("weakens", &Gap::weakens, "Which conclusions rest on it.")
        .value("damage", &Gap::damage, "Counts for exit code 3.")
        .repr([](const Gap& g) { return to_valid_utf8(fmt::format("Gap {}", g.what)); });
    bind_view<Gap>(module, "GapSequence");
}

}  // namespace incident::python
