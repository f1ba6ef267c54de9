// Runtime: the Go runtime found in the target: version, layout, modules and the addresses of its globals. Works the
// same for stripped binaries: moduledata by its pclntab word, version by buildinfo, globals by decoding the operands of
// functions that pclntab names, each answer checked structurally. Immutable after attach.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/core_file.h"
#include "core/memory.h"
#include "disasm/disasm.h"
#include "go/binary/layout.h"
#include "go/binary/pclntab.h"
#include "image/images.h"
#include "report/report.h"

namespace incident::go {

struct ModuleData {
    Address address;
    Pclntab pclntab;
    AddressRange text, noptrdata, data, bss, noptrbss;
    AddressRange types;  ///< rtypes, [types, etypes)
    std::optional<Address> rodata, gofunc;
    AddressRange typelinks, itablinks;  ///< ≤1.26: arrays; empty later
    AddressRange typedescs, itabs;      ///< 1.27+
    Address gcdatamask, gcbssmask;      ///< bytedata pointers
    std::string modulename;
    std::string pluginpath;        ///< of plugins; empty for the program itself
    const Image* image = nullptr;  ///< null when the executable is missing

    /// Where package variables lie, and what the linker laid out for them.
    std::array<AddressRange, 4> variables() const { return {data, bss, noptrdata, noptrbss}; }
    bool is_variable(Address a) const {
        return data.contains(a) || bss.contains(a) || noptrdata.contains(a) || noptrbss.contains(a);
    }
};

/// Package variables of the runtime: addresses in the target. Each was found by decoding the operands of functions that
/// pclntab names (2 ms, stripped or not), else by symbol, else by scanning .data and .bss for its shape, and was
/// checked against what it must look like; nullopt when not found. Others, when there are symbols:
/// Runtime::find_variable.
struct Globals {
    std::optional<Address> allgs;                ///< []*g header
    std::optional<Address> allglen;              ///< uintptr, atomic copy of len(allgs)
    std::optional<Address> allgptr;              ///< **g, atomic copy of &allgs[0]
    std::optional<Address> allm;                 ///< *m, linked by m.alllink
    std::optional<Address> allp;                 ///< []*p header
    std::optional<Address> sched;                ///< runtime.schedt
    std::optional<Address> semtable;             ///< [251]semaRoot, 64 bytes each
    std::optional<Address> mheap;                ///< runtime.mheap_
    std::optional<Address> allfin;               ///< *finblock, linked by alllink
    std::optional<Address> stackpool;            ///< [4]struct{stackpoolItem, padded to a cache line}
    std::optional<Address> stack_large;          ///< {mutex, [35]mSpanList}
    std::optional<Address> memstats;             ///< runtime.memstats
    std::optional<Address> print_backlog;        ///< [512]byte ring: what print wrote while panicking
    std::optional<Address> print_backlog_index;  ///< int
    std::optional<Address> panicking;            ///< uint32
    std::optional<Address> wait_reason_strings;  ///< [...]string
    std::uint32_t wait_reason_count = 0;         ///< sound strings there, read from the front
    std::optional<Address> build_version;        ///< string header
    std::optional<Address> sched_init_time;      ///< reserved
    std::string basis;                           ///< "symbols", "decoded", "scan", or a list of them: for evidence
};

class Runtime {
public:
    /// Fails with absent when the target has no Go in it, unsupported (and why: gccgo, TinyGo, garbled, packed by UPX,
    /// version without tables) or corrupt. Without the executable, what the core alone gives is there (version, globals
    /// by scan), and modules() may be empty.
    static Result<Runtime> attach(const CoreFile& core, const Memory& memory, const Images& images,
                                  const Disassembler& disassembler);

    const Version& version() const;
    /// Which of the structs that builds of one version choose between are in use. Where types decide, prefer asking
    /// whether a field is present.
    const LayoutVariant& variant() const;
    const RuntimeLayout& layout() const;
    const Globals& globals() const;
    std::span<const ModuleData> modules() const;
    report::GoRuntime description() const;
    const std::vector<report::Gap>& gaps() const;
    bool cgo() const;  ///< the target runs cgo (iscgo, or _cgo_ symbols)

    /// In the package variables of any module [any thread].
    bool is_variable(Address a) const;
    std::optional<Func> find_func(Address pc) const;             ///< over all modules [any thread]
    std::optional<Func> find_func(std::string_view name) const;  ///< by exact name
    /// A package variable by its symbol ("runtime.gcphase"); nullopt in stripped binaries. Loads the symbol table, and
    /// is therefore for one thread only.
    std::optional<Address> find_variable(std::string_view name) const;
    /// Name of a runtime type (*_type / rtype) at `type`: "*main.Order"; nullopt when it cannot be one. [any thread]
    std::optional<std::string> type_name(Address type) const;
    const Memory& memory() const;

private:
    struct State;
    std::shared_ptr<const State> state_;
};

}  // namespace incident::go
