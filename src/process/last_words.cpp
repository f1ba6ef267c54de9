#include "process/last_words.h"

#include "base/system_libraries.h"

namespace incident {

namespace {

constexpr std::uint64_t longest_message = 64 * 1024;

std::optional<std::string> go_string_at(const Memory& memory, Address data, std::uint64_t length) {
    if (length == 0 || length > longest_message) return std::nullopt;
    auto bytes = memory.view(data, length);
    if (!bytes) return std::nullopt;
    return std::string(reinterpret_cast<const char*>(bytes->data()), bytes->size());
}

}  // namespace

// throw(s) does systemstack(func() { print("fatal error: ", s) }): the closure lies in throw's frame and holds
// {throw.func1, s.ptr, s.len}, in every Go from 1.16 to 1.27 (src/runtime/panic.go), optimised or not. The argument's
// own spill slot is not reliable: since 1.17 it is dead once the closure is built.
std::optional<std::string> fatal_text(const Memory& memory, const go::Runtime& runtime,
                                      const go::PhysicalFrame& frame) {
    auto closure_code = runtime.find_func(std::string(frame.name()) + ".func1");
    constexpr std::uint64_t largest_frame = 4096;
    if (closure_code && frame.cfa > frame.sp && frame.cfa - frame.sp <= static_cast<std::int64_t>(largest_frame)) {
        for (Address at = frame.sp; at + 24 <= frame.cfa; at += 8) {
            auto code = memory.load_address(at);
            if (!code || *code != closure_code->entry) continue;
            // 1.26's fatal captures the running panic before the string; a pointer is no length, so only one of the two
            // can fit.
            for (std::uint64_t captured : {8, 16}) {
                auto data = memory.load_address(at + captured);
                auto length = memory.load<std::uint64_t>(at + captured + 8);
                if (!data || !length) continue;
                if (auto text = go_string_at(memory, *data, *length)) return text;
            }
        }
    }
    // 1.16's arguments are on the stack, above the return address.
    if (!runtime.version().at_least(17)) {
        auto data = memory.load_address(frame.cfa);
        auto length = memory.load<std::uint64_t>(frame.cfa + 8);
        if (data && length) return go_string_at(memory, *data, *length);
    }
    return std::nullopt;
}

// glibc assert/assert.c, stdlib/abort.c: `struct abort_msg_s { unsigned int size; char msg[]; } *__abort_msg`, exported
// as GLIBC_PRIVATE, so that a stripped libc still names it.
std::optional<std::string> abort_message(const Memory& memory, const Images& images) {
    for (const Image& image : images.all()) {
        if (!holds_libc(image.path()) && &image != images.executable()) continue;
        auto symbol = image.find_symbol("__abort_msg");
        if (!symbol) continue;
        auto message = memory.load_address(symbol->address);
        if (!message || message->is_null()) return std::nullopt;
        auto size = memory.load<std::uint32_t>(*message);
        if (!size || *size > longest_message) return std::nullopt;
        auto text = memory.view_cstring(*message + 4, longest_message);
        if (!text) return std::nullopt;
        while (text->ends_with('\n')) text->remove_suffix(1);
        return std::string(*text);
    }
    return std::nullopt;
}

}  // namespace incident
