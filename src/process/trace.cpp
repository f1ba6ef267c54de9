#include "process/trace.h"

#include <fmt/format.h>

namespace incident {

void trace_layout(const go::Runtime& runtime, const Log& log) {
    auto description = runtime.description();
    log(fmt::format("go: {}, fields by {}, globals by {}", description.version, description.layout,
                    runtime.globals().basis));
    auto& layout = runtime.layout();
    std::string_view owner;
    auto field = [&](std::string_view path, bool present) {
        if (!present) log(fmt::format("go: field {}.{} rejected: this runtime has no such field", owner, path));
    };
#define INCIDENT_STRUCT(id, go_name) \
    {                                \
        owner = go_name;             \
        [[maybe_unused]] auto& fields = layout.id;
#define INCIDENT_FIELD(id, path, ...) field(path, fields.id.present());
#define INCIDENT_PLACE(id, path) field(path, fields.id.present());
#define INCIDENT_END(id) }
#include "go/binary/runtime_fields.def"
#undef INCIDENT_STRUCT
#undef INCIDENT_FIELD
#undef INCIDENT_PLACE
#undef INCIDENT_END
}

void trace_stacks(const Process& process, const Log& log) {
    for (std::size_t i = 0; i < process.stacks.size(); ++i)
        if (!process.stacks.shape(i).complete)
            log(fmt::format("goroutine {}: stack ends after {} frames: {}", process.goroutines->all[i].goid,
                            process.stacks.shape(i).frames.size(), process.stacks.shape(i).end));
    for (auto& thread : process.threads) {
        if (!thread.stack.complete)
            log(fmt::format("thread {}: stack ends after {} frames: {}", thread.state->tid, thread.stack.frames.size(),
                            thread.stack.end));
        for (auto& line : thread.rejected) log(fmt::format("thread {}: {}", thread.state->tid, line));
    }
}

}  // namespace incident
