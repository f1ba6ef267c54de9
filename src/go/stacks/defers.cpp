// Reading pending defers. Three formats of FUNCDATA_OpenCodedDeferInfo: with arguments (1.16, 1.17), one offset per
// closure (1.18–1.21), one offset of consecutive slots (1.22+). A set bit i of deferBits: defer number i, in source
// order, is pending.
#include "go/stacks/defers.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/bounded_walk.h"
#include "base/byte_reader.h"

namespace incident::go {

namespace {

constexpr std::size_t max_records = 1u << 20;  // deep recursion with a deferring loop
constexpr std::uint64_t max_open_coded = 8;    // cmd/compile …/ssagen/ssa.go, maxOpenDefers
constexpr std::size_t max_info_bytes = 4096;

struct OpenCodedSlot {
    std::uint64_t closure_offset = 0;                                ///< below varp
    std::vector<std::pair<std::uint64_t, std::uint64_t>> arguments;  ///< {offset below varp, size}
};

struct OpenCodedInfo {
    std::uint64_t bits_offset = 0;     ///< below varp
    std::vector<OpenCodedSlot> slots;  ///< by bit number
};

/// go1.17 src/runtime/panic.go, runOpenDeferFrame; go1.21 the same without arguments; go1.22 initOpenCodedDefers.
Result<OpenCodedInfo> parse_info(const Memory& memory, Address at, const Version& version) {
    ByteReader reader(TRY(memory.view_up_to(at, max_info_bytes)));
    OpenCodedInfo info;
    if (!version.at_least(18)) TRY(reader.read_uvarint());  // maximum size of arguments
    info.bits_offset = TRY(reader.read_uvarint());
    if (version.at_least(22)) {
        const std::uint64_t slots = TRY(reader.read_uvarint());
        // The slot of bit i is 8*i above the first: 8*i less below varp.
        for (std::uint64_t i = 0; i < max_open_coded && slots >= 8 * i + 8; ++i)
            info.slots.push_back({.closure_offset = slots - 8 * i, .arguments = {}});
        return info;
    }
    const std::uint64_t count = TRY(reader.read_uvarint());
    if (count > max_open_coded) return fail(ErrorKind::corrupt, fmt::format("{} open-coded defers", count), at);
    info.slots.resize(count);
    for (std::uint64_t i = count; i-- > 0;) {
        OpenCodedSlot& slot = info.slots[i];
        if (!version.at_least(18)) TRY(reader.read_uvarint());  // size of arguments
        slot.closure_offset = TRY(reader.read_uvarint());
        if (version.at_least(18)) continue;
        const std::uint64_t arguments = TRY(reader.read_uvarint());
        if (arguments > 256)
            return fail(ErrorKind::corrupt, fmt::format("open-coded defer with {} arguments", arguments), at);
        for (std::uint64_t a = 0; a < arguments; ++a) {
            const std::uint64_t offset = TRY(reader.read_uvarint());
            const std::uint64_t size = TRY(reader.read_uvarint());
            TRY(reader.read_uvarint());  // where the call wants it
            slot.arguments.emplace_back(offset, size);
        }
    }
    return info;
}

class Reader {
public:
    Reader(const Memory& memory, const Runtime& runtime, const GoStack& stack, CalleeResolver& callees, Defers& result)
        : memory_(memory), runtime_(runtime), stack_(stack), callees_(callees), result_(result) {}

    void open_coded_frames() {
        for (std::uint32_t i = 0; i < stack_.physical.size(); ++i) {
            if (auto done = open_coded(i); !done) incomplete(describe(done.error()));
        }
    }

    void records(Address head) { list(head, DeferKind::record, std::nullopt, 0); }

private:
    Result<void> open_coded(std::uint32_t index) {
        const PhysicalFrame& frame = stack_.physical[index];
        const Func* func = frame.func();
        if (func == nullptr || frame.owner != StackOwner::goroutine || func->deferreturn == 0 || func->table == nullptr)
            return {};
        auto at = func->table->funcdata(*func, FuncData::open_coded_defer_info);
        auto varp = frame.varp();
        // A frame that is not set up yet (asked for more stack in its prologue) has no defers.
        if (!at || !varp || *varp <= frame.sp) return {};
        if (!frame.after_call && frame.pc - func->entry < 32) return {};
        const OpenCodedInfo info = TRY(parse_info(memory_, *at, runtime_.version()));
        const auto bits = TRY(memory_.load<std::uint8_t>(*varp - info.bits_offset));
        for (std::size_t bit = 8; bit-- > 0;) {
            if ((bits >> bit & 1) == 0) continue;
            if (bit >= info.slots.size())
                return fail(ErrorKind::corrupt,
                            fmt::format("deferBits {:#x} of {} name a defer that it does not have", bits, func->name),
                            *varp - info.bits_offset);
            const OpenCodedSlot& slot = info.slots[bit];
            PendingDefer pending{.kind = DeferKind::open_coded};
            pending.closure = TRY(memory_.load_address(*varp - slot.closure_offset));
            for (auto [offset, size] : slot.arguments)
                pending.arguments.push_back({*varp - offset, *varp - offset + size});
            add(std::move(pending), index);
        }
        return {};
    }

    void list(Address head, DeferKind kind, std::optional<std::uint32_t> frame, int depth) {
        const auto& f = runtime_.layout()._defer;
        auto end = walk_chain(head, max_records, [&](Address at) -> std::optional<Address> {
            StructView view(memory_, at);
            auto link = view.get(f.link);
            auto fn = view.get(f.fn);
            auto sp = view.get(f.sp);
            if (!link || !fn || !sp) return std::nullopt;
            auto physical = frame ? frame : frame_at(*sp);
            // Up to 1.21 a running panic adds a record for an open-coded frame; the frame's own bits say the same.
            if (view.get(f.openDefer).value_or(0) != 0 && physical) return *link;
            if (view.get(f.rangefunc).value_or(0) != 0) {
                auto inner = view.get(f.head);
                auto first = inner ? memory_.load_address(*inner) : Result<Address>(std::unexpected(inner.error()));
                if (!first || depth > 0) return std::nullopt;
                list(*first, DeferKind::rangefunc, physical, depth + 1);
                return *link;
            }
            PendingDefer pending{.kind = kind};
            pending.closure = *fn;
            pending.record = at;
            pending.running = view.get(f.started).value_or(0) != 0;
            if (auto size = view.get(f.siz); size && *size > 0 && *size < (1 << 16)) {
                Address arguments = at + runtime_.layout()._defer.size;
                pending.arguments.push_back({arguments, arguments + static_cast<std::uint64_t>(*size)});
            }
            add(std::move(pending), physical);
            return *link;
        });
        if (end != WalkEnd::done)
            incomplete(end == WalkEnd::stopped ? "a _defer record cannot be read"
                                               : "the list of _defer records does not end");
    }

    std::optional<std::uint32_t> frame_at(Address sp) const {
        for (std::uint32_t i = 0; i < stack_.physical.size(); ++i) {
            const auto& frame = stack_.physical[i];
            if (frame.sp == sp && frame.func() != nullptr && frame.owner == StackOwner::goroutine &&
                frame.func()->deferreturn != 0)
                return i;
        }
        return std::nullopt;
    }

    void add(PendingDefer pending, std::optional<std::uint32_t> physical) {
        pending.physical = physical;
        if (physical) pending.deferred_in = stack_.physical[*physical].name();
        if (!pending.closure.is_null()) {
            auto callee = callees_.resolve(pending.closure);
            pending.entry = callee.entry;
            pending.function = callee.function;
            pending.wrapper = callee.wrapper;
        }
        result_.pending.push_back(std::move(pending));
    }

    void incomplete(std::string why) {
        result_.complete = false;
        if (result_.why.empty()) result_.why = std::move(why);
    }

    const Memory& memory_;
    const Runtime& runtime_;
    const GoStack& stack_;
    CalleeResolver& callees_;
    Defers& result_;
};

}  // namespace

std::string_view to_string(DeferKind kind) {
    switch (kind) {
        case DeferKind::open_coded: return "open-coded";
        case DeferKind::record: return "record";
        case DeferKind::rangefunc: return "rangefunc";
    }
    return "unknown";
}

Defers read_defers(const Memory& memory, const Runtime& runtime, const Goroutine& g, const GoStack& stack,
                   CalleeResolver& callees) {
    Defers result;
    Reader reader(memory, runtime, stack, callees, result);
    reader.open_coded_frames();
    reader.records(g.defers);
    // Newest frame first; within one, the order in which they were found: bits downwards, records along their links.
    std::stable_sort(result.pending.begin(), result.pending.end(), [](const PendingDefer& a, const PendingDefer& b) {
        constexpr std::uint32_t gone = ~0u;
        return a.physical.value_or(gone) < b.physical.value_or(gone);
    });
    return result;
}

}  // namespace incident::go
