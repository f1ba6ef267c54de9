// The runbook: a TOML file of entries, each for finding kinds or signatures, with steps and links. Written by the team
// on call; `--runbook FILE` prints the entry under each finding that it fits.
//
//   [[entry]]
//   kind = "go.mutex.*"              # one pattern or several; '*' is any run of characters
//   signature = "*main.(*Ledger)*"   # optional: over the signature's text or its id
//   title = "A lock is held for ever"
//   steps = ["restart the pod", "…"]
//   links = ["https://wiki/…"]
//   owner = "payments"
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "report/renderers.h"
#include "triage/signature.h"

namespace incident::triage {

struct RunbookEntry {
    std::vector<std::string> kinds, signatures;
    report::RunbookStep step;
    unsigned line = 0;
};

class Runbook {
public:
    /// The error names file, line and what is wrong: a missing kind, an unknown key, a kind that does not exist.
    static std::expected<Runbook, std::string> load(const std::string& path);
    static std::expected<Runbook, std::string> parse(std::string_view text, std::string_view source);

    /// The entry that fits best: one that asks for the signature before one that does not, an exact kind before a
    /// pattern, the longer pattern before the shorter; null when none does.
    const RunbookEntry* find(std::string_view kind, const Signature* signature) const;
    const std::vector<RunbookEntry>& entries() const { return entries_; }

    /// The entry of each finding of the report that has one. The signature belongs to the finding that it rests on.
    report::RunbookSteps steps_for(const report::Report& report) const;

private:
    std::vector<RunbookEntry> entries_;
};

}  // namespace incident::triage
