#include "cli/commands.h"

#include <algorithm>
#include <array>

namespace incident::cli {

std::span<const CommandRow> commands() {
    static constexpr std::array rows{
        CommandRow{"analyze", Command::analyze, Extra::none, "CORE [EXE]", "the report: what happened, where, why",
                   judging_options},
        CommandRow{"crash", Command::crash, Extra::none, "CORE [EXE]", "only what died and why: the fast answer",
                   judging_options},
        CommandRow{"goroutines", Command::goroutines, Extra::none, "CORE [EXE]",
                   "every goroutine: id, status, what it waits for, where"},
        CommandRow{"goroutine", Command::goroutine, Extra::goroutine_id, "CORE ID [EXE]",
                   "one goroutine: frames, slots, registers, defers, panics"},
        CommandRow{"threads", Command::threads, Extra::none, "CORE [EXE]", "every thread, with its stack"},
        CommandRow{"thread", Command::thread, Extra::thread_id, "CORE TID [EXE]", "one thread: registers and frames"},
        CommandRow{"locks", Command::locks, Extra::none, "CORE [EXE]",
                   "every contended or held lock, its holders and waiters"},
        CommandRow{"heap", Command::heap, Extra::none, "CORE [EXE]",
                   "the Go heap by type; who keeps what alive; one object"},
        CommandRow{"maps", Command::maps, Extra::none, "CORE [EXE]", "mappings, and where each one's bytes come from"},
        CommandRow{"locate", Command::locate, Extra::address, "CORE ADDR [EXE]", "what is this address?"},
        CommandRow{"read", Command::read, Extra::address_and_count, "CORE ADDR [N] [EXE]",
                   "annotated words, as x/16gx"},
        CommandRow{"serve", Command::analyze, Extra::none, "CORE [EXE]",
                   "questions to one opened core, line by line on stdin: for front-ends", input_options, 0},
        CommandRow{"signature", Command::analyze, Extra::none, "CORE [EXE]",
                   "which problem this is: the signature that triage sorts by, and why",
                   report_options | finding_options, 3},
        CommandRow{"triage", std::nullopt, Extra::none, "PATH...",
                   "many cores: how many different problems, which are new, one example each", judging_options, 3},
        CommandRow{"merge", std::nullopt, Extra::none, "STORE...", "joins the stores of several triage runs",
                   output_options | runbook_option, 3},
        CommandRow{"doctor", std::nullopt, Extra::none, "",
                   "would this machine leave cores that can be read, and what to change", output_options, 3},
        CommandRow{"collect", std::nullopt, Extra::none, "PID SIGNAL TIME NAME",
                   "core_pattern's pipe handler: keeps a core, packed, with its executables", no_options, 0},
        CommandRow{"explain", std::nullopt, Extra::none, "[KIND]",
                   "what a finding kind means, its proof rule, its innocent look-alikes", no_options, 0},
    };
    return rows;
}

const CommandRow* find_command(std::string_view name) {
    auto rows = commands();
    auto row = std::ranges::find(rows, name, &CommandRow::name);
    return row == rows.end() ? nullptr : &*row;
}

}  // namespace incident::cli
