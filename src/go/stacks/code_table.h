// CodeTable: everything about a pc that does not depend on the stack it was found on: function, sp delta, logical
// frames with names as the runtime prints them, module. 10^5 stacks share a few thousand pcs, so each is decoded once.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "core/core_file.h"
#include "go/binary/runtime.h"

namespace incident::go {

/// What runtime.showframe decides about one logical frame, as far as the pc alone tells.
enum class Show : std::uint8_t { user, runtime_internal, panic /* shown unless it is the first */ };

struct LogicalCode {
    std::string_view function;  ///< "main.F[...]", "panic"
    std::string_view raw_name;  ///< as pclntab has it: "main.F[go.shape.int]", "runtime.gopanic"
    SourcePosition position;
    bool inlined = false;
    bool wrapper = false;
    Show show = Show::user;
};

struct CodePoint {
    Address pc;
    bool after_call = true;                ///< lines were looked up at pc-1
    std::optional<Func> func;              ///< nullopt: no Go function
    std::optional<std::int32_t> sp_delta;  ///< bytes from sp to the return address
    std::vector<LogicalCode> logical;      ///< inlined ones first
    std::string_view module;
    std::uint64_t module_offset = 0;

    bool is(SpecialFunc special) const { return func && func->special == special; }
};

class CodeTable {
public:
    CodeTable(const CoreFile& core, const Runtime& runtime);
    ~CodeTable();
    CodeTable(const CodeTable&) = delete;
    CodeTable& operator=(const CodeTable&) = delete;

    /// Never null; lives as long as the table. [any thread]
    const CodePoint* at(Address pc, bool after_call);
    /// A name as the runtime prints it: generics' type arguments become [...], gopanic becomes panic. Lives as long as
    /// the table, or as long as `name` when nothing changes. [any thread]
    std::string_view printed_name(std::string_view name);
    const Runtime& runtime() const;

private:
    struct State;
    std::unique_ptr<State> state_;
};

/// "main.Map[go.shape.int,go.shape.string]" → "main.Map[...]", by the runtime's own rule; `name` when there is nothing
/// to cut.
std::string elide_type_arguments(std::string_view name);

/// Would a traceback without GOTRACEBACK=system print a frame of this function? (runtime/traceback.go, showfuncinfo.)
bool shown_by_runtime(std::string_view raw_name, const Version& version);

}  // namespace incident::go
