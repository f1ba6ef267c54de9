// The `incident` command in lldb: takes the core's path from the target, asks the engine, prints what it printed.
//
// Surprises: DoExecute returning false together with SetError is what makes `lldb -b` exit non-zero. The engine's exit
// codes 1 (findings) and 3 (damaged input) are answers, not failures. lldb resolves our symbols: nothing of liblldb is
// linked.
#include <lldb/API/LLDB.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "engine.h"
#include "goroutine_threads.h"
#include "target.h"

namespace lldb {
__attribute__((visibility("default"))) bool PluginInitialize(lldb::SBDebugger debugger);
}

namespace incident_lldb {
namespace {

/// Where the engine wants its operands: `incident VERB CORE [what] [EXE] [options]`.
enum class Operand { none, optional_topic, address, address_and_count, id, thread_id };

struct Verb {
    const char* name;
    Operand operand;
    const char* help;
    const char* syntax;
};

constexpr Verb verbs[] = {
    {"analyze", Operand::none, "The report: what happened, where, why, and how to check it by hand.",
     "incident analyze [options]"},
    {"crash", Operand::none, "Only what died and why: the fast answer.", "incident crash [options]"},
    {"goroutines", Operand::none, "Every goroutine: id, status, what it waits for, where.",
     "incident goroutines [--stacks] [--group] [--all]"},
    {"goroutine", Operand::id, "One goroutine: frames, slots, registers, defers, panics.",
     "incident goroutine ID [--all]"},
    {"thread", Operand::thread_id, "One thread: registers and frames, Go and C.", "incident thread TID"},
    {"locks", Operand::none, "Every contended or held lock, its holders and waiters, the wait-for graph.",
     "incident locks [options]"},
    {"heap", Operand::none, "The heap by type, and what keeps it alive.",
     "incident heap [--retained] [--roots ADDR] [--object ADDR]"},
    {"maps", Operand::none, "The mappings, and where each one's bytes come from.", "incident maps [--summary]"},
    {"locate", Operand::address, "What is this address? A number, or a register of the selected frame ($rsp).",
     "incident locate ADDR"},
    {"read", Operand::address_and_count,
     "Annotated words, as x/16gx. ADDR may be a register of the selected frame ($rsp).", "incident read ADDR [N]"},
    {"explain", Operand::optional_topic, "What a finding kind means, its proof rule, its innocent look-alikes.",
     "incident explain KIND"},
};

bool is_option(std::string_view word) { return word.size() > 1 && word.front() == '-'; }

/// $rsp and its like, from the selected frame; everything else stays what it is.
std::string resolve(lldb::SBDebugger& debugger, const std::string& word) {
    if (word.size() < 2 || word.front() != '$') return word;
    auto frame = debugger.GetSelectedTarget().GetProcess().GetSelectedThread().GetSelectedFrame();
    auto value = frame.FindRegister(word.c_str() + 1);
    const char* text = value.IsValid() ? value.GetValue() : nullptr;
    return text != nullptr ? text : word;
}

bool fail(lldb::SBCommandReturnObject& result, const std::string& why) {
    result.SetError(("incident: " + why).c_str());
    result.SetStatus(lldb::eReturnStatusFailed);
    return false;
}

/// Prints an answer of the engine, or sets the command's error.
bool deliver(const EngineRun& run, lldb::SBCommandReturnObject& result) {
    if (const auto why = failure_of(run); !why.empty()) {
        if (!run.out.empty()) result.PutCString(run.out.c_str());
        return fail(result, why);
    }
    result.PutCString(run.out.c_str(), static_cast<int>(run.out.size()));
    if (!run.err.empty()) result.AppendWarning(run.err.c_str());
    result.SetStatus(lldb::eReturnStatusSuccessFinishResult);
    return true;
}

/// Did the user press Ctrl-C?
std::function<bool()> interruption(lldb::SBDebugger& debugger) {
    return [interpreter = debugger.GetCommandInterpreter()]() mutable { return interpreter.WasInterrupted(); };
}

/// lldb's own choice of colour, and of width where it draws on a terminal.
EngineRun ask(lldb::SBDebugger& debugger, const Target& target, std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--progress", "never", "--color", debugger.GetUseColor() ? "always" : "never"});
    const unsigned columns = isatty(STDOUT_FILENO) != 0 ? debugger.GetTerminalWidth() : 0;
    return ask_engine(target.core, target.executable, arguments, columns, interruption(debugger));
}

class VerbCommand : public lldb::SBCommandPluginInterface {
public:
    explicit VerbCommand(const Verb& verb) : verb_(verb) {}

    bool DoExecute(lldb::SBDebugger debugger, char** words, lldb::SBCommandReturnObject& result) override {
        std::vector<std::string> operands, options;
        for (; words != nullptr && *words != nullptr; ++words) {
            // An option's own value may follow it: from the first option on, all is the engine's to judge.
            (options.empty() && !is_option(*words) ? operands : options).push_back(resolve(debugger, *words));
        }
        std::size_t least = 0, most = 0;
        switch (verb_.operand) {
            case Operand::none: break;
            case Operand::optional_topic: most = 1; break;
            case Operand::address_and_count: least = 1, most = 2; break;
            case Operand::address:
            case Operand::id:
            case Operand::thread_id: least = most = 1; break;
        }
        if (operands.size() < least || operands.size() > most)
            return fail(result, std::string("usage: ") + verb_.syntax);

        std::vector<std::string> arguments{verb_.name};
        if (verb_.operand != Operand::optional_topic) {
            const auto target = selected_target(debugger, interruption(debugger));
            if (!target.failure.empty()) return fail(result, target.failure);
            arguments.insert(arguments.end(), operands.begin(), operands.end());
            arguments.insert(arguments.end(), options.begin(), options.end());
            return deliver(ask(debugger, target, std::move(arguments)), result);
        }
        arguments.insert(arguments.end(), operands.begin(), operands.end());
        arguments.insert(arguments.end(), options.begin(), options.end());
        return deliver(run_engine(arguments, 0, interruption(debugger)), result);
    }

private:
    const Verb& verb_;
};

class ThreadsCommand : public lldb::SBCommandPluginInterface {
public:
    bool DoExecute(lldb::SBDebugger debugger, char** words, lldb::SBCommandReturnObject& result) override {
        if (words == nullptr || *words == nullptr || is_option(*words)) {
            static const Verb list{"threads", Operand::none, "", "incident threads"};
            return VerbCommand(list).DoExecute(debugger, words, result);
        }
        const std::string word = *words;
        if (words[1] != nullptr && !is_option(words[1])) return fail(result, "usage: incident threads [on|off|ID]");
        std::string message;
        if (word == "off") {
            message = goroutine_threads_off(debugger);
        } else if (word == "on") {
            auto target = selected_target(debugger, interruption(debugger));
            if (!target.failure.empty()) return fail(result, target.failure);
            if (target.live)
                return fail(result,
                            "goroutines become threads of a core only: lldb could not step a live process then");
            const auto shown = goroutine_threads_on(
                debugger, [&](std::vector<std::string> a) { return ask(debugger, target, std::move(a)); });
            if (!shown.failure.empty()) return fail(result, shown.failure);
            message = shown.message;
            if (!shown.instead.empty())
                result.PutCString(shown.instead.c_str(), static_cast<int>(shown.instead.size()));
        } else {
            char* end = nullptr;
            const auto id = std::strtoull(word.c_str(), &end, 10);
            if (end == word.c_str() || *end != 0) return fail(result, "usage: incident threads [on|off|ID]");
            if (!select_goroutine_thread(debugger, id)) {
                return fail(result, "goroutine " + word +
                                        " is no thread here: it runs on a real thread, does not exist, or `incident "
                                        "threads on` is missing");
            }
            lldb::SBStream description;
            debugger.GetSelectedTarget().GetProcess().GetSelectedThread().GetStatus(description);
            result.PutCString(description.GetData());
            result.SetStatus(lldb::eReturnStatusSuccessFinishResult);
            return true;
        }
        result.PutCString((message + "\n").c_str());
        result.SetStatus(lldb::eReturnStatusSuccessFinishResult);
        return true;
    }
};

}  // namespace
}  // namespace incident_lldb

bool lldb::PluginInitialize(lldb::SBDebugger debugger) {
    using namespace incident_lldb;
    auto incident = debugger.GetCommandInterpreter().AddMultiwordCommand(
        "incident",
        "What happened to this process? Analyses the core that lldb has open, Go and C alike, with the incident engine "
        "as a child process.\n"
        "\n"
        "Begin with 'incident analyze'. A live, stopped process is written to a core first. Every subcommand takes the "
        "options of the command of the same name ('--all', '--format json', ...). 'incident threads on' shows parked "
        "goroutines as threads.\n"
        "\n"
        "Environment: INCIDENT names the executable, INCIDENT_TIMEOUT (seconds) and INCIDENT_MEMORY (MiB) limit it.");
    if (!incident.IsValid()) return false;
    for (const auto& verb : verbs) {  // lldb owns what it is given, for as long as it runs
        if (!incident.AddCommand(verb.name, new VerbCommand(verb), verb.help, verb.syntax).IsValid()) return false;
    }
    return incident
        .AddCommand("threads", new ThreadsCommand,
                    "Every thread with its stack; 'on' shows parked goroutines as lldb threads ('thread list', 'thread "
                    "select', 'bt'), 'off' "
                    "takes them away, a goroutine's ID selects its thread.",
                    "incident threads [on|off|ID]")
        .IsValid();
}
