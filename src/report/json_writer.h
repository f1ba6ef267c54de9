// JsonWriter: RapidJSON's streaming Writer over a Sink, with the schema's conventions: unknown text is null, addresses
// are hex strings, and a string that is not UTF-8 becomes U+FFFD with a sibling member `<name>_hex` that holds the true
// bytes. Surprising: function, file and module strings repeat by the hundred thousand, so a frame costs no allocation
// here, and the stream is a flat buffer that RapidJSON writes into without a bounds check per byte (PutReserve,
// PutUnsafe).
#pragma once

#include <rapidjson/writer.h>

#include <array>
#include <charconv>
#include <concepts>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/address.h"
#include "base/text.h"
#include "report/renderers.h"

namespace incident::report {

/// RapidJSON output stream in front of a Sink.
class SinkStream {
public:
    using Ch = char;
    explicit SinkStream(const Sink& sink) : sink_(sink), buffer_(capacity) {}

    void Put(char c) {
        if (used_ == capacity) Flush();
        buffer_[used_++] = c;
    }
    void PutUnsafe(char c) { buffer_[used_++] = c; }
    void Flush() {
        if (used_ != 0 && alive_) alive_ = sink_(std::string_view(buffer_.data(), used_));
        used_ = 0;
    }
    /// Room for `count` bytes of PutUnsafe. A longer string than the buffer grows it once.
    void reserve(std::size_t count) {
        if (buffer_.size() - used_ >= count) return;
        Flush();
        if (buffer_.size() < count) buffer_.resize(count);
    }
    void append(std::string_view text) {
        reserve(text.size());
        std::memcpy(buffer_.data() + used_, text.data(), text.size());
        used_ += text.size();
    }
    bool alive() const { return alive_; }

private:
    static constexpr std::size_t capacity = 64 * 1024;
    const Sink& sink_;
    std::vector<char> buffer_;
    std::size_t used_ = 0;
    bool alive_ = true;
};

inline void PutReserve(SinkStream& stream, std::size_t count) { stream.reserve(count); }
inline void PutUnsafe(SinkStream& stream, char c) { stream.PutUnsafe(c); }

/// What frames at one pc have in common, rendered once: 10^5 goroutines stand in a few hundred places.
class FrameTexts {
public:
    /// The text for `frame`, made by `render` when it is new.
    template <class Render>
    const std::string& get(const Frame& frame, Render render) {
        Key key{frame.pc.value, Text(frame.function), Text(frame.module), frame.line,
                static_cast<unsigned>(frame.kind) | static_cast<unsigned>(frame.trust) << 4 |
                    (frame.inlined ? 256u : 0) | (frame.runtime_internal ? 512u : 0)};
        constexpr std::size_t most = 1 << 16;
        if (texts_.size() >= most) texts_.clear();
        auto [at, fresh] = texts_.try_emplace(key);
        if (fresh) at->second = render();
        return at->second;
    }

private:
    /// Strings are told apart by where they are: views into images do not move.
    struct Text {
        explicit Text(std::string_view text) : at(text.data()), size(text.size()) {}
        const void* at;
        std::size_t size;
        bool operator==(const Text&) const = default;
    };
    struct Key {
        std::uint64_t pc;
        Text function, module;
        std::uint32_t line;
        unsigned flags;
        bool operator==(const Key&) const = default;
    };
    struct Hash {
        std::size_t operator()(const Key& key) const {
            auto mix = [](std::uint64_t x) { return (x ^ (x >> 31)) * 0x9e3779b97f4a7c15ull; };
            return mix(key.pc + mix(reinterpret_cast<std::uintptr_t>(key.function.at)) + key.flags);
        }
    };
    std::unordered_map<Key, std::string, Hash> texts_;
};

class JsonWriter {
public:
    explicit JsonWriter(const Sink& sink) : stream_(sink), writer_(stream_) {}

    bool alive() const { return stream_.alive(); }
    void finish() {
        stream_.Put('\n');
        stream_.Flush();
    }
    /// White space before the next comma: the top level and long arrays have one line per member, for grep and diff.
    void new_line() { stream_.Put('\n'); }

    void begin_object() { writer_.StartObject(); }
    void begin_object(std::string_view name) { key(name), writer_.StartObject(); }
    void end_object() { writer_.EndObject(); }
    void begin_array(std::string_view name) { key(name), writer_.StartArray(); }
    void begin_array() { writer_.StartArray(); }
    void end_array() { writer_.EndArray(); }

    void key(std::string_view name) { writer_.Key(name.data(), static_cast<rapidjson::SizeType>(name.size())); }
    void null(std::string_view name) { key(name), writer_.Null(); }

    /// Empty means empty.
    void string(std::string_view name, std::string_view value) {
        key(name);
        string_value(value);
        if (!is_plain(value) && !is_valid_utf8(value)) string(std::string(name) + "_hex", bytes_as_hex(value));
    }
    /// Empty means unknown.
    void text(std::string_view name, std::string_view value) {
        if (value.empty())
            null(name);
        else
            string(name, value);
    }
    template <std::same_as<std::optional<std::string>> T>
    void text(std::string_view name, const T& value) {
        if (value)
            string(name, *value);
        else
            null(name);
    }
    void address(std::string_view name, Address a) { key(name), hex_value(a.value); }
    template <std::same_as<std::optional<Address>> T>
    void address(std::string_view name, const T& a) {
        key(name);
        if (a)
            hex_value(a->value);
        else
            writer_.Null();
    }
    void hex(std::string_view name, std::uint64_t value) { key(name), hex_value(value); }
    void boolean(std::string_view name, bool value) { key(name), writer_.Bool(value); }
    template <std::same_as<std::optional<bool>> T>
    void boolean(std::string_view name, const T& value) {
        key(name);
        if (value)
            writer_.Bool(*value);
        else
            writer_.Null();
    }
    void number(std::string_view name, std::uint64_t value) { key(name), writer_.Uint64(value); }
    void integer(std::string_view name, std::int64_t value) { key(name), writer_.Int64(value); }
    template <class T>
    void integer(std::string_view name, const std::optional<T>& value) {
        key(name);
        if (value)
            writer_.Int64(static_cast<std::int64_t>(*value));
        else
            writer_.Null();
    }
    template <class T>
    void integers(std::string_view name, const std::vector<T>& values) {
        begin_array(name);
        for (auto v : values) writer_.Int64(static_cast<std::int64_t>(v));
        end_array();
    }
    void string_element(std::string_view value) { string_value(value); }
    void number_value(std::uint64_t value) { writer_.Uint64(value); }
    void real(std::string_view name, double value) {
        key(name);
        writer_.SetMaxDecimalPlaces(3);
        writer_.Double(value);
    }
    /// A value that is JSON already.
    void raw(std::string_view name, std::string_view value) {
        key(name);
        writer_.RawValue(value.data(), value.size(), rapidjson::kObjectType);
    }
    /// Members that were rendered before: `name`, and `text` from its value on, up to the last member's value.
    void rendered_members(std::string_view name, std::string_view text) {
        key(name);
        writer_.RawValue(text.data(), text.size(), rapidjson::kStringType);
    }
    FrameTexts& frame_texts() { return frame_texts_; }
    /// An array element has no sibling: the array gets one, with null for each sound element.
    void strings(std::string_view name, const std::vector<std::string>& values);

private:
    static bool is_plain(std::string_view s) {
        std::size_t i = 0;
        for (; i + 8 <= s.size(); i += 8) {
            std::uint64_t word;
            std::memcpy(&word, s.data() + i, 8);
            if ((word & 0x8080808080808080ull) != 0) return false;
        }
        for (; i < s.size(); ++i)
            if ((s[i] & 0x80) != 0) return false;
        return true;
    }
    static std::string bytes_as_hex(std::string_view bytes);
    void string_value(std::string_view value) {
        if (is_plain(value) || is_valid_utf8(value)) {
            writer_.String(value.data(), static_cast<rapidjson::SizeType>(value.size()));
        } else {
            auto sound = to_valid_utf8(value);
            writer_.String(sound.data(), static_cast<rapidjson::SizeType>(sound.size()));
        }
    }
    void hex_value(std::uint64_t value) {
        std::array<char, 20> text{'"', '0', 'x'};
        auto end = std::to_chars(text.data() + 3, text.data() + text.size(), value, 16).ptr;
        *end++ = '"';
        writer_.RawValue(text.data(), static_cast<std::size_t>(end - text.data()), rapidjson::kStringType);
    }

    SinkStream stream_;
    rapidjson::Writer<SinkStream> writer_;
    FrameTexts frame_texts_;
};

}  // namespace incident::report
