// Canvas: styled, width-aware lines for the terminal report. Every string that enters a Line is escaped here (strings
// from a core are hostile) and, when the locale is not UTF-8, spelled in ASCII; so no view can forget either. Colours
// carry nothing alone: what they say is also said by words or by position.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "report/renderers.h"

namespace incident::report::terminal {

/// What a piece of text is, not how it looks.
enum class Ink : std::uint8_t {
    plain,
    quiet,     ///< furniture: rules, connectors, "by pclntab"
    strong,    ///< what the eye should land on
    label,     ///< the word at the left of a row
    function,  ///< a function of the target
    source,    ///< file:line
    address,
    type,
    good,
    warning,
    error,
};

/// Columns that `text` (sound UTF-8) takes in a terminal.
unsigned display_width(std::string_view text);

/// A line under construction, or a cell of a table.
class Line {
public:
    explicit Line(bool unicode = true) : unicode_(unicode) {}

    Line& add(std::string_view raw) { return add(Ink::plain, raw); }
    Line& add(Ink ink, std::string_view raw);
    Line& add(const Line& other);
    Line& add(Address a);
    Line& space(unsigned count = 1);
    /// Pads with spaces up to `column`; at least one when the line is longer already and `apart`.
    Line& to_column(unsigned column, bool apart = true);
    /// `glyph` repeated up to `column`.
    Line& fill_to(unsigned column, Ink ink, std::string_view glyph);
    /// " · " between parts; nothing in front of the first.
    Line& dot();
    /// Forbids line breaks inside what was added so far.
    Line& keep();

    unsigned width() const { return width_; }
    bool empty() const { return width_ == 0; }
    bool unicode() const { return unicode_; }
    /// Shortens to `limit` columns: the middle becomes an ellipsis, so that both package and method stay visible.
    void elide(unsigned limit);
    /// Shortens to `limit` columns at the end.
    void elide_end(unsigned limit);

    struct Span {
        Ink ink;
        std::string text;
    };
    const std::vector<Span>& spans() const { return spans_; }

private:
    friend class Canvas;
    void append(Ink ink, std::string text, unsigned width);

    std::vector<Span> spans_;
    unsigned width_ = 0;
    bool unicode_;
};

class Canvas {
public:
    Canvas(const RenderOptions& options, const Sink& sink);
    ~Canvas();
    Canvas(const Canvas&) = delete;
    Canvas& operator=(const Canvas&) = delete;

    const RenderOptions& options() const { return options_; }
    unsigned width() const { return options_.width; }
    bool alive() const { return alive_; }

    Line line() const { return Line(options_.unicode); }
    Line line(std::string_view raw) const { return line().add(raw); }
    Line line(Ink ink, std::string_view raw) const { return line().add(ink, raw); }

    void print(const Line& line);
    /// Breaks at spaces, but not between a word and its number, to keep within the width; further lines start at column
    /// `hanging`, under the gutter if one is given.
    void wrap(const Line& line, unsigned hanging, const Line* gutter = nullptr);
    /// One empty line; two in a row become one, none at the top.
    void blank();
    /// "lock      " + content, wrapped under the content. An empty label continues the block above.
    void row(std::string_view label, const Line& content, unsigned label_width = 10);
    /// A heading in its own line.
    void heading(std::string_view text, std::string_view note = {});
    void flush();

private:
    void put(const Line& line);

    const RenderOptions& options_;
    const Sink& sink_;
    std::string buffer_;
    bool alive_ = true;
    bool blank_ = true;
};

/// Columns sized to their content within limits. The last column wraps under itself.
class Table {
public:
    /// `limits`: widest each column may get (0 = no limit); a cell beyond it is elided in the middle.
    Table(Canvas& canvas, unsigned indent, std::vector<unsigned> limits);
    void row(std::vector<Line> cells);
    /// Prints and empties. A column that is empty in every row takes no room.
    void flush(const Line* gutter = nullptr);
    bool empty() const { return rows_.empty(); }
    /// Numbers read by their last digit.
    Table& right(std::size_t column) { return right_ |= std::size_t{1} << column, *this; }
    /// The last column is cut at the width instead of wrapped: lists that people grep.
    Table& one_line() { return one_line_ = true, *this; }

    /// Columns with a limit give way until the last one fits beside them.
    Table& fit() { return fit_ = true, *this; }

private:
    void shrink();

    Canvas& canvas_;
    unsigned indent_;
    std::vector<unsigned> limits_;
    std::vector<unsigned> widths_;  ///< only ever grow, so that a long table flushed in pieces stays aligned
    std::size_t right_ = 0;         ///< bit per column
    bool one_line_ = false, fit_ = false;
    std::vector<std::vector<Line>> rows_;
};

}  // namespace incident::report::terminal
