// HTML: the terminal's own output, translated piece by piece. The terminal renderer has escaped every control character
// of hostile strings already, so the only escape sequences in the stream are the canvas's colours; what is left to
// escape here is HTML's.
#include "report/html.h"

#include <string>

#include "report/terminal/terminal.h"

namespace incident::report {

namespace {

// A notebook puts the whole page into its own: what concerns html and body holds only where the report is the page.
constexpr std::string_view head = R"(<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>incident report</title><style>
:root:has(>body>pre.incident){color-scheme:light dark;background:#fff}body:has(>pre.incident){margin:0}pre.incident{margin:0}
.incident{font:13px/1.4 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;padding:1em;overflow-x:auto;
color:#1f2328;background:#fff}
.incident .s90{color:#6e7781}.incident .s1{font-weight:600}.incident .s36{color:#0a7285}.incident .s34{color:#0550ae}
.incident .s33{color:#7d4e00}.incident .s32{color:#116329}.incident .s1-32{color:#116329;font-weight:600}
.incident .s1-33{color:#7d4e00;font-weight:600}.incident .s1-31{color:#b3121d;font-weight:600}
@media(prefers-color-scheme:dark){:root:has(>body>pre.incident){background:#0d1117}.incident{color:#e6edf3;background:#0d1117}.incident .s90{color:#8b949e}
.incident .s36{color:#56d4dd}.incident .s34{color:#79c0ff}.incident .s33,.incident .s1-33{color:#e3b341}
.incident .s32,.incident .s1-32{color:#56d364}.incident .s1-31{color:#ff7b72}}
</style></head><body><pre class="incident">)";
constexpr std::string_view foot = "</pre></body></html>\n";

/// Translates pieces, which may end in the middle of an escape sequence.
class Translator {
public:
    explicit Translator(const Sink& sink) : sink_(sink) {}

    bool take(std::string_view piece) {
        out_.clear();
        for (char c : piece) take(c);
        return sink_(out_);
    }
    bool close() {
        if (!span_) return true;
        span_ = false;
        return sink_("</span>");
    }

private:
    void take(char c) {
        if (in_escape_) return escape(c);
        switch (c) {
            case '\x1b': in_escape_ = true; break;
            case '&': out_ += "&amp;"; break;
            case '<': out_ += "&lt;"; break;
            case '>': out_ += "&gt;"; break;
            default: out_ += c;
        }
    }
    /// Inside "\x1b[1;32m": digits and ';' are kept, 'm' ends it.
    void escape(char c) {
        if (c == '[') return;
        if ((c >= '0' && c <= '9') || c == ';') {
            code_ += c == ';' ? '-' : c;
            return;
        }
        in_escape_ = false;
        if (span_) out_ += "</span>";
        span_ = c == 'm' && code_ != "0" && !code_.empty();
        if (span_) out_ += "<span class=\"s" + code_ + "\">";
        code_.clear();
    }

    const Sink& sink_;
    std::string out_, code_;
    bool in_escape_ = false;
    bool span_ = false;
};

}  // namespace

void render_html(const Report& report, const RenderOptions& options, const Sink& sink) {
    RenderOptions page = options;
    page.color = true;
    page.unicode = true;
    if (!sink(head)) return;
    Translator translator(sink);
    render_terminal(report, page, [&](std::string_view piece) { return translator.take(piece); });
    if (translator.close()) sink(foot);
}

}  // namespace incident::report
