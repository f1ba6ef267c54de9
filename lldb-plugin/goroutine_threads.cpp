#include "goroutine_threads.h"

#include <cstdlib>
#include <fstream>

#include "goroutine_threads_py.h"  // generated from goroutine_threads.py

namespace incident_lldb {
namespace {

constexpr const char* setting = "target.process.python-os-plugin-path";
constexpr std::uint64_t tid_base = 1'000'000'000'000;  // as in goroutine_threads.py

/// A list of more is nothing to read, and 10,000 threads take lldb three seconds to list, 100,000 half a minute to
/// walk.
std::uint64_t most_threads() {
    const char* text = std::getenv("INCIDENT_MAX_THREADS");
    const auto value = text != nullptr ? std::strtoull(text, nullptr, 10) : 0;
    return value > 0 ? value : 5'000;
}

/// Setting the path makes LLDB load the plugin anew and rebuild its thread list.
std::string set_path(lldb::SBDebugger& debugger, const std::string& path) {
    const auto error = lldb::SBDebugger::SetInternalVariable(setting, path.c_str(), debugger.GetInstanceName());
    return error.Success() ? std::string{}
                           : std::string(error.GetCString() != nullptr ? error.GetCString() : "unknown error");
}

/// How many goroutines there are: the JSON has one "stack_end" key for each, and strings in it have their quotes
/// escaped.
std::uint64_t count_goroutines(const std::string& json) {
    constexpr std::string_view key = "\"stack_end\":";
    std::uint64_t count = 0;
    for (auto at = json.find(key); at != std::string::npos; at = json.find(key, at + key.size())) ++count;
    return count;
}

std::uint64_t goroutine_threads(lldb::SBDebugger& debugger) {
    auto process = debugger.GetSelectedTarget().GetProcess();
    std::uint64_t count = 0;
    for (std::uint32_t i = 0, n = process.GetNumThreads(); i < n; ++i)
        count += process.GetThreadAtIndex(i).GetThreadID() > tid_base;
    return count;
}

bool write_file(const std::string& path, std::string_view text) {
    std::ofstream file(path, std::ios::binary);
    file.write(text.data(), static_cast<std::streamsize>(text.size()));
    file.close();
    return static_cast<bool>(file);
}

}  // namespace

ThreadsShown goroutine_threads_on(lldb::SBDebugger& debugger, const Ask& ask) {
    ThreadsShown shown;
    static unsigned uses = 0;  // Python caches modules by name: each use is a new one
    const auto& folder = session_folder();
    if (folder.empty()) return shown.failure = "no temporary folder can be made", shown;
    const auto stem = folder + "/incident_goroutines_" + std::to_string(++uses);

    const auto run = ask({"goroutines", "--stacks", "--format", "json"});
    if (shown.failure = failure_of(run); !shown.failure.empty()) return shown;

    const auto count = count_goroutines(run.out);
    if (count > most_threads()) {
        const auto grouped = ask({"goroutines", "--group"});
        if (shown.failure = failure_of(grouped); !shown.failure.empty()) return shown;
        shown.instead = grouped.out;
        shown.message = std::to_string(count) + " goroutines are too many for lldb's thread list (limit " +
                        std::to_string(most_threads()) +
                        ", $INCIDENT_MAX_THREADS): above they are grouped by equal stacks instead";
        return shown;
    }
    if (!write_file(stem + ".json", run.out) || !write_file(stem + ".py", goroutine_threads_py)) {
        return shown.failure = "cannot write to " + folder, shown;
    }
    if (const auto why = set_path(debugger, stem + ".py"); !why.empty()) {
        return shown.failure =
                   "lldb refuses the thread plugin (lldb's Python support is needed: python3-lldb-19): " + why,
               shown;
    }
    const auto seen = goroutine_threads(debugger);
    if (seen == 0 && count > 0) {
        goroutine_threads_off(debugger);
        return shown.failure = "none of the " + std::to_string(count) + " goroutines could be shown as a thread", shown;
    }
    shown.message = std::to_string(seen) +
                    " parked goroutines are threads now, besides the real ones (thread list, thread select, bt; "
                    "incident threads ID)";
    return shown;
}

std::string goroutine_threads_off(lldb::SBDebugger& debugger) {
    lldb::SBCommandReturnObject
        done;  // an empty path is refused as a value: the API has no other way to clear a setting
    debugger.GetCommandInterpreter().HandleCommand((std::string("settings clear ") + setting).c_str(), done, false);
    return done.Succeeded() ? "the thread list shows real threads only"
                            : std::string("lldb keeps the thread plugin: ") + done.GetError();
}

bool select_goroutine_thread(lldb::SBDebugger& debugger, std::uint64_t id) {
    return debugger.GetSelectedTarget().GetProcess().SetSelectedThreadByID(tid_base + id);
}

}  // namespace incident_lldb
