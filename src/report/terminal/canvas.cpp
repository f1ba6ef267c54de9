#include "report/terminal/canvas.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "base/text.h"

namespace incident::report::terminal {

namespace {

constexpr std::size_t flush_at = 64 * 1024;
/// A space that no line breaks at. Escaped text holds no control characters, so this one is free.
constexpr char kept_space = '\x1f';

std::string_view escape_of(Ink ink) {
    switch (ink) {
        case Ink::plain: return "";
        case Ink::quiet: return "\x1b[90m";
        case Ink::strong: return "\x1b[1m";
        case Ink::label: return "\x1b[36m";
        case Ink::function: return "\x1b[1m";
        case Ink::source: return "\x1b[34m";
        case Ink::address: return "\x1b[33m";
        case Ink::type: return "\x1b[32m";
        case Ink::good: return "\x1b[1;32m";
        case Ink::warning: return "\x1b[1;33m";
        case Ink::error: return "\x1b[1;31m";
    }
    return "";
}

/// One code point off the front of sound UTF-8.
char32_t take_code_point(std::string_view& text) {
    auto lead = static_cast<unsigned char>(text[0]);
    std::size_t length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    length = std::min(length, text.size());
    char32_t point = length == 1 ? lead : lead & (0x7fu >> length);
    for (std::size_t i = 1; i < length; ++i) point = point << 6 | (static_cast<unsigned char>(text[i]) & 0x3f);
    text.remove_prefix(length);
    return point;
}

/// East Asian wide and emoji blocks take two columns, combining marks none (Unicode 15, coarse blocks).
unsigned columns_of(char32_t c) {
    if (c < 0x300) return 1;
    if (c <= 0x36f || (c >= 0x200b && c <= 0x200f) || (c >= 0xfe00 && c <= 0xfe0f) || (c >= 0x20d0 && c <= 0x20ff))
        return 0;
    if (c < 0x1100) return 1;
    constexpr std::array<std::pair<char32_t, char32_t>, 9> wide{{{0x1100, 0x115f},
                                                                 {0x2e80, 0x303e},
                                                                 {0x3041, 0xa4cf},
                                                                 {0xac00, 0xd7a3},
                                                                 {0xf900, 0xfaff},
                                                                 {0xfe30, 0xfe6f},
                                                                 {0xff00, 0xff60},
                                                                 {0x1f300, 0x1faff},
                                                                 {0x20000, 0x3fffd}}};
    for (auto [first, last] : wide)
        if (c >= first && c <= last) return 2;
    return 1;
}

/// Our own glyphs have an ASCII spelling; anything else of the target's becomes \u{…}.
std::string to_ascii(std::string_view text) {
    constexpr std::array<std::pair<char32_t, std::string_view>, 22> spelling{
        {{U'━', "="}, {U'─', "-"},  {U'│', "|"},  {U'┌', "+"},  {U'├', "+"},   {U'└', "+"}, {U'╰', "+"}, {U'╭', "+"},
         {U'·', "-"}, {U'▶', ">"},  {U'→', "->"}, {U'←', "<-"}, {U'…', "..."}, {U'×', "x"}, {U'µ', "u"}, {U'–', "-"},
         {U'—', "-"}, {U'≥', ">="}, {U'≤', "<="}, {U'“', "\""}, {U'”', "\""},  {U'’', "'"}}};
    std::string out;
    out.reserve(text.size());
    while (!text.empty()) {
        char32_t c = take_code_point(text);
        if (c < 0x80) {
            out += static_cast<char>(c);
            continue;
        }
        auto known = std::ranges::find(spelling, c, &std::pair<char32_t, std::string_view>::first);
        if (known != spelling.end())
            out += known->second;
        else
            fmt::format_to(std::back_inserter(out), "\\u{{{:x}}}", static_cast<std::uint32_t>(c));
    }
    return out;
}

bool is_plain_ascii(std::string_view text) {
    return std::ranges::all_of(text, [](char c) { return c >= 0x20 && c < 0x7f; });
}

/// The longest prefix (or suffix) of at most `columns` columns.
std::string_view take_columns(std::string_view text, unsigned columns) {
    std::string_view rest = text;
    unsigned used = 0;
    while (!rest.empty()) {
        auto before = rest;
        unsigned w = columns_of(take_code_point(rest));
        if (used + w > columns) return text.substr(0, text.size() - before.size());
        used += w;
    }
    return text;
}

}  // namespace

unsigned display_width(std::string_view text) {
    unsigned width = 0;
    while (!text.empty()) width += columns_of(take_code_point(text));
    return width;
}

void Line::append(Ink ink, std::string text, unsigned width) {
    if (text.empty()) return;
    width_ += width;
    if (!spans_.empty() && spans_.back().ink == ink)
        spans_.back().text += text;
    else
        spans_.push_back({ink, std::move(text)});
}

Line& Line::add(Ink ink, std::string_view raw) {
    if (is_plain_ascii(raw)) {
        append(ink, std::string(raw), static_cast<unsigned>(raw.size()));
        return *this;
    }
    auto text = escape_for_terminal(raw);
    if (!unicode_) text = to_ascii(text);
    auto width = display_width(text);
    append(ink, std::move(text), width);
    return *this;
}

Line& Line::add(const Line& other) {
    for (const auto& span : other.spans_) append(span.ink, span.text, 0);
    width_ += other.width_;
    return *this;
}

Line& Line::add(Address a) { return add(Ink::address, hex(a.value)); }

Line& Line::space(unsigned count) {
    append(Ink::plain, std::string(count, ' '), count);
    return *this;
}

Line& Line::to_column(unsigned column, bool apart) {
    if (width_ < column) return space(column - width_);
    return apart && width_ != 0 ? space(1) : *this;
}

Line& Line::fill_to(unsigned column, Ink ink, std::string_view glyph) {
    std::string text;
    for (unsigned w = width_; w < column; ++w) text += glyph;
    return add(ink, text);
}

Line& Line::keep() {
    for (auto& span : spans_) std::ranges::replace(span.text, ' ', kept_space);
    return *this;
}

Line& Line::dot() { return empty() ? *this : add(Ink::quiet, " · "); }

void Line::elide_end(unsigned limit) {
    if (width_ <= limit) return;
    std::string_view mark = unicode_ ? "…" : "..";
    unsigned mark_width = unicode_ ? 1 : 2, room = limit > mark_width ? limit - mark_width : 0, at = 0;
    std::vector<Span> kept;
    for (auto& span : spans_) {
        auto head = take_columns(span.text, room - at);
        at += display_width(head);
        bool cut = head.size() < span.text.size();
        if (!head.empty()) kept.push_back({span.ink, std::string(head)});
        if (cut) break;
    }
    spans_ = std::move(kept);
    width_ = at;
    append(Ink::quiet, std::string(mark), mark_width);
}

void Line::elide(unsigned limit) {
    if (width_ <= limit || limit == 0) return;
    std::string_view mark = unicode_ ? "…" : "..";
    unsigned mark_width = unicode_ ? 1 : 2;
    unsigned room = limit > mark_width ? limit - mark_width : 0;
    unsigned head = room / 2, tail = room - head, dropped_from = head, dropped_to = width_ - tail, at = 0;
    std::vector<Span> kept;
    bool marked = false;
    unsigned width = 0;
    for (const auto& span : spans_) {
        Span out{span.ink, {}};
        for (std::string_view rest = span.text; !rest.empty();) {
            auto before = rest;
            unsigned w = columns_of(take_code_point(rest));
            auto glyph = before.substr(0, before.size() - rest.size());
            if (at + w <= dropped_from || at >= dropped_to) {
                out.text += glyph;
                width += w;
            } else if (!marked) {
                marked = true;
                out.text += mark;
                width += mark_width;
            }
            at += w;
        }
        if (!out.text.empty()) kept.push_back(std::move(out));
    }
    spans_ = std::move(kept);
    width_ = width;
}

Canvas::Canvas(const RenderOptions& options, const Sink& sink) : options_(options), sink_(sink) {
    buffer_.reserve(flush_at + 4096);
}

Canvas::~Canvas() { flush(); }

void Canvas::flush() {
    if (!buffer_.empty() && alive_) alive_ = sink_(buffer_);
    buffer_.clear();
}

void Canvas::put(const Line& line) {
    const auto& spans = line.spans();
    for (std::size_t i = 0; i < spans.size(); ++i) {
        std::string_view text = spans[i].text;
        if (i + 1 == spans.size()) text = text.substr(0, text.find_last_not_of(' ') + 1);
        auto escape = options_.color ? escape_of(spans[i].ink) : std::string_view();
        buffer_ += escape;
        auto at = buffer_.size();
        buffer_ += text;
        std::replace(buffer_.begin() + static_cast<std::ptrdiff_t>(at), buffer_.end(), kept_space, ' ');
        if (!escape.empty()) buffer_ += "\x1b[0m";
    }
    buffer_ += '\n';
    if (buffer_.size() >= flush_at) flush();
}

void Canvas::print(const Line& line) {
    blank_ = false;
    put(line);
}

void Canvas::blank() {
    if (!blank_) buffer_ += '\n';
    blank_ = true;
}

namespace {

/// A stretch without a break inside, over as many spans as it takes, and the spaces in front of it.
struct Word {
    std::vector<Line::Span> pieces;
    unsigned width = 0;
    unsigned spaces = 0;
};

/// "21", "42," or "1,204)": a number, which says nothing without the word before it.
bool is_number(const Word& word) {
    std::string text;
    for (const auto& piece : word.pieces) text += piece.text;
    const auto last = text.find_last_not_of(",.;:)");
    return last != std::string::npos && text.find_first_not_of("0123456789,") > last;
}

bool ends_in_letter(const Word& word) {
    const auto& text = word.pieces.back().text;
    return std::isalpha(static_cast<unsigned char>(text.back())) != 0;
}

/// "goroutine 21", "line 7," stay together. A list ("goroutines 3, 4, 9") may break after each comma.
std::vector<Word> with_their_numbers(std::vector<Word> words) {
    std::vector<Word> out;
    for (auto& word : words) {
        if (out.empty() || word.spaces != 1 || !is_number(word) || !ends_in_letter(out.back())) {
            out.push_back(std::move(word));
            continue;
        }
        auto& before = out.back();
        before.pieces.push_back({before.pieces.back().ink, " "});
        before.pieces.insert(before.pieces.end(), word.pieces.begin(), word.pieces.end());
        before.width += 1 + word.width;
    }
    return out;
}

std::vector<Word> words_of(const Line& line) {
    std::vector<Word> words(1);
    for (const auto& span : line.spans()) {
        std::string_view rest = span.text;
        while (!rest.empty()) {
            if (rest[0] == ' ') {
                auto count = std::min(rest.find_first_not_of(' '), rest.size());
                if (words.back().width != 0) words.emplace_back();
                words.back().spaces += static_cast<unsigned>(count);
                rest.remove_prefix(count);
                continue;
            }
            auto piece = rest.substr(0, rest.find(' '));
            words.back().pieces.push_back({span.ink, std::string(piece)});
            words.back().width += display_width(piece);
            rest.remove_prefix(piece.size());
        }
    }
    if (words.back().width == 0) words.pop_back();  // spaces at the end
    return words;
}

}  // namespace

void Canvas::wrap(const Line& line, unsigned hanging, const Line* gutter) {
    if (line.width() <= width()) return print(line);
    hanging = std::min(hanging, width() * 2 / 3);
    Line out(options_.unicode);
    bool fresh = false;  // `out` holds nothing but what every further line begins with
    auto next_line = [&] {
        print(out);
        out = Line(options_.unicode);
        if (gutter != nullptr) out.add(*gutter);
        out.to_column(hanging, false);
        fresh = true;
    };
    for (const auto& word : with_their_numbers(words_of(line))) {
        bool fits = out.width() + word.spaces + word.width <= width();
        bool hopeless =
            word.width > width() - hanging && out.width() + word.spaces + 16 <= width();  // cut where it stands
        if (!fits && !hopeless && !fresh && out.width() != 0)
            next_line();
        else if (!fresh)
            out.space(word.spaces);
        fresh = false;
        for (const auto& piece : word.pieces) {
            for (std::string_view rest = piece.text; !rest.empty();) {
                auto head = take_columns(rest, width() - std::min(width(), out.width()));
                if (head.empty() && !fresh) {
                    next_line();
                    continue;
                }
                if (head.empty()) head = rest;  // not one character fits: give up on the width, not on the text
                out.append(piece.ink, std::string(head), display_width(head));
                rest.remove_prefix(head.size());
                fresh = false;
            }
        }
    }
    print(out);
}

void Canvas::row(std::string_view label, const Line& content, unsigned label_width) {
    Line out = line(Ink::label, label);
    out.to_column(label_width);
    wrap(out.add(content), label_width);
}

void Canvas::heading(std::string_view text, std::string_view note) {
    Line out = line(Ink::strong, text);
    if (!note.empty()) out.space(2).add(Ink::quiet, note);
    wrap(out, 2);
}

Table::Table(Canvas& canvas, unsigned indent, std::vector<unsigned> limits)
    : canvas_(canvas), indent_(indent), limits_(std::move(limits)), widths_(limits_.size(), 0) {}

void Table::row(std::vector<Line> cells) { rows_.push_back(std::move(cells)); }

/// Takes columns from the widest of those that have a limit, so that the others keep their place within the width.
void Table::shrink() {
    constexpr unsigned narrowest = 16;
    auto total = [&] {
        unsigned sum = indent_;
        for (std::size_t c = 0; c + 1 < widths_.size(); ++c) sum += widths_[c] == 0 ? 0 : widths_[c] + 2;
        if (fit_ && !widths_.empty()) sum += widths_.back();
        return sum;
    };
    while (total() > canvas_.width()) {
        std::size_t widest = widths_.size();
        for (std::size_t c = 0; c + 1 < widths_.size(); ++c)
            if (limits_[c] > narrowest && widths_[c] > narrowest &&
                (widest == widths_.size() || widths_[c] > widths_[widest]))
                widest = c;
        if (widest == widths_.size()) return;
        --widths_[widest];
        limits_[widest] = widths_[widest];
    }
}

void Table::flush(const Line* gutter) {
    auto& widths = widths_;
    for (auto& cells : rows_) {
        for (std::size_t c = 0; c < cells.size() && c < widths.size(); ++c) {
            if (limits_[c] != 0) cells[c].elide(limits_[c]);
            widths[c] = std::max(widths[c], cells[c].width());
        }
    }
    const bool narrowed = one_line_ || fit_;
    if (narrowed) shrink();
    for (auto& cells : rows_) {
        for (std::size_t c = 0; narrowed && c + 1 < cells.size(); ++c) cells[c].elide(widths[c]);
        Line out = canvas_.line();
        if (gutter != nullptr) out.add(*gutter);
        unsigned column = indent_, last = indent_;
        for (std::size_t c = 0; c < cells.size(); ++c) {
            if (!cells[c].empty()) {
                out.to_column(column + ((right_ >> c & 1) != 0 ? widths[c] - cells[c].width() : 0), false);
                if (one_line_ && c + 1 == cells.size() && column + cells[c].width() > canvas_.width()) {
                    Line cut = cells[c];
                    cut.elide_end(canvas_.width() - std::min(canvas_.width(), column));
                    constexpr unsigned readable = 10;  // a shorter rest says nothing
                    if (cut.width() >= readable) out.add(cut);
                    break;
                }
                out.add(cells[c]);
                last = column;
            }
            if (widths[c] != 0) column += widths[c] + 2;
        }
        canvas_.wrap(out, last, gutter);
    }
    rows_.clear();
}

}  // namespace incident::report::terminal
