// The bulky sections of the JSON report: frames, crash, threads, goroutines, locks, heap, maps, findings.
#include "report/json.h"

namespace incident::report {

namespace {

void write_actor(JsonWriter& json, const Actor& actor) {
    json.integer("goroutine", actor.goroutine);
    json.integer("thread", actor.thread);
}

void write_actor(JsonWriter& json, std::string_view name, const Actor& actor) {
    json.begin_object(name);
    write_actor(json, actor);
    json.end_object();
}

/// Everything about a frame that does not depend on where its stack is.
void write_place(JsonWriter& json, const Frame& frame) {
    json.text("function", frame.function);
    json.text("file", frame.file);
    if (frame.line != 0)
        json.number("line", frame.line);
    else
        json.null("line");
    json.text("module", frame.module);
    if (!frame.module.empty())
        json.hex("module_offset", frame.module_offset);
    else
        json.null("module_offset");
    json.string("kind", to_string(frame.kind));
    json.string("trust", to_string(frame.trust));
    json.boolean("inlined", frame.inlined);
    json.boolean("runtime_internal", frame.runtime_internal);
}

std::string render_place(const Frame& frame) {
    constexpr std::string_view opening = "{\"function\":";
    std::string text;
    {
        Sink sink = [&](std::string_view piece) { return text += piece, true; };
        JsonWriter json(sink);
        json.begin_object();
        write_place(json, frame);
        json.end_object();
        json.finish();
    }
    return text.substr(opening.size(), text.find_last_of('}') - opening.size());
}

void write_frame_members(JsonWriter& json, const Frame& frame) {
    json.address("pc", frame.pc);
    json.address("sp", frame.sp);
    json.address("cfa", frame.cfa);
    json.rendered_members("function", json.frame_texts().get(frame, [&] { return render_place(frame); }));
    if (frame.left_out != 0) json.number("left_out", frame.left_out);
}

void write_slot(JsonWriter& json, const Slot& slot) {
    json.begin_object();
    json.string("offset", slot.place);
    json.address("address", slot.address);
    json.text("name", slot.name);
    json.text("type", slot.type);
    json.text("value", slot.value);
    json.text("points_to", slot.points_to);
    json.text("by", slot.by);
    json.end_object();
}

void write_slots(JsonWriter& json, std::string_view name, const std::vector<Slot>& slots) {
    json.begin_array(name);
    for (const auto& slot : slots) write_slot(json, slot);
    json.end_array();
}

/// {name: hex}, and what each value is beside it, for those of which something can be said.
void write_registers(JsonWriter& json, const std::vector<Register>& registers) {
    json.begin_object("registers");
    for (const auto& r : registers) json.hex(r.name, r.value);
    json.end_object();
    json.begin_array("register_notes");
    for (const auto& r : registers) {
        if (r.points_to.empty() && r.note.empty()) continue;
        json.begin_object();
        json.string("name", r.name);
        json.hex("value", r.value);
        json.text("points_to", r.points_to);
        json.text("note", r.note);
        json.end_object();
    }
    json.end_array();
}

void write_heap_types(JsonWriter& json, std::string_view name, const std::vector<HeapType>& types) {
    json.begin_array(name);
    for (const auto& type : types) {
        json.new_line();
        json.begin_object();
        json.text("name", type.name);
        json.number("count", type.count);
        json.number("bytes", type.bytes);
        json.number("live", type.live);
        json.end_object();
    }
    json.end_array();
}

void write_waited(JsonWriter& json, const std::optional<Waited>& waited) {
    if (!waited) return json.null("waited");
    json.begin_object("waited");
    json.number("at_least_ns", waited->at_least_ns);
    json.text("basis", waited->basis);
    json.end_object();
}

void write_blocked_on(JsonWriter& json, const BlockedOn& blocked) {
    json.address("address", blocked.address);
    json.text("what", blocked.what);
}

template <class Frames>
void write_frame_range(JsonWriter& json, std::string_view name, const Frames& frames) {
    json.begin_array(name);
    for (const Frame& frame : frames) {
        json.begin_object();
        write_frame_members(json, frame);
        json.end_object();
    }
    json.end_array();
}

}  // namespace

void write_frames(JsonWriter& json, std::string_view name, const std::vector<Frame>& frames) {
    write_frame_range(json, name, frames);
}

void write_frames(JsonWriter& json, std::string_view name, const FrameList& frames) {
    write_frame_range(json, name, frames.all());
}

void write_snapshots(JsonWriter& json, const std::vector<FrameSnapshot>& snapshots) {
    json.begin_array("snapshots");
    for (const auto& snapshot : snapshots) {
        json.new_line();
        json.begin_object();
        json.number("index", snapshot.index);
        json.integer("goroutine", snapshot.goroutine);
        json.integer("thread", snapshot.thread);
        write_frame_members(json, snapshot.frame);
        json.address("bp", snapshot.frame.bp);
        json.number("function_offset", snapshot.frame.function_offset);
        json.boolean("after_call", snapshot.frame.after_call);
        write_slots(json, "slots", snapshot.slots);
        json.begin_array("code");
        for (const auto& line : snapshot.code) {
            json.begin_object();
            json.address("pc", line.pc);
            json.string("text", line.text);
            json.text("comment", line.comment);
            json.boolean("current", line.current);
            json.end_object();
        }
        json.end_array();
        json.strings("notes", snapshot.notes);
        json.end_object();
    }
    json.end_array();
}

void write_crash(JsonWriter& json, const Crash& crash) {
    json.begin_object("crash");
    json.string("kind", to_string(crash.kind));
    if (crash.signal) {
        json.begin_object("signal");
        json.integer("number", crash.signal->number);
        json.text("name", crash.signal->name);
        json.integer("code", crash.signal->code);
        json.text("code_name", crash.signal->code_name);
        json.integer("sender_pid", crash.signal->sender_pid);
        json.integer("sender_uid", crash.signal->sender_uid);
        json.end_object();
    } else {
        json.null("signal");
    }
    json.address("fault_address", crash.fault_address);
    json.text("instruction", crash.instruction);
    json.integer("thread", crash.thread);
    json.integer("goroutine", crash.goroutine);
    json.text("message", crash.message);
    json.text("cause", crash.cause);
    write_frames(json, "frames", crash.frames);
    write_registers(json, crash.registers);
    write_snapshots(json, crash.snapshots);
    write_slots(json, "raw_stack", crash.raw_stack);
    json.end_object();
}

void write_thread(JsonWriter& json, const Thread& thread) {
    json.begin_object();
    json.integer("tid", thread.tid);
    json.text("name", thread.name);
    json.integer("goroutine", thread.goroutine);
    write_registers(json, thread.registers);
    write_frames(json, "frames", thread.frames);
    json.text("stack_end", thread.stack_end);
    json.text("note", thread.note);
    json.end_object();
}

void write_goroutine(JsonWriter& json, const Goroutine& goroutine) {
    json.begin_object();
    json.integer("id", goroutine.id);
    json.text("status", goroutine.status);
    json.text("wait_reason", goroutine.wait_reason);
    write_waited(json, goroutine.waited);
    if (goroutine.blocked_on.empty()) {
        json.null("blocked_on");
    } else {
        json.begin_object("blocked_on");
        write_blocked_on(json, goroutine.blocked_on.front());
        json.end_object();
    }
    if (goroutine.blocked_on.size() > 1) {
        json.begin_array("blocked_on_cases");
        for (const auto& blocked : goroutine.blocked_on) {
            json.begin_object();
            write_blocked_on(json, blocked);
            json.end_object();
        }
        json.end_array();
    }
    json.text("created_by", goroutine.created_by);
    json.integer("created_by_goroutine", goroutine.created_by_goroutine);
    json.text("created_file", goroutine.created_file);
    if (goroutine.created_line != 0)
        json.number("created_line", goroutine.created_line);
    else
        json.null("created_line");
    json.text("start", goroutine.start);
    json.begin_object("labels");
    for (const auto& [name, value] : goroutine.labels) json.string(to_valid_utf8(name), value);
    json.end_object();
    json.integer("thread", goroutine.thread);
    json.boolean("system", goroutine.system);
    json.boolean("locked_to_thread", goroutine.locked_to_thread);
    if (!goroutine.frames_computed) {
        json.null("frames");
    } else {
        write_frames(json, "frames", goroutine.frames);
    }
    json.text("stack_end", goroutine.stack_end);
    if (!goroutine.frames_computed && goroutine.defers.empty()) {
        json.null("defers");
    } else {
        json.begin_array("defers");
        for (const auto& defer : goroutine.defers) {
            json.begin_object();
            json.text("function", defer.function);
            json.text("kind", defer.kind);
            json.integer("frame", defer.frame);
            json.address("closure", defer.closure);
            json.end_object();
        }
        json.end_array();
    }
    if (!goroutine.frames_computed && goroutine.panics.empty()) {
        json.null("panics");
    } else {
        json.begin_array("panics");
        for (const auto& panic : goroutine.panics) {
            json.begin_object();
            json.text("value", panic.value);
            json.text("type", panic.type);
            json.boolean("recovered", panic.recovered);
            json.boolean("goexit", panic.goexit);
            json.end_object();
        }
        json.end_array();
    }
    if (!goroutine.snapshots.empty()) write_snapshots(json, goroutine.snapshots);
    json.end_object();
}

void write_lock(JsonWriter& json, const Lock& lock) {
    json.begin_object();
    json.address("address", lock.address);
    json.text("type", lock.type);
    json.text("where", lock.where);
    json.begin_object("state");
    json.hex("raw", lock.state.raw);
    json.boolean("locked", lock.state.locked);
    json.integer("waiters", lock.state.waiters);
    json.text("words", lock.state.words);
    json.end_object();
    json.begin_array("waiters");
    for (const auto& waiter : lock.waiters) {
        json.begin_object();
        write_actor(json, waiter.who);
        json.text("mode", waiter.mode);
        write_waited(json, waiter.waited);
        json.end_object();
    }
    json.end_array();
    json.begin_array("holders");
    for (const auto& holder : lock.holders) {
        json.begin_object();
        write_actor(json, holder.who);
        json.text("basis", holder.basis);
        json.string("strength", to_string(holder.strength));
        json.boolean("may_release", holder.may_release);
        json.end_object();
    }
    json.end_array();
    json.end_object();
}

void write_wait_graph(JsonWriter& json, const WaitGraph& graph) {
    json.begin_object("wait_graph");
    json.begin_array("edges");
    for (const auto& edge : graph.edges) {
        json.new_line();
        json.begin_object();
        write_actor(json, "from", edge.from);
        write_actor(json, "to", edge.to);
        json.text("what", edge.what);
        json.text("basis", edge.basis);
        json.address("object", edge.object);
        json.string("alternatives", to_string(edge.alternatives));
        json.end_object();
    }
    json.end_array();
    json.begin_array("cycles");
    for (const auto& cycle : graph.cycles) {
        json.begin_array();
        for (auto edge : cycle) json.number_value(edge);
        json.end_array();
    }
    json.end_array();
    json.begin_array("chains");
    for (const auto& chain : graph.chains) {
        json.new_line();
        json.begin_object();
        json.integers("edges", chain.edges);
        json.number("alike", chain.alike);
        json.boolean("into_cycle", chain.into_cycle);
        json.end_object();
    }
    json.end_array();
    json.begin_array("blockers");
    for (const auto& blocker : graph.blockers) {
        json.new_line();
        json.begin_object();
        write_actor(json, blocker.who);
        json.number("direct", blocker.direct);
        json.integer("total", blocker.total);
        json.number("possibly", blocker.possibly);
        json.number("objects", blocker.objects);
        json.boolean("in_cycle", blocker.in_cycle);
        json.end_object();
    }
    json.end_array();
    json.end_object();
}

void write_heap(JsonWriter& json, const Heap& heap) {
    json.begin_object("heap");
    write_heap_types(json, "types", heap.types);
    if (heap.retainers)
        write_heap_types(json, "retainers", *heap.retainers);
    else
        json.null("retainers");
    json.begin_object("totals");
    for (const auto& [name, value] : heap.totals) json.number(name, value);
    json.end_object();
    json.end_object();
}

void write_memory(JsonWriter& json, const MemoryAccount& memory) {
    json.begin_object("memory");
    json.number("core_bytes", memory.core_bytes);
    json.number("memory", memory.memory);
    json.number("address_space", memory.address_space);
    json.begin_array("uses");
    for (const MemoryUse& use : memory.uses) {
        json.begin_object();
        json.text("group", use.group);
        json.text("what", use.what);
        json.number("bytes", use.bytes);
        json.number("touched", use.touched);
        json.end_object();
    }
    json.end_array();
    json.end_object();
}

void write_mapping(JsonWriter& json, const Mapping& mapping) {
    json.begin_object();
    json.address("begin", mapping.range.begin);
    json.address("end", mapping.range.end);
    json.text("permissions", mapping.permissions);
    json.number("in_core", mapping.in_core);
    json.number("lost", mapping.lost);
    json.text("origin", mapping.origin);
    json.text("path", mapping.path);
    if (!mapping.path.empty())
        json.number("file_offset", mapping.file_offset);
    else
        json.null("file_offset");
    json.text("what", mapping.what);
    json.end_object();
}

void write_finding(JsonWriter& json, const Finding& finding, const RunbookStep* runbook) {
    json.begin_object();
    json.string("kind", finding.kind);
    json.string("severity", to_string(finding.severity));
    json.string("strength", to_string(finding.strength));
    json.string("title", finding.title);
    json.text("where", finding.where);
    json.text("why", finding.why);
    json.begin_object("subject");
    json.address("address", finding.subject.address);
    json.text("what", finding.subject.what);
    json.text("type", finding.subject.type);
    json.text("symbol", finding.subject.symbol);
    json.end_object();
    json.begin_object("mark");
    json.text("fault", finding.mark.fault);
    json.text("holder", finding.mark.holder);
    json.text("shape", finding.mark.shape);
    json.end_object();
    json.text("explanation", finding.explanation);
    json.begin_array("evidence");
    for (const auto& e : finding.evidence) {
        json.begin_object();
        json.string("what", e.what);
        json.address("address", e.address);
        json.text("value", e.value);
        json.text("origin", e.origin);
        json.text("by", e.by);
        json.end_object();
    }
    json.end_array();
    json.number("count", finding.count);
    json.integers("goroutines", finding.goroutines);
    json.integers("threads", finding.threads);
    write_snapshots(json, finding.snapshots);
    json.strings("innocent", finding.innocent);
    json.begin_array("verify");
    for (const auto& v : finding.verify) {
        json.begin_object();
        json.string("tool", v.tool);
        json.string("command", v.command);
        json.end_object();
    }
    json.end_array();
    json.text("remedy", finding.remedy);
    json.strings("related", finding.related);
    if (runbook != nullptr) {
        json.begin_object("runbook");
        json.text("title", runbook->title);
        json.text("owner", runbook->owner);
        json.strings("steps", runbook->steps);
        json.strings("links", runbook->links);
        json.end_object();
    }
    json.end_object();
}

}  // namespace incident::report
