// analyze: which passes a command needs, the passes, the detectors, the sections. Read it top to bottom.
#include "analyze.h"

#include <algorithm>

#include "detect/detector.h"
#include "heap_section.h"
#include "locks_section.h"
#include "process/maps.h"
#include "process/memory_account.h"
#include "process/process.h"
#include "pthread_section.h"
#include "sections.h"

namespace incident {

namespace {

std::string_view name_of(Command command) {
    switch (command) {
        case Command::analyze: return "analyze";
        case Command::crash: return "crash";
        case Command::goroutines: return "goroutines";
        case Command::goroutine: return "goroutine";
        case Command::threads: return "threads";
        case Command::thread: return "thread";
        case Command::locks: return "locks";
        case Command::heap: return "heap";
        case Command::maps: return "maps";
        case Command::locate: return "locate";
        case Command::read: return "read";
    }
    return "";
}

/// An id the user named must be there, or it is a gap that says so.
template <class Rows>
void require_row(report::Report& report, const Rows& rows, std::string what) {
    if (rows && rows->empty()) report.gaps.push_back({std::move(what), "there is no such one in this core", "", true});
}

}  // namespace

Passes passes_for(const AnalyzeOptions& options) {
    switch (options.command) {
        case Command::analyze:
            // A question about some kinds does not pay for the heap that others read.
            return {.threads = true,
                    .goroutines = true,
                    .stacks = true,
                    .spans = true,
                    .crash = true,
                    .locks = true,
                    .heap = detect::reads(detect::Need::heap, options.only, options.skip),
                    .heap_types = detect::reads(detect::Need::heap_types, options.only, options.skip),
                    .leaks = detect::reads(detect::Need::leaks, options.only, options.skip),
                    .malloc = true,
                    .pthreads = true};
        case Command::crash: return {.crash = true};
        case Command::goroutines: return {.goroutines = true, .stacks = true};
        case Command::goroutine:
            return {
                .threads = true, .goroutines = true, .stacks = true, .spans = true, .malloc = true, .pthreads = true};
        case Command::threads:
        case Command::thread: return {.threads = true, .pthreads = true};
        case Command::maps: return {.goroutines = true, .spans = true, .malloc = true};
        case Command::locks:
            return {.threads = true,
                    .goroutines = true,
                    .stacks = true,
                    .spans = true,
                    .locks = true,
                    .heap = options.held,
                    .heap_types = options.held,
                    .pthreads = true};
        case Command::heap:
            return {.goroutines = true, .stacks = true, .spans = true, .heap = true, .heap_types = true};
        case Command::locate:
        case Command::read: return {.goroutines = true, .stacks = true, .spans = true, .malloc = true};
    }
    return {};
}

report::Report report_on(const std::shared_ptr<const Process>& shared, const AnalyzeOptions& options) {
    const Process& process = *shared;
    const Locator& locator = *process.locator;

    report::Report report;
    report.command = name_of(options.command);
    report.tool.version = INCIDENT_VERSION;
    report.keep_alive = shared;
    report.input = input_section(process);
    report.runtime = runtime_section(process);
    report.gaps = process.gaps;
    if (process.crash) report.crash = crash_section(process, locator);

    switch (options.command) {
        case Command::analyze: {
            report.threads = threads_section(process, locator, std::nullopt);
            if (process.goroutines) report.goroutines = goroutines_section(process, locator, std::nullopt);
            report.heap = heap_section(process, locator, options, report);
            report.maps = maps_section(locator);
            break;
        }
        case Command::crash: break;
        case Command::goroutines:
            if (process.goroutines) report.goroutines = goroutines_section(process, locator, std::nullopt);
            break;
        case Command::goroutine:
            if (process.goroutines) report.goroutines = goroutines_section(process, locator, options.goroutine);
            require_row(report, report.goroutines, "the goroutine that was asked for");
            break;
        case Command::threads: report.threads = threads_section(process, locator, std::nullopt); break;
        case Command::thread:
            report.threads = threads_section(process, locator, options.thread);
            require_row(report, report.threads, "the thread that was asked for");
            break;
        case Command::maps:
            if (options.summary)
                report.memory = memory_account(locator);
            else
                report.maps = maps_section(locator);
            break;
        case Command::locate: report.location = locator.location(options.address.value_or(Address{})); break;
        case Command::read:
            report.words = read_words(locator, options.address.value_or(Address{}), options.words);
            break;
        case Command::locks:
            report.threads = threads_section(process, locator, std::nullopt);
            if (process.goroutines) report.goroutines = goroutines_section(process, locator, std::nullopt);
            note_unread_locks(process, report.gaps);
            break;
        case Command::heap: report.heap = heap_section(process, locator, options, report); break;
    }
    if (process.pthreads) {
        if (report.threads) note_thread_waits(process, locator, *report.threads);
        if (report.goroutines) note_goroutine_waits(process, locator, *report.goroutines);
    }
    if (process.locks) {
        report.locks = locks_section(process, locator);
        report.wait_graph = wait_graph_section(process, locator, *report.locks);
    }
    if (process.crash && (options.command == Command::analyze || options.command == Command::crash)) {
        auto run = detect::run_detectors(process, options.only, options.skip);
        report.findings = std::move(run.findings);
        report.detectors = std::move(run.outcomes);
        auto died = std::ranges::find_if(report.findings, [](auto& f) {
            auto of_crash = [](const std::string& kind) { return kind.starts_with("crash."); };
            return of_crash(f.kind) || std::ranges::any_of(f.related, of_crash);
        });
        if (report.crash && died != report.findings.end()) report.crash->cause = died->title;
    }
    return report;
}

Result<report::Report> analyze(const AnalyzeOptions& options) {
    ProcessOptions open{.core_path = options.core_path,
                        .open = options.open,
                        .images = options.images,
                        .passes = passes_for(options),
                        .jobs = options.jobs,
                        .trace = options.trace,
                        .log = options.log,
                        .progress = options.progress};
    return report_on(TRY(open_process(open)), options);
}

}  // namespace incident
