// Names and lines for one native frame.
#include "unwind/unwinder.h"

namespace incident {

std::vector<report::Frame> symbolize_native(const UnwoundFrame& unwound, const Images& images) {
    const UnwindState& state = unwound.state;
    report::Frame frame;
    frame.pc = state.registers.pc().value_or(Address{});
    frame.sp = state.registers.sp();
    frame.bp = state.registers.fp();
    frame.cfa = unwound.cfa ? unwound.cfa : state.cfa;
    frame.kind = state.kind;
    frame.trust = state.trust;
    frame.after_call = state.after_call;

    const Address lookup = state.after_call && state.kind != report::FrameKind::signal ? frame.pc - 1 : frame.pc;
    if (const auto place = images.find_module(lookup)) {
        frame.module = place->module->path;
        frame.module_offset = frame.pc.value - place->bias;
    }
    const Image* image = images.find(lookup);
    if (image == nullptr) return {frame};
    frame.module = image->path();
    frame.module_offset = frame.pc.value - image->bias();
    const auto symbol = image->symbol_at(lookup);
    if (symbol) frame.function_offset = static_cast<std::uint32_t>(frame.pc.value - symbol->address.value);
    if (state.kind == report::FrameKind::signal) {
        frame.function = "<signal handler called>";
        return {frame};
    }
    std::vector<report::Frame> out;
    auto levels = image->inline_frames_at(lookup);
    for (std::size_t i = 0; i < levels.size(); ++i) {
        report::Frame level = frame;
        level.file = levels[i].file;
        level.line = levels[i].line;
        level.inlined = i + 1 < levels.size();
        if (!levels[i].function.empty()) level.function = image->keep(std::move(levels[i].function));
        if (level.function.empty() && !level.inlined && symbol) level.function = image->keep(demangle(symbol->name));
        out.push_back(level);
    }
    if (!out.empty()) return out;
    if (symbol) frame.function = image->keep(demangle(symbol->name));
    if (const auto line = image->line_at(lookup)) {
        frame.file = line->file;
        frame.line = line->line;
    }
    return {frame};
}

}  // namespace incident
