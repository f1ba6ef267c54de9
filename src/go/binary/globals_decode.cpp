// The runtime's variables by the operands of its functions. Which function addresses what was read in the disassembly
// of Go 1.16 to 1.27 and is the same in all of them; only field offsets move, and those the layout knows. An operand
// that does not pass the variable's structural check is passed over, so an inlined or reordered function costs an
// answer, not the truth.
#include <algorithm>
#include <array>

#include "go/binary/globals.h"

namespace incident::go {
namespace {

constexpr std::size_t longest_function = 8000;  // instructions decoded at most

struct Operand {
    Address target;
    bool lea = false;
    bool written = false;
};

enum Name : std::size_t {
    allgadd,
    mcommoninit,
    schedtrace,
    mexit,
    procresize,
    mReserveID,
    checkmcount,
    semacquire1,
    semrelease1,
    mallocinit,
    stackpoolalloc,
    stackalloc,
    stackfree,
    markroot,
    queuefinalizer,
    recordForPanic,
    printlock,
    startpanic_m,
    reason_string,
    reason_pointer_string,
    schedinit,
    gcMarkTermination,
    name_count
};

constexpr std::array<std::string_view, name_count> names = {
    "runtime.allgadd",     "runtime.mcommoninit",       "runtime.schedtrace",        "runtime.mexit",
    "runtime.procresize",  "runtime.mReserveID",        "runtime.checkmcount",       "runtime.semacquire1",
    "runtime.semrelease1", "runtime.mallocinit",        "runtime.stackpoolalloc",    "runtime.stackalloc",
    "runtime.stackfree",   "runtime.markroot",          "runtime.queuefinalizer",    "runtime.recordForPanic",
    "runtime.printlock",   "runtime.startpanic_m",      "runtime.waitReason.String", "runtime.(*waitReason).String",
    "runtime.schedinit",   "runtime.gcMarkTermination",
};

class Decoder {
public:
    Decoder(GlobalSearch& search, const Pclntab& pclntab, const Disassembler& disassembler)
        : search_(search), disassembler_(disassembler) {
        pclntab.find_by_names(names, functions_);
    }

    /// Distinct rip-relative operands of a function that lie in the module's data, in order. Decoded once.
    const std::vector<Operand>& operands(Name name) {
        auto& list = operands_[name];
        if (list) return *list;
        list.emplace();
        const auto& f = functions_[name];
        if (!f || f->end <= f->entry) return *list;
        for (const Instruction& instruction :
             disassembler_.decode_range(search_.memory, {f->entry, f->end}, longest_function))
            for (const MemoryOperand& operand : instruction.memory)
                if (operand.absolute && !operand.fs_relative && search_.in_data(*operand.absolute)) {
                    auto same = [&](const Operand& o) {
                        return o.target == *operand.absolute && o.lea == instruction.lea;
                    };
                    auto known = std::find_if(list->begin(), list->end(), same);
                    if (known == list->end())
                        list->push_back({*operand.absolute, instruction.lea, operand.written});
                    else
                        known->written |= operand.written;
                }
        return *list;
    }

    /// The first candidate that passes; `adjust` bytes before an operand is where the variable begins. When no check
    /// could be made for lack of memory, a single candidate is taken.
    template <class Check>
    void take(std::optional<Address>& out, std::initializer_list<Name> functions,
              std::initializer_list<std::int32_t> adjust, Check&& check) {
        if (out) return;
        std::vector<Address> unreadable;
        for (Name name : functions)
            for (const Operand& operand : operands(name))
                for (std::int32_t offset : adjust) {
                    if (offset < 0) continue;
                    const Address candidate = operand.target - static_cast<std::uint64_t>(offset);
                    if (!search_.in_data(candidate)) continue;
                    const Verdict verdict = check(candidate);
                    if (verdict == Verdict::yes) {
                        out = candidate;
                        search_.by_decoding = true;
                        return;
                    }
                    if (verdict == Verdict::unreadable && search_.memory.data_at(candidate, 8) != nullptr &&
                        std::find(unreadable.begin(), unreadable.end(), candidate) == unreadable.end())
                        unreadable.push_back(candidate);
                }
        if (unreadable.size() == 1) {
            out = unreadable.front();
            search_.by_decoding = true;
        }
    }

    /// Operands that all of these functions share.
    bool shared(Address target, Name other) {
        const auto& list = operands(other);
        return std::any_of(list.begin(), list.end(), [&](const Operand& o) { return o.target == target; });
    }

private:
    GlobalSearch& search_;
    const Disassembler& disassembler_;
    std::array<std::optional<Func>, name_count> functions_;
    std::array<std::optional<std::vector<Operand>>, name_count> operands_;
};

}  // namespace

void find_by_decoding(GlobalSearch& search, const Pclntab& pclntab, const Disassembler& disassembler) {
    Globals& out = search.found;
    const GlobalChecks& checks = search.checks;
    const RuntimeLayout& layout = search.layout;
    Decoder decoder(search, pclntab, disassembler);

    decoder.take(out.allgs, {allgadd}, {0, 8, 16}, [&](Address a) { return checks.allgs(a); });
    if (out.allgs) {
        const auto data = search.memory.load<std::uint64_t>(*out.allgs),
                   length = search.memory.load<std::uint64_t>(*out.allgs + 8);
        auto equals = [&](const Result<std::uint64_t>& value) {
            return [&](Address a) {
                const bool apart = a < *out.allgs || a >= *out.allgs + 24;
                auto word = search.memory.load<std::uint64_t>(a);
                return apart && word && value && *word == *value ? Verdict::yes : Verdict::no;
            };
        };
        decoder.take(out.allgptr, {allgadd}, {0}, equals(data));
        decoder.take(out.allglen, {allgadd}, {0}, equals(length));
    }
    decoder.take(out.allm, {schedtrace, mcommoninit}, {0}, [&](Address a) {
        // mcommoninit addresses other things, some of which may be an m too; schedtrace and mexit both use allm.
        return decoder.shared(a, mcommoninit) ? checks.allm(a) : Verdict::no;
    });
    decoder.take(out.allm, {mcommoninit}, {0}, [&](Address a) { return checks.allm(a); });
    decoder.take(out.allp, {procresize}, {0, 8, 16}, [&](Address a) { return checks.allp(a); });
    decoder.take(out.sched, {mReserveID, checkmcount, mcommoninit},
                 {layout.schedt.mnext.offset, layout.schedt.maxmcount.offset, layout.schedt.lock_key.offset},
                 [&](Address a) { return checks.sched(a); });
    decoder.take(out.semtable, {semacquire1}, {0},
                 [&](Address a) { return decoder.shared(a, semrelease1) ? checks.semtable(a) : Verdict::no; });
    decoder.take(out.mheap, {mallocinit, stackpoolalloc, stackalloc}, {0, layout.mheap.arenaHints.offset},
                 [&](Address a) { return checks.mheap(a); });
    decoder.take(out.allfin, {markroot}, {0},
                 [&](Address a) { return decoder.shared(a, queuefinalizer) ? checks.allfin(a) : Verdict::no; });
    decoder.take(out.stackpool, {stackpoolalloc}, {0}, [&](Address a) {
        return out.mheap && a == *out.mheap                                    ? Verdict::no
               : decoder.shared(a, stackfree) || decoder.shared(a, stackalloc) ? checks.stackpool(a)
                                                                               : Verdict::no;
    });
    decoder.take(out.stack_large, {stackalloc}, {0, 8}, [&](Address a) {
        const bool other =
            (out.mheap && a == *out.mheap) || (out.stackpool && a >= *out.stackpool && a < *out.stackpool + 256);
        return !other && decoder.shared(a, stackalloc) && decoder.shared(a + 8, stackalloc) ? checks.stack_large(a)
                                                                                            : Verdict::no;
    });
    decoder.take(out.memstats, {gcMarkTermination}, {layout.mstats.numgc.offset},
                 [&](Address a) { return checks.memstats(a) == Verdict::yes ? Verdict::yes : Verdict::no; });
    for (const Operand& operand : decoder.operands(recordForPanic)) {
        if (operand.lea && !out.print_backlog && !decoder.shared(operand.target, printlock) &&  // debuglock
            checks.print_backlog(operand.target) == Verdict::yes) {
            out.print_backlog = operand.target;
            search.by_decoding = true;
        }
        if (!operand.lea && decoder.shared(operand.target, startpanic_m)) {
            if (!out.panicking && checks.small_number(operand.target, 1 << 16) == Verdict::yes)
                out.panicking = operand.target;
        } else if (!operand.lea && operand.written && !out.print_backlog_index &&
                   checks.small_number(operand.target, 512) == Verdict::yes) {
            out.print_backlog_index = operand.target;
        }
    }
    for (Name name : {reason_string, reason_pointer_string})
        for (const Operand& operand : decoder.operands(name)) {
            constexpr std::uint32_t fewest = 20;  // go1.16 has 27
            if (out.wait_reason_strings || !operand.lea) continue;
            if (auto count = checks.count_strings(operand.target); count >= fewest)
                out.wait_reason_strings = operand.target;
        }
    decoder.take(out.build_version, {schedinit}, {0, 8}, [&](Address a) { return checks.go_string(a, "go1."); });
}

}  // namespace incident::go
