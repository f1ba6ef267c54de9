// How the terminal breaks lines and fits tables.
#include "report/terminal/canvas.h"

#include <gtest/gtest.h>

#include "report/terminal/parts.h"

namespace incident::report::terminal {
namespace {

template <class Print>
std::string drawn(unsigned width, Print print) {
    std::string out;
    RenderOptions options;
    options.width = width;
    const Sink sink = [&](std::string_view piece) { return out += piece, true; };
    {
        Canvas canvas(options, sink);
        print(canvas);
    }
    return out;
}

std::string wrapped(unsigned width, std::string_view text) {
    return drawn(width, [&](Canvas& canvas) { canvas.wrap(canvas.line(text), 2); });
}

TEST(CanvasTest, ANumberStaysWithItsWord) {
    EXPECT_EQ(wrapped(40, "main.audit (probe.go:1041), in goroutine 21"),
              "main.audit (probe.go:1041), in\n  goroutine 21\n");
    EXPECT_EQ(wrapped(40, "it was waited for by thread 7 at the line 1,204)"),
              "it was waited for by thread 7 at the\n  line 1,204)\n");
}

/// Spans are ink, no words.
TEST(CanvasTest, ANumberInAnotherInkToo) {
    EXPECT_EQ(drawn(40,
                    [](Canvas& canvas) {
                        canvas.wrap(
                            canvas.line("main.audit (probe.go:1041), in goroutine").space().add(Ink::strong, "21"), 2);
                    }),
              "main.audit (probe.go:1041), in\n  goroutine 21\n");
}

/// Else a list of a thousand goroutines would be one word.
TEST(CanvasTest, AListBreaksAfterEachNumber) {
    EXPECT_EQ(wrapped(40, "goroutines 10000, 10001, 10002, 10003, 10004, 10005"),
              "goroutines 10000, 10001, 10002, 10003,\n  10004, 10005\n");
    EXPECT_EQ(wrapped(40, "0123456789 0123456789 0123456789 0123456789"),
              "0123456789 0123456789 0123456789\n  0123456789\n");
}

TEST(CanvasTest, ATableThatFitsElidesWhatMayGiveWay) {
    const auto shown = [](bool fit) {
        return drawn(60, [fit](Canvas& canvas) {
            Table table(canvas, 2, {0, 40, 0});
            if (fit) table.fit();
            table.row({canvas.line("goroutine 1"), canvas.line("main.(*Ledger).ApplyToEveryAccount"),
                       canvas.line("ledger_apply.go:1041")});
            table.flush();
        });
    };
    EXPECT_EQ(shown(true), "  goroutine 1  main.(*Ledg…veryAccount  ledger_apply.go:1041\n");
    EXPECT_EQ(shown(false),
              "  goroutine 1  main.(*Ledger).ApplyToEveryAccount\n"
              "                                        ledger_apply.go:1041\n")
        << "the twin: what this mends";
}

TEST(CanvasTest, StepsOfARunbookStandUnderTheirText) {
    const RunbookStep entry{"Locked for good", "payments", {"restart the pod and look at what it printed"}, {}};
    EXPECT_EQ(drawn(40, [&](Canvas& canvas) { print_runbook(canvas, entry); }),
              "runbook   Locked for good · payments\n"
              "          1. restart the pod and look at\n"
              "             what it printed\n");
}

}  // namespace
}  // namespace incident::report::terminal
