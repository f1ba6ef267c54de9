// Parameters and locals of real frames, with values known in advance, at several levels of optimisation: what is shown
// must be right, and what the compiler dropped must be said to be gone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "support/built_program.h"
#include "support/opened_core.h"
#include "unwind/unwinder.h"

namespace incident {
namespace {

constexpr std::string_view source = R"(
#include <cstdlib>
#include <cstring>
enum class Color { red = 1, green = 2 };
struct Pair { long first; long second; };
namespace ns { struct Node { int id; Node* next; }; }
static long total = 7;
volatile long sink;
__attribute__((noinline)) void die(long code) { sink = code; abort(); }
__attribute__((noinline)) long level2(const char* text, int negative, Color color, double ratio, ns::Node* node, Pair pair) {
    static int calls = 5;
    unsigned char small = 200;
    bool yes = negative < 0;
    long sum = pair.first + pair.second;
    char buffer[16];
    strcpy(buffer, "abc");
    sink = sum + calls + (long)ratio + (long)color + small + yes + buffer[1] + node->id;
    die(99);
    return sink + sum + text[0];
}
int main(int argc, char** argv) {
    ns::Node* node = new ns::Node{41, nullptr};
    Pair pair{1000, 2000};
    long got = level2("hello", -5, Color::green, 2.5, node, pair);
    return (int)(got + total + argc + argv[0][0]);
}
)";

struct Frame {
    std::string function;
    std::map<std::string, Variable> variables;
};

std::vector<Frame> frames_of(const OpenedCore& opened) {
    const auto& thread = opened.core.threads()[0];
    const std::vector<UnwindStep> steps{cfi_step(opened.memory, opened.images)};
    const auto stack =
        unwind({thread.registers, /*after_call=*/false}, opened.memory.find(*thread.registers.sp())->range, steps);
    std::vector<Frame> out;
    for (std::size_t i = 0; i < stack.frames.size(); ++i) {
        Frame frame;
        frame.function = symbolize_native(stack.frames[i], opened.images).back().function;
        for (auto& variable : variables_of(stack, i, opened.images, opened.memory)) {
            const std::string name = variable.name;
            frame.variables.try_emplace(name, std::move(variable));
        }
        out.push_back(std::move(frame));
    }
    return out;
}

const Frame* find(const std::vector<Frame>& frames, std::string_view function) {
    for (const auto& frame : frames)
        if (frame.function.starts_with(function)) return &frame;
    return nullptr;
}

class Variables : public testing::TestWithParam<std::vector<std::string>> {};

TEST_P(Variables, AreRightOrSaidToBeGone) {
    auto dead = build_and_crash(source, GetParam());
    if (!dead.problem.empty()) GTEST_SKIP() << dead.problem;
    auto opened = OpenedCore::open(dead.core);
    ASSERT_TRUE(opened.has_value());
    const auto frames = frames_of(*opened);
    const Frame* level2 = find(frames, "level2");
    ASSERT_NE(level2, nullptr);
    const auto& v = level2->variables;
    for (const char* name : {"text", "negative", "color", "ratio", "node", "pair", "small", "yes", "sum", "buffer"})
        EXPECT_TRUE(v.contains(name)) << name;

    const bool optimised = GetParam()[0] != "-O0";
    const auto is = [&](const char* name, std::uint64_t expected) {
        const Variable& variable = v.at(name);
        if (!variable.value) {
            EXPECT_TRUE(optimised) << name << " at " << variable.place;
            EXPECT_FALSE(variable.place.empty()) << name;
            return;
        }
        EXPECT_EQ(*variable.value, expected) << name;
    };
    is("negative", static_cast<std::uint64_t>(-5));
    is("color", 2);
    is("small", 200);
    is("yes", 1);
    is("sum", 3000);
    is("ratio", 0x4004000000000000);  // 2.5
    EXPECT_EQ(v.at("negative").encoding, Encoding::signed_integer);
    EXPECT_EQ(v.at("ratio").encoding, Encoding::floating);
    EXPECT_EQ(v.at("yes").encoding, Encoding::boolean);
    EXPECT_TRUE(v.at("text").pointer);
    EXPECT_TRUE(v.at("text").parameter);
    EXPECT_FALSE(v.at("sum").parameter);
    EXPECT_EQ(v.at("text").type, "const char *");
    EXPECT_EQ(v.at("node").type, "ns::Node *");
    EXPECT_EQ(v.at("buffer").type, "char [16]");
    EXPECT_EQ(v.at("pair").size, 16u);
    if (v.at("color").value) { EXPECT_EQ(v.at("color").enumerator, "green"); }
    if (v.at("text").value) {
        EXPECT_EQ(opened->memory.view_cstring(Address{*v.at("text").value}, 10).value(), "hello");
    }
    if (v.at("node").value) { EXPECT_EQ(opened->memory.load<int>(Address{*v.at("node").value}).value(), 41); }
    if (v.at("pair").address) { EXPECT_EQ(opened->memory.load<long>(*v.at("pair").address + 8).value(), 2000); }
    ASSERT_TRUE(v.contains("calls"));  // a static local
    EXPECT_EQ(v.at("calls").value.value_or(5), 5u);

    // die() clobbers its argument register with abort's; its caller's call site still tells the value.
    const Frame* die = find(frames, "die");
    ASSERT_NE(die, nullptr);
    EXPECT_EQ(die->variables.at("code").value, 99u);

    const Frame* main = find(frames, "main");
    ASSERT_NE(main, nullptr);
    EXPECT_EQ(main->variables.at("argc").value.value_or(1), 1u);
}

INSTANTIATE_TEST_SUITE_P(Builds, Variables,
                         testing::Values(std::vector<std::string>{"-O0", "-g"}, std::vector<std::string>{"-O1", "-g"},
                                         std::vector<std::string>{"-O2", "-g"},
                                         std::vector<std::string>{"-O2", "-g", "-gdwarf-4"},
                                         std::vector<std::string>{"-O2", "-g", "-static"}));

}  // namespace
}  // namespace incident
