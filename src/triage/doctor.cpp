// Where the facts come from: core(5), proc(5), systemd's coredump.conf(5), Go's runtime package ("Environment
// Variables": without GOTRACEBACK=crash a Go process that panics prints and exits with 2: no core is left, whatever the
// limits say).
#include "triage/doctor.h"

#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/text.h"
#include "report/json_writer.h"
#include "report/terminal/canvas.h"

namespace incident::triage {

namespace {

namespace fs = std::filesystem;

std::string trimmed(std::string text) {
    while (!text.empty() && (text.back() == '\n' || text.back() == ' ' || text.back() == '\0')) text.pop_back();
    return text;
}

std::optional<std::string> read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) return std::nullopt;
    std::string text(64 * 1024, '\0');
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<std::size_t>(file.gcount()));
    return text;
}

std::optional<std::uint64_t> disk_free(const std::string& folder) {
    struct statvfs status{};
    if (::statvfs(folder.c_str(), &status) != 0) return std::nullopt;
    return static_cast<std::uint64_t>(status.f_bavail) * status.f_frsize;
}

/// "64G" as systemd writes sizes; nothing when it is none.
std::optional<std::uint64_t> systemd_size(std::string_view text) {
    if (text == "infinity") return UINT64_MAX;
    char* end = nullptr;
    std::string copy(text);
    auto value = std::strtoull(copy.c_str(), &end, 10);
    if (end == copy.c_str()) return std::nullopt;
    switch (*end) {
        case 'K': return value << 10;
        case 'M': return value << 20;
        case 'G': return value << 30;
        case 'T': return value << 40;
        default: return value;
    }
}

class Doctor {
public:
    explicit Doctor(const DoctorOptions& options) : options_(options) {
        process_ = options.pid ? fmt::format("/proc/{}", *options.pid) : std::string("/proc/self");
    }

    std::vector<Check> examine() {
        pattern();
        if (options_.pid && !fs::exists(under(process_)))
            add("process", Health::bad, fmt::format("there is no process {}", *options_.pid), "", "");
        core_limit();
        traceback();
        filter();
        dumpable();
        disk();
        return std::move(checks_);
    }

private:
    std::string under(const std::string& path) const { return options_.root + path; }
    std::optional<std::string> read(const std::string& path) const {
        auto text = read_file(under(path));
        return text ? std::optional(trimmed(*text)) : std::nullopt;
    }
    void add(std::string name, Health health, std::string found, std::string means, std::string change) {
        checks_.push_back({std::move(name), health, std::move(found), std::move(means), std::move(change)});
    }

    void pattern();
    void handler(const std::string& command);
    void systemd();
    void core_limit();
    void traceback();
    void filter();
    void dumpable();
    void disk();

    const DoctorOptions& options_;
    std::string process_;
    std::vector<Check> checks_;
    bool piped_ = false, systemd_ = false;
    std::string folder_;  ///< where cores go; empty: the process's own working directory
};

void Doctor::pattern() {
    auto text = read("/proc/sys/kernel/core_pattern");
    if (!text) {
        add("core_pattern", Health::unknown, "/proc/sys/kernel/core_pattern cannot be read",
            "what the kernel does with a core is unknown", "");
        return;
    }
    if (text->starts_with('|')) {
        piped_ = true;
        return handler(text->substr(1));
    }
    if (text->empty()) {
        auto uses_pid = read("/proc/sys/kernel/core_uses_pid");
        if (uses_pid != "1") {
            add("core_pattern", Health::bad, "empty", "the kernel leaves no core at all",
                "sysctl -w kernel.core_pattern=/var/lib/incident/core.%e.%P.%t, or pipe to incident collect");
            return;
        }
    }
    bool absolute = text->starts_with('/');
    folder_ = absolute ? fs::path(*text).parent_path().string() : std::string();
    bool told_apart = text->find("%p") != std::string::npos || text->find("%P") != std::string::npos ||
                      text->find("%t") != std::string::npos || read("/proc/sys/kernel/core_uses_pid") == "1";
    if (!absolute) {
        add("core_pattern", Health::warning, *text,
            "cores go to each process's own working directory: in a container that is gone with it, and it may not be "
            "writable",
            "use an absolute path, or pipe to incident collect (docs/runbook.md)");
    } else if (!told_apart) {
        add("core_pattern", Health::warning, *text, "the next core overwrites the last one",
            "add %P and %t to the name");
    } else {
        std::error_code error;
        bool there = fs::is_directory(under(folder_), error);
        add("core_pattern", there ? Health::good : Health::bad, *text,
            there ? "cores go to files of their own, whole and sparse"
                  : fmt::format("the folder {} is not there, and the kernel does not make it", folder_),
            there ? "" : fmt::format("mkdir -p {}", folder_));
    }
}

void Doctor::handler(const std::string& command) {
    auto program = command.substr(0, command.find(' '));
    auto name = fs::path(program).filename().string();
    std::error_code error;
    if (!fs::exists(under(program), error)) {
        add("core_pattern", Health::bad, "|" + command,
            fmt::format("the handler {} is not there: every core is lost{}", program,
                        options_.root.empty() ? " (in a container it is looked up on the host)" : ""),
            "install it, or set another core_pattern");
        return;
    }
    auto limit = read("/proc/sys/kernel/core_pipe_limit").value_or("");
    if (name == "systemd-coredump") {
        systemd_ = true;
        folder_ = "/var/lib/systemd/coredump";
        add("core_pattern", Health::good, "|" + command, "systemd-coredump keeps cores, compressed", "");
        systemd();
    } else if (name == "incident") {
        folder_ = "/var/lib/incident";
        std::istringstream words(command);
        for (std::string word; words >> word;)
            if (word.starts_with("--dir=")) folder_ = word.substr(6);
        bool waits = limit != "0" && !limit.empty();
        add("core_pattern", Health::good, "|" + command, "incident collect keeps cores and their executables", "");
        add("core_pipe_limit", waits ? Health::good : Health::warning, limit.empty() ? "unknown" : limit,
            waits ? "so many handlers run at once, and the dead process stays until its handler is done"
                  : "any number of handlers may run at once, and /proc/PID may be gone before the handler has read it",
            waits ? "" : "sysctl -w kernel.core_pipe_limit=4");
    } else if (name == "apport") {
        add("core_pattern", Health::warning, "|" + command,
            "apport keeps cores of packaged programs only, and drops those of your own builds",
            "pipe to incident collect or systemd-coredump");
    } else {
        add("core_pattern", Health::unknown, "|" + command,
            "a handler of somebody else: whether it keeps cores whole is its matter", "");
    }
}

/// coredump.conf and its drop-ins, the later winning. Limits: systemd 252 has 32G and 32G on 64 bits.
void Doctor::systemd() {
    std::string storage = "external", process_max = "32G", external_max = "32G", max_use, keep_free;
    std::vector<std::string> files{under("/etc/systemd/coredump.conf")};
    for (const auto* folder :
         {"/usr/lib/systemd/coredump.conf.d", "/run/systemd/coredump.conf.d", "/etc/systemd/coredump.conf.d"}) {
        std::error_code error;
        std::vector<std::string> here;
        for (fs::directory_iterator at(under(folder), error), end; !error && at != end; at.increment(error))
            if (at->path().extension() == ".conf") here.push_back(at->path().string());
        std::ranges::sort(here);
        files.insert(files.end(), here.begin(), here.end());
    }
    for (const auto& file : files) {
        std::istringstream lines(read_file(file).value_or(""));
        for (std::string line; std::getline(lines, line);) {
            auto equals = line.find('=');
            if (equals == std::string::npos || line.starts_with('#') || line.starts_with(';')) continue;
            auto key = trimmed(line.substr(0, equals)), value = trimmed(line.substr(equals + 1));
            for (auto& [name, into] : {std::pair<std::string_view, std::string*>{"Storage", &storage},
                                       {"ProcessSizeMax", &process_max},
                                       {"ExternalSizeMax", &external_max},
                                       {"MaxUse", &max_use},
                                       {"KeepFree", &keep_free}})
                if (key == name) *into = value;
        }
    }
    if (storage != "external")
        add("systemd Storage", storage == "none" ? Health::bad : Health::warning, storage,
            storage == "none" ? "cores are thrown away" : "cores in the journal are cut at its own limit",
            "Storage=external in /etc/systemd/coredump.conf.d/incident.conf (docs/examples/coredump.conf)");
    auto smallest = std::min(systemd_size(process_max).value_or(0), systemd_size(external_max).value_or(0));
    constexpr std::uint64_t enough = 16ull << 30;
    add("systemd size limits", smallest < enough ? Health::warning : Health::good,
        fmt::format("ProcessSizeMax={} ExternalSizeMax={}", process_max, external_max),
        smallest < enough ? "a larger core is cut or dropped: a Go heap of a few GB is above that soon"
                          : "cores up to that size are kept whole",
        smallest < enough ? "ProcessSizeMax=64G and ExternalSizeMax=64G (docs/examples/coredump.conf)" : "");
}

void Doctor::core_limit() {
    auto limits = read(process_ + "/limits");
    std::string soft, hard;
    if (limits) {
        std::istringstream lines(*limits);
        for (std::string line; std::getline(lines, line);) {
            if (!line.starts_with("Max core file size")) continue;
            std::istringstream words(line.substr(std::string_view("Max core file size").size()));
            words >> soft >> hard;
        }
    }
    std::string name = options_.pid ? fmt::format("ulimit -c of {}", *options_.pid) : std::string("ulimit -c here");
    if (soft.empty()) return add(name, Health::unknown, "cannot be read", "", "");
    auto found = fmt::format("soft {}, hard {}", soft, hard);
    std::string change = hard == "0" ? "LimitCORE=infinity in the service's unit; for containers --ulimit core=-1"
                                     : "ulimit -c unlimited before the start, or LimitCORE=infinity in the unit";
    if (soft == "unlimited") return add(name, Health::good, found, "cores are written whole", "");
    if (piped_) {
        // The kernel itself ignores the limit for pipes but for the value 1; systemd-coredump heeds it by %c.
        if (soft == "0" && systemd_)
            return add(name, Health::bad, found, "systemd-coredump heeds the limit: nothing is kept", change);
        return add(name, Health::good, found, "the kernel does not apply the limit to a pipe", "");
    }
    if (soft == "0") return add(name, Health::bad, found, "no core is written", change);
    add(name, Health::warning, found, "cores are cut at that many bytes", change);
}

void Doctor::traceback() {
    auto environment = options_.pid ? read_file(under(process_ + "/environ")) : std::nullopt;
    std::optional<std::string> value;
    if (options_.pid && environment) {
        std::istringstream words(*environment);
        for (std::string word; std::getline(words, word, '\0');)
            if (word.starts_with("GOTRACEBACK=")) value = word.substr(12);
    } else if (!options_.pid && options_.root.empty()) {
        if (const char* own = std::getenv("GOTRACEBACK")) value = own;
    }
    std::string where =
        options_.pid ? fmt::format("GOTRACEBACK of {}", *options_.pid) : std::string("GOTRACEBACK here");
    if (options_.pid && !environment)
        return add(where, Health::unknown, "its environment cannot be read", "", "look as root");
    if (value == "crash" || value == "wer")
        return add(where, Health::good, *value, "a Go process that panics leaves a core", "");
    add(where, Health::warning, value ? *value : "not set",
        "a Go process that panics prints its stacks and exits: no core is left (a fault in C or kill -ABRT does leave "
        "one)",
        "GOTRACEBACK=crash in the service's environment, or debug.SetTraceback(\"crash\") in main");
}

void Doctor::filter() {
    auto text = read(process_ + "/coredump_filter");
    if (!text) return add("coredump_filter", Health::unknown, "cannot be read", "", "");
    auto bits = std::strtoull(text->c_str(), nullptr, 16);
    // core(5): 0 anonymous private, 1 anonymous shared, 4 ELF headers, 5 huge private
    struct Bit {
        unsigned number;
        std::string_view lost;
    };
    constexpr std::array needed{Bit{0, "heap and stacks"}, Bit{1, "shared anonymous memory"},
                                Bit{4, "the build-ids of mapped files"}, Bit{5, "huge pages of the heap"}};
    std::string lost;
    for (const auto& bit : needed)
        if ((bits >> bit.number & 1) == 0) lost += fmt::format("{}{}", lost.empty() ? "" : ", ", bit.lost);
    bool hopeless = (bits & 1) == 0;
    add("coredump_filter",
        lost.empty() ? Health::good
        : hopeless   ? Health::bad
                     : Health::warning,
        fmt::format("{:#x}", bits),
        lost.empty() ? "all memory that matters is in the core" : "missing from the core: " + lost,
        lost.empty() ? "" : "echo 0x33 > /proc/PID/coredump_filter (children inherit it)");
}

void Doctor::dumpable() {
    auto text = read("/proc/sys/fs/suid_dumpable");
    if (!text || *text == "1" || *text == "2") return;
    add("suid_dumpable", Health::unknown, *text,
        "a program with file capabilities or a changed user leaves no core; others do",
        "sysctl -w fs.suid_dumpable=2 with an absolute core_pattern or a pipe, if your service is such a program");
}

void Doctor::disk() {
    auto folder = folder_.empty() ? std::string(".") : under(folder_);
    std::error_code error;
    while (folder.size() > 1 && folder != "." && !fs::exists(folder, error)) folder = fs::path(folder).parent_path();
    auto bytes = options_.free_bytes != nullptr ? options_.free_bytes(folder) : disk_free(folder);
    std::string name = "disk for cores";
    if (!bytes) return add(name, Health::unknown, folder, "its free space cannot be read", "");
    constexpr std::uint64_t little = 4ull << 30, hardly = 256ull << 20;
    auto health = *bytes < hardly ? Health::bad : *bytes < little ? Health::warning : Health::good;
    add(name, health, fmt::format("{} free in {}", human_size(*bytes), folder),
        health == Health::good ? "room for cores" : "a core of a few GB will be cut short",
        health == Health::good ? "" : "free some space, or let cores go to a larger disk");
}

report::terminal::Ink ink_of(Health health) {
    using report::terminal::Ink;
    switch (health) {
        case Health::good: return Ink::good;
        case Health::unknown: return Ink::quiet;
        case Health::warning: return Ink::warning;
        case Health::bad: return Ink::error;
    }
    return Ink::plain;
}

std::string verdict(const std::vector<Check>& checks) {
    auto count = [&](Health h) { return static_cast<std::size_t>(std::ranges::count(checks, h, &Check::health)); };
    if (count(Health::bad) != 0) return "this machine would lose cores";
    if (count(Health::warning) != 0) return "cores would be left, but not all of them or not whole";
    return "this machine leaves cores that can be read";
}

}  // namespace

std::string_view to_string(Health health) {
    constexpr std::array<std::string_view, 4> words{"good", "unknown", "warning", "bad"};
    return words[static_cast<std::size_t>(health)];
}

std::vector<Check> examine(const DoctorOptions& options) { return Doctor(options).examine(); }

int exit_code(const std::vector<Check>& checks) {
    return std::ranges::any_of(checks, [](const Check& c) { return c.health >= Health::warning; }) ? 1 : 0;
}

void render_checks(const std::vector<Check>& checks, std::string_view format, std::string_view version,
                   const report::RenderOptions& options, const report::Sink& sink) {
    using report::terminal::Ink;
    if (format == "json") {
        report::JsonWriter json(sink);
        json.begin_object();
        json.string("schema", "incident-doctor/1");
        json.text("version", version);
        json.string("verdict", verdict(checks));
        json.begin_array("checks");
        for (const auto& check : checks) {
            json.new_line();
            json.begin_object();
            json.string("name", check.name);
            json.string("health", to_string(check.health));
            json.text("found", check.found);
            json.text("means", check.means);
            json.text("change", check.change);
            json.end_object();
        }
        json.end_array();
        json.end_object();
        json.finish();
        return;
    }
    if (format == "markdown") {
        auto cell = [](std::string_view raw) {
            std::string out;
            for (char c : escape_for_terminal(raw)) {
                if (std::string_view("\\`*[]<>|").contains(c)) out += '\\';
                out += c;
            }
            return out;
        };
        std::string out = fmt::format("# Doctor: {}\n\n| | setting | found | means | change |\n|---|---|---|---|---|\n",
                                      verdict(checks));
        for (const auto& c : checks)
            out += fmt::format("| {} | {} | {} | {} | {} |\n", to_string(c.health), cell(c.name), cell(c.found),
                               cell(c.means), cell(c.change));
        sink(out);
        return;
    }
    report::terminal::Canvas canvas(options, sink);
    canvas.print(canvas.line(Ink::strong, verdict(checks)));
    for (const auto& c : checks) {
        canvas.blank();
        canvas.wrap(
            canvas.line(ink_of(c.health), to_string(c.health)).to_column(9).add(Ink::strong, c.name).dot().add(c.found),
            11);
        if (!c.means.empty()) canvas.row("", canvas.line(c.means), 9);
        if (!c.change.empty()) canvas.row("  change", canvas.line(Ink::strong, c.change), 9);
    }
}

}  // namespace incident::triage
