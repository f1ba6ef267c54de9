#include "unwind/unwinder.h"

namespace incident {
namespace {

constexpr unsigned deepest = 8;  ///< callers asked in turn for one value

Address lookup_pc(const UnwindState& state) {
    const Address pc = state.registers.pc().value_or(Address{});
    return state.after_call ? pc - 1 : pc;
}

EntryValue entry_values(const Unwound& stack, std::size_t index, const Images& images, const Memory& memory,
                        unsigned depth) {
    if (depth >= deepest || index + 1 >= stack.frames.size()) return {};
    return [&stack, index, &images, &memory, depth](int dwarf_register) -> std::optional<std::uint64_t> {
        const UnwoundFrame& caller = stack.frames[index + 1];
        // Only a frame that the compiler's rules found has registers worth evaluating.
        if (!caller.state.after_call || caller.state.trust != report::Trust::cfi) return std::nullopt;
        const Address back = *caller.state.registers.pc(), pc = lookup_pc(stack.frames[index].state);
        const Image *image = images.find(pc), *caller_image = images.find(back - 1);
        if (image == nullptr || caller_image == nullptr) return std::nullopt;
        const auto callee = image->function_at(pc);
        if (!callee) return std::nullopt;
        return caller_image->call_site_value(back, dwarf_register, *image, *callee, caller.state.registers, caller.cfa,
                                             memory, entry_values(stack, index + 1, images, memory, depth + 1));
    };
}

}  // namespace

std::vector<Variable> variables_of(const Unwound& stack, std::size_t index, const Images& images,
                                   const Memory& memory) {
    if (index >= stack.frames.size()) return {};
    const UnwoundFrame& frame = stack.frames[index];
    if (frame.state.kind == report::FrameKind::signal) return {};
    const Address pc = lookup_pc(frame.state);
    const Image* image = images.find(pc);
    if (image == nullptr) return {};
    return image->variables_at(pc, frame.state.registers, frame.cfa, memory,
                               entry_values(stack, index, images, memory, 0));
}

}  // namespace incident
