// One way to std::terminate() per argument; tests/e2e/test_terminate.py says what each must be called.
#include <unistd.h>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>

struct ParseError : std::runtime_error {
    explicit ParseError(const std::string& what) : std::runtime_error(what) {}
};
struct OwnText : std::exception {
    std::string text = "a text long enough to stand on the heap";
    const char* what() const noexcept override { return text.c_str(); }
};
struct Mixed : virtual std::exception {};
struct Tagged {
    long tag = 7;
    virtual ~Tagged() = default;
};
struct Both : Tagged, std::logic_error {
    Both() : std::logic_error("second base") {}
};

[[gnu::noinline]] void parse(const char* text) {
    if (!std::strchr(text, '=')) throw ParseError(std::string("no '=' in ") + text);
}
[[gnu::noinline]] void cleanup() noexcept { parse("rest"); }

struct Shape {
    Shape() { show(); }
    virtual ~Shape() = default;
    [[gnu::noinline]] void show() { draw(); }
    virtual void draw() = 0;
};
struct Circle : Shape {
    void draw() override {}
};

struct Settings {
    Settings();
};
[[gnu::noinline]] Settings& settings() {
    static Settings one;
    return one;
}
Settings::Settings() { settings(); }

int main(int argc, char** argv) {
    const std::string how = argc > 1 ? argv[1] : "";
    if (how == "uncaught") parse("line");
    if (how == "noexcept") {
        try {
            cleanup();
        } catch (...) {}
    }
    if (how == "thread") std::thread([] { parse("thread's line"); }).join();
    if (how == "own-text") throw OwnText();
    if (how == "mixed") throw Mixed();
    if (how == "both") throw Both();
    if (how == "number") throw 42;
    if (how == "literal") throw "a plain literal";
    if (how == "string") throw std::string("a string");
    if (how == "rethrown-pointer") {
        std::exception_ptr kept;
        try {
            parse("kept");
        } catch (...) { kept = std::current_exception(); }
        std::rethrow_exception(kept);
    }
    if (how == "nothing-to-throw") throw;
    if (how == "joinable") {
        std::thread sleeper([] { sleep(100); });
        return 0;
    }
    if (how == "pure") Circle circle;
    if (how == "static-in-itself") settings();
    if (how == "terminate") std::terminate();
    if (how == "caught") {
        try {
            parse("caught");
        } catch (const ParseError&) {}
        std::abort();
    }
    if (how == "in-catch") {
        try {
            parse("being handled");
        } catch (const ParseError&) { std::abort(); }
    }
    return 0;
}
