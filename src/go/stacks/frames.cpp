// Logical frames from physical ones, by the rules of runtime.Stack's text: which frames are shown, which are the
// runtime's own business, which wrappers are left out (src/runtime/traceback.go: traceback2, showframe,
// elideWrapperCalling).
#include <algorithm>

#include "go/stacks/walk.h"

namespace incident::go {

namespace {

report::Frame frame_of(const PhysicalFrame& physical) {
    report::Frame frame;
    frame.pc = physical.pc;
    frame.sp = physical.sp;
    if (!physical.bp.is_null()) frame.bp = physical.bp;
    if (!physical.cfa.is_null()) frame.cfa = physical.cfa;
    frame.kind = physical.kind;
    frame.trust = physical.trust;
    frame.after_call = physical.after_call;
    return frame;
}

bool is_panic(const LogicalCode& logical) {
    // A wrapper that called one of these, instead of what it wraps, is shown.
    return logical.raw_name == "runtime.gopanic" || logical.raw_name == "runtime.sigpanic" ||
           logical.raw_name == "runtime.panicwrap";
}

}  // namespace

void fill_frames(GoStack& stack, const StackOptions& options, const Images* images) {
    std::size_t count = 0;
    for (const auto& physical : stack.physical) count += physical.func() != nullptr ? physical.code->logical.size() : 1;
    stack.frames.reserve(count);
    stack.frame_of.reserve(count);
    std::size_t shown = 0;
    bool callee_is_panic = false;
    for (std::uint32_t index = 0; index < stack.physical.size(); ++index) {
        const PhysicalFrame& physical = stack.physical[index];
        if (physical.func() == nullptr || physical.kind == report::FrameKind::signal) {
            callee_is_panic = false;
            std::vector<report::Frame> native;
            if (images != nullptr && physical.native < stack.native.size())
                native = symbolize_native(stack.native[physical.native], *images);
            if (native.empty()) {
                native.push_back(frame_of(physical));
                if (physical.code != nullptr) {
                    native.back().module = physical.code->module;
                    native.back().module_offset = physical.code->module_offset;
                }
            }
            if (physical.kind == report::FrameKind::signal) {
                native.back().function = "<signal handler called>";
                native.back().runtime_internal = true;
            }
            for (auto& frame : native) {
                stack.frames.push_back(frame);
                stack.frame_of.push_back(index);
            }
            continue;
        }
        const CodePoint& code = *physical.code;
        for (const auto& logical : code.logical) {
            const bool elided = logical.wrapper && !callee_is_panic;
            callee_is_panic = is_panic(logical);
            if (elided && options.elide) continue;
            report::Frame frame = frame_of(physical);
            frame.function = options.elide ? logical.function : logical.raw_name;
            frame.file = logical.position.file;
            frame.line = static_cast<std::uint32_t>(std::max(logical.position.line, 0));
            frame.module = code.module;
            frame.module_offset = code.module_offset;
            frame.function_offset =
                static_cast<std::uint32_t>(std::max<std::int64_t>(physical.pc - code.func->entry, 0));
            frame.inlined = logical.inlined;
            frame.runtime_internal =
                logical.show == Show::runtime_internal || (logical.show == Show::panic && shown == 0);
            if (!frame.runtime_internal) ++shown;
            stack.frames.push_back(frame);
            stack.frame_of.push_back(index);
        }
    }
    if (stack.elided != 0) {
        const auto after = std::ranges::lower_bound(stack.frame_of, stack.elided_at);
        if (after != stack.frame_of.end())
            stack.frames[static_cast<std::size_t>(after - stack.frame_of.begin())].left_out =
                static_cast<std::uint32_t>(std::min<std::size_t>(stack.elided, 0xffffffff));
    }
    // "By default, omits runtime frames. If that means we print nothing at all, repeat forcing all frames printed."
    if (shown == 0) {
        for (auto& frame : stack.frames) frame.runtime_internal = false;
    }
}

}  // namespace incident::go
