// The C interface of libdebuginfod (elfutils, debuginfod.h), looked up by name: its header is in a package of its own.
#include "image/debuginfod.h"

#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>

namespace incident {
namespace {

/// One client, one thread: the progress callback gets no other way to its deadline that works in every version.
thread_local std::chrono::steady_clock::time_point current_deadline;

template <class Function>
Function look_up(void* library, const char* name) {
    return reinterpret_cast<Function>(dlsym(library, name));
}

using Begin = void* (*)();
using End = void (*)(void*);
using Find = int (*)(void*, const unsigned char*, int, char**);
using SetProgress = void (*)(void*, int (*)(void*, long, long));

}  // namespace

Debuginfod::Debuginfod(unsigned budget_seconds) : left_(std::chrono::seconds(budget_seconds)) {}

Debuginfod::~Debuginfod() {
    if (client_ != nullptr)
        if (auto end = look_up<End>(library_, "debuginfod_end")) end(client_);
    // The library stays loaded: libcurl does not like to be unloaded.
}

int Debuginfod::on_progress(void*, long, long) { return std::chrono::steady_clock::now() >= current_deadline ? 1 : 0; }

void Debuginfod::load() {
    loaded_ = true;
    if (const char* urls = std::getenv("DEBUGINFOD_URLS"); urls == nullptr || *urls == '\0') {
        problem_ = "DEBUGINFOD_URLS is not set";
        return;
    }
    library_ = dlopen("libdebuginfod.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library_ == nullptr) {
        problem_ = "libdebuginfod.so.1 is not installed";
        return;
    }
    auto begin = look_up<Begin>(library_, "debuginfod_begin");
    auto set_progress = look_up<SetProgress>(library_, "debuginfod_set_progressfn");
    client_ = begin == nullptr ? nullptr : begin();
    if (client_ == nullptr || set_progress == nullptr) {
        problem_ = "libdebuginfod cannot be started";
        return;
    }
    set_progress(client_, &Debuginfod::on_progress);
}

std::optional<std::string> Debuginfod::find(Kind kind, const std::string& build_id) {
    if (!loaded_) load();
    if (!problem_.empty()) return std::nullopt;
    if (left_.count() <= 0) {
        problem_ = "the time for debuginfod is over";
        return std::nullopt;
    }
    auto fetch =
        look_up<Find>(library_, kind == Kind::executable ? "debuginfod_find_executable" : "debuginfod_find_debuginfo");
    if (fetch == nullptr) return std::nullopt;
    const auto begin = std::chrono::steady_clock::now();
    current_deadline = begin + left_;
    char* path = nullptr;
    // Length 0: the id is text.
    const int fd = fetch(client_, reinterpret_cast<const unsigned char*>(build_id.c_str()), 0, &path);
    left_ -= std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin);
    if (fd < 0) return std::nullopt;
    ::close(fd);
    std::optional<std::string> out;
    if (path != nullptr) out = path;
    std::free(path);
    return out;
}

}  // namespace incident
