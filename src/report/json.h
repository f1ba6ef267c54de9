// The sections of the JSON report, one function each, split over json.cpp and json_sections.cpp.
#pragma once

#include "report/json_writer.h"
#include "report/report.h"

namespace incident::report {

void write_input(JsonWriter& json, const Input& input);
void write_crash(JsonWriter& json, const Crash& crash);
void write_thread(JsonWriter& json, const Thread& thread);
void write_goroutine(JsonWriter& json, const Goroutine& goroutine);
void write_lock(JsonWriter& json, const Lock& lock);
void write_wait_graph(JsonWriter& json, const WaitGraph& graph);
void write_heap(JsonWriter& json, const Heap& heap);
void write_mapping(JsonWriter& json, const Mapping& mapping);
void write_finding(JsonWriter& json, const Finding& finding, const RunbookStep* runbook = nullptr);
void write_memory(JsonWriter& json, const MemoryAccount& memory);
void write_frames(JsonWriter& json, std::string_view name, const std::vector<Frame>& frames);
void write_frames(JsonWriter& json, std::string_view name, const FrameList& frames);
void write_snapshots(JsonWriter& json, const std::vector<FrameSnapshot>& snapshots);

void render_json(const Report& report, const RenderOptions& options, const Sink& sink);

}  // namespace incident::report
