// The profile format of pprof, profile.proto of github.com/google/pprof: a handful of messages, written by hand.
// Surprising: a profile has stacks and a heap by type has none; each type is a one-frame stack below "live" or
// "garbage", so that -top lists types and -focus=live works.
#include <fmt/format.h>
#include <zlib.h>

#include <string>
#include <unordered_map>

#include "go/heap/heap_types.h"
#include "heap_section.h"

namespace incident {

namespace {

/// Protobuf wire format: varints and length-delimited fields are all that profiles need.
class Message {
public:
    void number(unsigned field, std::uint64_t value) {
        varint(field << 3);
        varint(value);
    }
    void bytes(unsigned field, std::string_view content) {
        varint(field << 3 | 2);
        varint(content.size());
        text_.append(content);
    }
    void packed(unsigned field, std::initializer_list<std::uint64_t> values) {
        Message inner;
        for (const std::uint64_t value : values) inner.varint(value);
        bytes(field, inner.text_);
    }
    const std::string& text() const { return text_; }

private:
    void varint(std::uint64_t value) {
        for (; value >= 0x80; value >>= 7) text_ += static_cast<char>(value | 0x80);
        text_ += static_cast<char>(value);
    }
    std::string text_;
};

class Profile {
public:
    Profile() { string(""); }
    std::uint64_t string(const std::string& text) {
        auto [place, fresh] = strings_.try_emplace(text, strings_.size());
        if (fresh) profile_.bytes(6, text);
        return place->second;
    }
    void value_type(unsigned field, const std::string& type, const std::string& unit) {
        Message message;
        message.number(1, string(type));
        message.number(2, string(unit));
        profile_.bytes(field, message.text());
    }
    std::uint64_t location(const std::string& name) {
        auto [place, fresh] = locations_.try_emplace(name, locations_.size() + 1);
        if (fresh) {
            Message function, line, location;
            function.number(1, place->second);
            function.number(2, string(name));
            profile_.bytes(5, function.text());
            line.number(1, place->second);
            location.number(1, place->second);
            location.bytes(4, line.text());
            profile_.bytes(4, location.text());
        }
        return place->second;
    }
    void sample(std::initializer_list<std::uint64_t> locations, std::uint64_t objects, std::uint64_t bytes) {
        Message message;
        message.packed(1, locations);
        message.packed(2, {objects, bytes});
        profile_.bytes(2, message.text());
    }
    void number(unsigned field, std::uint64_t value) { profile_.number(field, value); }
    const std::string& text() const { return profile_.text(); }

private:
    Message profile_;
    std::unordered_map<std::string, std::uint64_t> strings_, locations_;
};

}  // namespace

Result<void> write_pprof(const go::HeapTypes& types, const std::string& path) {
    Profile profile;
    profile.value_type(1, "inuse_objects", "count");
    profile.value_type(1, "inuse_space", "bytes");
    const std::uint64_t live = profile.location("live"),
                        garbage = profile.location(reaches_all(types.graph()) ? "garbage" : "not reached");
    for (const go::TypeCount& row : types.counts()) {
        const std::uint64_t type = profile.location(types.name_of_key(row.key));
        if (row.live_objects != 0) profile.sample({type, live}, row.live_objects, row.live_bytes);
        if (row.objects > row.live_objects)
            profile.sample({type, garbage}, row.objects - row.live_objects, row.bytes - row.live_bytes);
    }
    profile.value_type(11, "space", "bytes");
    profile.number(12, 1);
    profile.number(14, profile.string("inuse_space"));
    gzFile file = gzopen(path.c_str(), "wb");
    if (file == nullptr) return fail(ErrorKind::io, fmt::format("{} cannot be written", path));
    const bool written = gzwrite(file, profile.text().data(), static_cast<unsigned>(profile.text().size())) ==
                         static_cast<int>(profile.text().size());
    if (gzclose(file) != Z_OK || !written) return fail(ErrorKind::io, fmt::format("{} was not written whole", path));
    return {};
}

}  // namespace incident
