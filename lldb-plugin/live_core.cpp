#include "live_core.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/procfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string_view>
#include <vector>

namespace incident_lldb {
namespace {

constexpr std::uint64_t page = 4096;

/// One line of /proc/PID/smaps with what follows it.
struct Region {
    std::uint64_t begin = 0, end = 0, offset = 0;
    bool readable = false, writable = false, executable = false;
    bool written = false;  ///< has pages of its own: the file no longer tells them
    std::string path;      ///< a file's; empty: anonymous, or the kernel's ([stack], [vdso])
    std::uint64_t dumped() const {
        if (!readable) return 0;
        return path.empty() || writable || written ? end - begin : std::min(page, end - begin);
    }
};

std::vector<Region> read_regions(const std::string& folder) {
    std::vector<Region> regions;
    std::ifstream in(folder + "/smaps");
    for (std::string line; std::getline(in, line);) {
        Region r;
        std::array<char, 8> mode{};
        unsigned long begin = 0, end = 0, offset = 0;
        int path_at = 0;
        if (std::sscanf(line.c_str(), "%lx-%lx %4s %lx %*s %*u %n", &begin, &end, mode.data(), &offset, &path_at) ==
            4) {
            const std::string_view flags = mode.data();
            r.begin = begin, r.end = end, r.offset = offset;
            r.readable = flags.starts_with('r'), r.writable = flags.contains('w'), r.executable = flags.contains('x');
            if (path_at > 0 && line[static_cast<std::size_t>(path_at)] == '/')
                r.path = line.substr(static_cast<std::size_t>(path_at));
            if (line.ends_with("[vvar]") || line.ends_with("[vvar_vclock]"))
                r.readable = false;  // the kernel's clock, not memory
            regions.push_back(std::move(r));
        } else if (unsigned long kilobytes = 0;
                   !regions.empty() && std::sscanf(line.c_str(), "Anonymous: %lu kB", &kilobytes) == 1) {
            regions.back().written = kilobytes > 0;
        }
    }
    return regions;
}

template <class T>
void append(std::string& out, const T& value) {
    out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void append_note(std::string& notes, std::uint32_t type, std::string_view content) {
    constexpr std::string_view owner{"CORE\0\0\0\0", 8};
    append(notes, Elf64_Nhdr{5, static_cast<Elf64_Word>(content.size()), type});
    notes += owner;
    notes += content;
    notes.append((4 - content.size() % 4) % 4, '\0');
}

/// In the order of struct user_regs_struct; lldb has no orig_rax for some targets, then it is -1: in no system call.
constexpr std::array register_names{"r15",    "r14", "r13", "r12",     "rbp",     "rbx", "r11",      "r10", "r9",
                                    "r8",     "rax", "rcx", "rdx",     "rsi",     "rdi", "orig_rax", "rip", "cs",
                                    "rflags", "rsp", "ss",  "fs_base", "gs_base", "ds",  "es",       "fs",  "gs"};
static_assert(register_names.size() == ELF_NGREG);

std::string status_note(lldb::SBThread thread, pid_t pid) {
    prstatus_t status{};
    status.pr_pid = static_cast<pid_t>(thread.GetThreadID());
    status.pr_pgrp = pid;
    if (thread.GetStopReason() == lldb::eStopReasonSignal && thread.GetStopReasonDataCount() > 0)
        status.pr_cursig = static_cast<short>(thread.GetStopReasonDataAtIndex(0));
    status.pr_info.si_signo = status.pr_cursig;
    auto frame = thread.GetFrameAtIndex(0);
    for (std::size_t i = 0; i < register_names.size(); ++i) {
        auto value = frame.FindRegister(register_names[i]);
        lldb::SBError error;
        status.pr_reg[i] = value.IsValid() ? value.GetValueAsUnsigned(error, 0)
                                           : (std::string_view(register_names[i]) == "orig_rax" ? ~0ULL : 0);
    }
    std::string content;
    append(content, status);
    return content;
}

std::string process_note(const std::string& folder, pid_t pid) {
    prpsinfo_t info{};
    info.pr_pid = pid;
    std::string name, arguments;
    std::getline(std::ifstream(folder + "/comm"), name);
    std::ifstream in(folder + "/cmdline", std::ios::binary);
    arguments.assign(std::istreambuf_iterator<char>(in), {});
    std::ranges::replace(arguments, '\0', ' ');
    name.copy(info.pr_fname, sizeof info.pr_fname - 1);
    arguments.copy(info.pr_psargs, sizeof info.pr_psargs - 1);
    std::string content;
    append(content, info);
    return content;
}

/// NT_FILE: count, page size, {begin, end, offset in pages} each, then the names.
std::string files_note(const std::vector<Region>& regions) {
    std::string rows, names;
    std::uint64_t count = 0;
    for (const auto& r : regions) {
        if (r.path.empty()) continue;
        append(rows, r.begin), append(rows, r.end), append(rows, r.offset / page);
        names += r.path + '\0';
        ++count;
    }
    std::string content;
    append(content, count), append(content, page);
    return content + rows + names;
}

/// A file that is removed unless keep() was called.
class CoreOut {
public:
    explicit CoreOut(const std::string& path)
        : path_(path), fd_(open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600)) {}
    ~CoreOut() {
        if (fd_ >= 0) close(fd_);
        if (!kept_) unlink(path_.c_str());
    }
    bool write_at(std::uint64_t at, std::string_view bytes) {
        while (fd_ >= 0 && !bytes.empty()) {
            const auto n = pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(at));
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) return false;
            bytes.remove_prefix(static_cast<std::size_t>(n)), at += static_cast<std::uint64_t>(n);
        }
        return fd_ >= 0;
    }
    bool end_at(std::uint64_t size) { return ftruncate(fd_, static_cast<off_t>(size)) == 0; }
    void keep() { kept_ = true; }

private:
    std::string path_;
    int fd_;
    bool kept_ = false;
};

bool all_zero(std::string_view bytes) { return bytes.find_first_not_of('\0') == std::string_view::npos; }

/// Copies one region, leaving holes where it is zero. What cannot be read stays zero there, as in the kernel's own
/// cores.
bool copy_region(lldb::SBProcess& process, int memory, const Region& r, std::uint64_t at, CoreOut& out,
                 std::string& buffer) {
    for (std::uint64_t done = 0; done < r.dumped(); done += buffer.size()) {
        const auto want = std::min<std::uint64_t>(buffer.size(), r.dumped() - done);
        auto got = memory >= 0 ? pread(memory, buffer.data(), want, static_cast<off_t>(r.begin + done)) : -1;
        if (got < 0) {
            lldb::SBError error;
            got = static_cast<ssize_t>(process.ReadMemory(r.begin + done, buffer.data(), want, error));
            if (error.Fail()) got = 0;
        }
        const std::string_view bytes(buffer.data(), static_cast<std::size_t>(got));
        for (std::size_t i = 0; i < bytes.size(); i += page) {
            const auto piece = bytes.substr(i, page);
            if (!all_zero(piece) && !out.write_at(at + done + i, piece)) return false;
        }
    }
    return true;
}

std::string slurp(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

std::string write_live_core(lldb::SBProcess process, const std::string& path,
                            const std::function<bool()>& interrupted) {
    auto target = process.GetTarget();
    const std::string triple = target.GetTriple() != nullptr ? target.GetTriple() : "";
    const std::string platform = target.GetPlatform().GetName() != nullptr ? target.GetPlatform().GetName() : "";
    if (platform != "host")
        return "a process of another machine (platform " + platform + "): write a core there and open that";
    if (!triple.starts_with("x86_64")) return "a live process of " + triple + " cannot be written to a core yet";
    if (process.GetState() != lldb::eStateStopped) return "the process runs: interrupt it first (process interrupt)";

    const auto pid = static_cast<pid_t>(process.GetProcessID());
    const auto folder = "/proc/" + std::to_string(pid);
    const auto regions = read_regions(folder);
    if (regions.empty()) return folder + "/smaps cannot be read";
    if (regions.size() + 1 >= PN_XNUM) return "more mappings than an ELF core's headers can count";

    std::string notes;
    auto current = process.GetSelectedThread();  // a core's first thread is the one that matters
    append_note(notes, NT_PRSTATUS, status_note(current, pid));
    append_note(notes, NT_PRPSINFO, process_note(folder, pid));
    append_note(notes, NT_AUXV, slurp(folder + "/auxv"));
    append_note(notes, NT_FILE, files_note(regions));
    for (std::uint32_t i = 0; i < process.GetNumThreads(); ++i) {
        auto thread = process.GetThreadAtIndex(i);
        if (thread.GetThreadID() != current.GetThreadID()) append_note(notes, NT_PRSTATUS, status_note(thread, pid));
    }

    Elf64_Ehdr header{};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64, header.e_ident[EI_DATA] = ELFDATA2LSB,
    header.e_ident[EI_VERSION] = EV_CURRENT;
    header.e_type = ET_CORE, header.e_machine = EM_X86_64, header.e_version = EV_CURRENT;
    header.e_ehsize = sizeof(Elf64_Ehdr), header.e_phoff = sizeof(Elf64_Ehdr), header.e_phentsize = sizeof(Elf64_Phdr);
    header.e_phnum = static_cast<Elf64_Half>(regions.size() + 1);
    std::string head;
    append(head, header);
    std::uint64_t at = sizeof(Elf64_Ehdr) + header.e_phnum * sizeof(Elf64_Phdr);
    append(head, Elf64_Phdr{PT_NOTE, 0, at, 0, 0, notes.size(), 0, 4});
    at = (at + notes.size() + page - 1) / page * page;
    std::vector<std::uint64_t> places;
    for (const auto& r : regions) {
        const Elf64_Word flags = (r.readable ? PF_R : 0u) | (r.writable ? PF_W : 0u) | (r.executable ? PF_X : 0u);
        append(head, Elf64_Phdr{PT_LOAD, flags, at, r.begin, 0, r.dumped(), r.end - r.begin, page});
        places.push_back(at);
        at += r.dumped();
    }

    CoreOut out(path);
    const auto cannot = [&] { return "cannot write " + path + ": " + std::strerror(errno); };
    if (!out.write_at(0, head + notes)) return cannot();
    const int memory =
        open((folder + "/mem").c_str(), O_RDONLY | O_CLOEXEC);  // faster than lldb's protocol, where it is allowed
    std::string buffer(std::size_t{1} << 20, '\0');
    bool written = true;
    for (std::size_t i = 0; i < regions.size() && written && !interrupted(); ++i)
        written = copy_region(process, memory, regions[i], places[i], out, buffer);
    if (memory >= 0) close(memory);
    if (!written || !out.end_at(at)) return cannot();
    if (interrupted()) return "interrupted";
    out.keep();
    return {};
}

}  // namespace incident_lldb
