// truth.txt of a probe: what the program itself said just before its core was taken. corpora/README.md describes the
// lines.
#pragma once

#include <cstdint>
#include <fstream>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace incident::go::testing {

struct TruthFrame {
    std::string function, file;
    std::uint32_t line = 0;
    bool inlined = false;
    bool operator==(const TruthFrame&) const = default;
};

struct TruthGoroutine {
    std::int64_t id = 0;
    std::string state;  ///< "chan receive"; minutes and "locked to thread" are cut off
    bool locked = false;
    std::vector<TruthFrame> frames;
    std::optional<std::size_t> elided_at;  ///< frames are left out before this index
    std::optional<std::size_t> elided;     ///< how many, where the runtime says
    std::optional<TruthFrame> created;
    std::optional<std::int64_t> created_in;
};

/// "goroutine id=… name=… [pending=…] want=… object=…"
struct TruthNote {
    std::int64_t id = 0;
    std::string name, want, object, in;
    std::optional<int> pending;
};

struct Truth {
    std::vector<TruthGoroutine> goroutines;  ///< in the order of the text
    std::vector<TruthNote> notes;
    std::string died_with;  ///< stderr block
};

inline std::string field(const std::string& line, const std::string& name) {
    auto at = line.find(" " + name + "=");
    if (at == std::string::npos) return {};
    at += name.size() + 2;
    if (line[at] == '"') return line.substr(at + 1, line.find("\" ", at + 1) - at - 1);
    return line.substr(at, line.find(' ', at) - at);
}

/// "\tprobe/probe.go:60 +0x33"
inline void parse_place(const std::string& line, TruthFrame& frame) {
    auto end = line.find(" +0x");
    auto place = line.substr(1, end == std::string::npos ? end : end - 1);
    auto colon = place.rfind(':');
    frame.file = place.substr(0, colon);
    frame.line = static_cast<std::uint32_t>(std::stoul(place.substr(colon + 1)));
}

inline void parse_stack_line(const std::string& line, Truth& truth, TruthFrame*& open) {
    if (line.starts_with("goroutine ")) {
        TruthGoroutine& g = truth.goroutines.emplace_back();
        g.id = std::stoll(line.substr(10));
        auto begin = line.find('['), end = line.rfind(']');
        std::string state = line.substr(begin + 1, end - begin - 1);
        g.locked = state.find(", locked to thread") != std::string::npos;
        g.state = state.substr(0, state.find(", "));
        open = nullptr;
        return;
    }
    if (truth.goroutines.empty() || line.empty()) return;
    TruthGoroutine& g = truth.goroutines.back();
    if (line[0] == '\t') {
        if (open != nullptr) parse_place(line, *open);
    } else if (line.starts_with("created by ")) {
        std::string rest = line.substr(11);
        if (auto in = rest.find(" in goroutine "); in != std::string::npos) {
            g.created_in = std::stoll(rest.substr(in + 14));
            rest.resize(in);
        }
        g.created.emplace().function = rest;
        open = &*g.created;
    } else if (line.starts_with("...")) {
        g.elided_at = g.frames.size();
        if (line.find("additional") == std::string::npos) g.elided = std::stoul(line.substr(3));
    } else {
        TruthFrame& frame = g.frames.emplace_back();
        auto paren = line.rfind('(');
        frame.function = line.substr(0, paren);
        frame.inlined = line.substr(paren) == "(...)";
        open = &frame;
    }
}

inline Truth read_truth(const std::string& path) {
    Truth truth;
    std::ifstream in(path);
    enum { notes, stacks, died } block = notes;
    TruthFrame* open = nullptr;
    for (std::string line; std::getline(in, line);) {
        if (line.starts_with("stacks-begin")) {
            block = stacks;
        } else if (line.starts_with("stacks-end")) {
            block = notes;
        } else if (line.starts_with("stderr-begin")) {
            block = died;
        } else if (block == stacks) {
            parse_stack_line(line, truth, open);
        } else if (block == died) {
            truth.died_with += line + '\n';
        } else if (line.starts_with("goroutine id=")) {
            TruthNote note{.id = std::stoll(field(line, "id")),
                           .name = field(line, "name"),
                           .want = field(line, "want"),
                           .object = field(line, "object"),
                           .in = field(line, "in"),
                           .pending = std::nullopt};
            if (auto pending = field(line, "pending"); !pending.empty()) note.pending = std::stoi(pending);
            truth.notes.push_back(std::move(note));
        }
    }
    return truth;
}

}  // namespace incident::go::testing
