// What triage knows of one core. The child process writes a `Verdict` ("incident-signature/1": the signature and what a
// person needs to recognise the case) as one line of JSON; the parent wraps it into a `Record` ("incident-triage/1":
// which file, how the child ended), one line of the store.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "report/renderers.h"
#include "report/report.h"
#include "triage/core_name.h"
#include "triage/signature.h"

namespace incident::triage {

inline constexpr std::string_view verdict_schema = "incident-signature/1";
inline constexpr std::string_view record_schema = "incident-triage/1";

struct FoundKind {
    std::string kind, severity, strength, title;
};

struct Verdict {
    std::string program;     ///< base name of the executable
    std::string executable;  ///< path as the target knew it
    std::string build_id;
    std::string go;  ///< "go1.27.3"; empty: none
    bool stripped = false;
    std::string what, where, why;
    std::string awaited;  ///< of one that was cored on request: on whom most others wait; empty: nobody
    std::string excerpt;  ///< the leading finding as the terminal report draws it
    std::vector<FoundKind> findings;
    std::vector<std::string> gaps;  ///< damage only
    Signature signature;
};

/// How the work on one core ended.
enum class Outcome : std::uint8_t {
    analysed,       ///< a verdict is there
    unusable,       ///< exit 2: no core, or not one that can be read
    out_of_time,    ///< killed at the time limit
    out_of_memory,  ///< killed at the memory limit
    died,           ///< ended by a signal of its own
    failed          ///< ended without a verdict
};
std::string_view to_string(Outcome outcome);

struct Record {
    std::string digest;  ///< of the file as it lies there, see digest.h
    std::string path;
    std::string copy_of;  ///< path of the core with the same digest that was analysed instead; empty: itself
    std::uint64_t size = 0;
    std::int64_t time = 0;  ///< seconds since 1970: from the name, else the file's modification; 0: unknown
    CoreName name;
    Outcome outcome = Outcome::failed;
    int exit = -1;       ///< the child's; -1: it was killed
    std::string reason;  ///< why there is no verdict
    double seconds = 0;  ///< the child's wall clock
    double cpu_seconds = 0;
    std::uint64_t peak_bytes = 0;  ///< the child's anonymous memory, as sampled; 0: never sampled
    std::optional<Verdict> verdict;
};

/// One line of JSON for a finished report. Exit code: the report's own.
void render_verdict(const report::Report& report, const Signature& signature, report::Severity min_severity,
                    const report::Sink& sink);
/// The same for a person: the signature, and why.
void explain_signature(const report::Report& report, const Signature& signature, const report::RenderOptions& options,
                       const report::Sink& sink);
void explain_signature_markdown(const report::Report& report, const Signature& signature, const report::Sink& sink);

/// One line, with its newline. `verdict_json`: what the child printed; empty: none.
std::string record_line(const Record& record, std::string_view verdict_json);
/// Any line of a store. The error says what is wrong with it.
std::expected<Record, std::string> parse_record(std::string_view line);
/// What a child printed.
std::expected<Verdict, std::string> parse_verdict(std::string_view json);

}  // namespace incident::triage
