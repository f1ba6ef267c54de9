#include "support/built_program.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>

namespace incident {

const std::string_view crasher_source = R"(#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <pthread.h>
#include <unistd.h>
#include <vector>

enum class Color { red = 1, green = 2 };
struct Base { long base_member; };
struct Order : Base {
    int id;
    const char* name;
    union { double price; long cents; };
    unsigned open : 1;
    Order* next;
};
typedef struct { int x, y; } point_t;
point_t origin = {3, 4};

namespace shop {
template <class T> struct Cart {
    struct Line { int number; };
    std::vector<T> items;
    long total = 0;
    Line line{};
    static int instances;
    __attribute__((noinline)) void add(T t, int depth);
};
static inline __attribute__((always_inline)) void boom(int* p, int why) {
    volatile int w = why;
    *p = w;  // line 33
}
template <class T> int Cart<T>::instances = 1;
template <class T> void Cart<T>::add(T t, int depth) {
    items.push_back(t);
    total += t.id;
    if (depth > 0) {
        add(t, depth - 1);
        total += instances;
    } else {
        raise(SIGUSR1);
        total++;
    }
}
}  // namespace shop

static shop::Cart<Order> cart;
extern "C" void handler(int sig, siginfo_t* info, void* context) {
    (void)info; (void)context;
    int twice = sig * 2;
    std::vector<int> v{3, 1, 2};
    std::sort(v.begin(), v.end(), [&](int a, int b) {
        if (twice == 2 * SIGUSR1) shop::boom(nullptr, twice);
        return a < b;
    });
    printf("%d\n", v[0]);
}
void* sleeper(void* argument) {
    long n = (long)argument;
    for (;;) sleep(100 + n);
    return nullptr;
}
pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
void* locker(void*) {
    pthread_mutex_lock(&mu);
    return nullptr;
}
int main(int argc, char**) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO;
    if (argc > 1) {
        stack_t stack;
        stack.ss_sp = malloc(65536);
        stack.ss_size = 65536;
        stack.ss_flags = 0;
        sigaltstack(&stack, nullptr);
        action.sa_flags |= SA_ONSTACK;
    }
    sigaction(SIGUSR1, &action, nullptr);
    pthread_mutex_lock(&mu);
    pthread_t thread;
    pthread_create(&thread, nullptr, sleeper, (void*)7);
    pthread_create(&thread, nullptr, locker, nullptr);
    usleep(100000);
    Color color = argc > 5 ? Color::red : Color::green;
    Order order{};
    order.id = 42;
    order.name = "widget";
    order.next = &order;
    cart.add(order, 3);
    return static_cast<int>(color);
}
)";

TemporaryDirectory::TemporaryDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "incident-test-XXXXXX").string();
    if (mkdtemp(pattern.data()) != nullptr) path_ = pattern;
}

TemporaryDirectory::~TemporaryDirectory() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

int run_command(const std::string& command, std::string* output) {
    FILE* pipe = popen((command + " 2>&1").c_str(), "r");
    if (pipe == nullptr) return -1;
    char buffer[4096];
    for (std::size_t got; (got = fread(buffer, 1, sizeof buffer, pipe)) > 0;)
        if (output != nullptr) output->append(buffer, got);
    return pclose(pipe);
}

bool have_command(const std::string& name) { return run_command("command -v " + name + " >/dev/null") == 0; }

std::string crash_again(const std::string& executable, const std::filesystem::path& directory,
                        const std::string& arguments, std::string& core) {
    std::string pattern;
    std::getline(std::ifstream("/proc/sys/kernel/core_pattern"), pattern);
    if (!pattern.empty() && pattern.find_first_of("|/") == std::string::npos) {
        run_command("cd '" + directory.string() + "' && ulimit -S -c $(ulimit -H -c) && '" + executable + "' " + arguments);
        for (const auto& entry : std::filesystem::directory_iterator(directory))
            if (entry.path().filename().string().starts_with(pattern.substr(0, pattern.find('%'))))
                core = entry.path().string();
        if (!core.empty()) return {};
    }
    if (!have_command("gdb")) return "core_pattern is '" + pattern + "', and there is no gdb to write a core instead";
    core = (directory / "core.gdb").string();
    std::string output;
    run_command("gdb -nx -batch -ex 'handle SIGUSR1 nostop noprint pass' -ex 'run " + arguments +
                    "' -ex 'generate-core-file " + core + "' '" + executable + "'",
                &output);
    return std::filesystem::exists(core) ? "" : "no core from gdb: " + output;
}

DeadProgram build_and_crash(std::string_view source, const std::vector<std::string>& flags,
                            const std::string& arguments) {
    DeadProgram dead;
    if (!have_command("g++")) {
        dead.problem = "no g++ to build the test program with";
        return dead;
    }
    std::ofstream(dead.directory / "program.cpp") << source;
    dead.executable = dead.directory / "program";
    std::string command = "cd '" + dead.directory.path().string() + "' && g++ -pthread program.cpp -o program", output;
    for (const auto& flag : flags) command += " " + flag;
    if (run_command(command, &output) != 0)
        dead.problem = "cannot build the test program: " + output;
    else
        dead.problem = crash_again(dead.executable, dead.directory.path(), arguments, dead.core);
    return dead;
}

}  // namespace incident
