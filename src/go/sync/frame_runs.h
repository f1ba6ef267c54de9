// Runs through frames' code that serve every frame like theirs: see footprint.h. Bounded; not thread-safe. For go/sync
// only.
#pragma once

#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "go/sync/footprint.h"
#include "go/sync/holders.h"

namespace incident::go {

class FrameRuns {
public:
    FrameRuns(const Memory& memory, const Runtime& runtime);

    /// What a run begins with.
    struct Start {
        Address pc, sp, cfa;
        std::optional<Address> bp;
        Address g;
        AddressRange stack;
        std::vector<std::uint64_t> to_come;  ///< from sp: what a channel will write
    };
    /// What a run from here would find, if it would be one that is known.
    std::optional<Remaining> find(const Start& start);
    /// A footprint for the run that is made now; null: it is not worth the while.
    Footprint* begin(const Start& start);
    /// What it found, and from which words its addresses came.
    void end(const Remaining& result, const std::vector<Symbolic>& released, const std::vector<Symbolic>& balanced);

private:
    struct Run {
        Footprint footprint;
        bool has_bp = false;
        std::uint64_t frame = 0;  ///< bytes from sp to cfa
        std::vector<std::uint64_t> to_come{};
        Remaining result{};
        std::vector<Symbolic> released{}, balanced{};
    };
    struct AtPc {
        std::vector<std::unique_ptr<Run>> runs;
        std::size_t met = 0, served = 0;
    };
    static bool worth_while(const AtPc& at);

    const Memory& memory_;
    std::vector<AddressRange> code_;
    std::unordered_map<std::uint64_t, AtPc> by_pc_;
    std::size_t kept_ = 0;
    std::unique_ptr<Run> running_;
    AtPc* running_at_ = nullptr;
};

}  // namespace incident::go
