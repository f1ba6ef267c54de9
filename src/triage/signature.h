// The signature of a core: what kind of end it was, and the few frames that say where. Two cores of one cause have the
// same signature over Go versions, stripped or not; two causes do not collapse into one because symbols are missing. It
// is made from a Report alone, and can say why each frame counted or did not.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "report/report.h"
#include "triage/rules.h"

namespace incident::triage {

struct SignatureFrame {
    std::string text;                               ///< normal name, or module@build-id+offset
    std::string module;                             ///< base name; empty: unknown
    std::uint64_t offset = 0;                       ///< in the module
    bool named = true;                              ///< has a symbol
    std::vector<std::uint64_t> other_offsets = {};  ///< in other builds, as clustering finds them
    bool operator==(const SignatureFrame&) const = default;
};

/// What became of one frame, for `incident signature`.
struct FrameChoice {
    std::string text;
    std::string use;    ///< counts, skip, library, stop, below
    std::string note;   ///< the rule's
    std::string stack;  ///< "where it died", "goroutine 19"
};

struct Signature {
    std::string id;  ///< 16 hex digits over klass, kind, message, frames
    std::string
        klass;  ///< fault, panic, fatal, abort, stack-overflow, out-of-memory, lock, leak, memory, requested, unknown
    std::string kind;  ///< the finding kind that it rests on, or crash.requested
    std::string
        message;        ///< of a death, normalised, or what exactly is wrong (report::Mark::fault); empty: none counts
    std::string shape;  ///< of what is damaged, without names (report::Mark::shape); not part of the id
    std::string program;  ///< base name of the executable up to its first dot; not part of the id
    bool ordered = true;  ///< frames are a stack; false: a set of places
    std::vector<SignatureFrame> frames;
    std::vector<std::string> context;  ///< where the process's own goroutines and threads wait: a set
    std::string text;                  ///< one line: "crash.panic | main.(*account).ownerName | main.audit"
    std::vector<std::string> notes;    ///< why this class, this kind, these frames
    std::vector<FrameChoice> choices;
};

/// Frames and places that count at most.
inline constexpr std::size_t most_signature_frames = 6;
inline constexpr std::size_t most_signature_places = 8;

Signature sign(const report::Report& report, const Rules& rules = built_in_rules());

/// The class of a finding kind: "lock", "leak", "memory", or the crash kinds' own.
std::string_view class_of(std::string_view kind);

}  // namespace incident::triage
