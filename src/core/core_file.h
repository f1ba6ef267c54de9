// CoreFile: one ELF core, opened and validated; it interprets nothing. Kernel and gcore cores, sparse, truncated or
// compressed. "Opened" means: the header and the notes that are there were parsed within bounds; what is cut off or
// malformed stands in `damage()`. No read of ours can hit a page past the end of the file as it was when it was opened.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "core/machine.h"
#include "core/memory.h"

namespace incident {

struct OpenOptions {
    std::uint64_t max_spool = 64ull << 30;  ///< bytes that decompression may write below $TMPDIR
    std::function<void(std::uint64_t done, std::uint64_t total)> progress;  ///< while spooling; total 0 = unknown
};

struct SignalInfo {
    int number = 0;
    int code = 0;
    /// si_addr: SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP with code > 0. Not with SI_KERNEL (0x80, a general protection
    /// fault, mostly a non-canonical address): the kernel does not know the address then and the field holds nothing.
    std::optional<Address> fault_address;
    std::optional<std::int32_t> sender_pid;  ///< code <= 0 (kill, tkill, sigqueue)
    std::optional<std::uint32_t> sender_uid;
};

struct ThreadState {
    std::int32_t tid = 0;  ///< pr_pid of its NT_PRSTATUS: the LWP id in the dumper's PID namespace
    Registers registers;
    int current_signal = 0;  ///< pr_cursig
    std::optional<SignalInfo>
        signal;  ///< its NT_SIGINFO: the kernel writes one for the dying thread, gcore one per thread
    std::span<const std::byte> fpregs;  ///< NT_FPREGSET (struct user_fpregs_struct); empty: not there
    std::span<const std::byte> xstate;  ///< NT_X86_XSTATE
};

struct MappedFile {  ///< one row of NT_FILE
    AddressRange range;
    std::uint64_t file_offset = 0;  ///< bytes
    std::string path;
    bool deleted = false;  ///< the path ended in " (deleted)"; stripped from `path`
};

struct LoadSegment {     ///< one PT_LOAD
    AddressRange range;  ///< memsz
    std::uint64_t file_offset = 0;
    std::uint64_t file_size = 0;   ///< as the header says
    std::uint64_t lost = 0;        ///< of these, cut off
    std::uint8_t permissions = 0;  ///< PF_R | PF_W | PF_X
};

struct ProcessInfo {  ///< NT_PRPSINFO
    std::int32_t pid = 0, ppid = 0;
    std::uint32_t uid = 0, gid = 0;
    std::string program;    ///< pr_fname, at most 15 bytes
    std::string arguments;  ///< pr_psargs, at most 79 bytes
};

struct AuxEntry {
    std::uint64_t type, value;
};

class CoreFile {
public:
    /// `path` may be "-" for stdin. Fails with io (cannot read), unsupported (not an ELF core of a machine we know;
    /// `what` says what the file is instead) or corrupt (its own headers cannot be true).
    static Result<CoreFile> open(const std::string& path, const OpenOptions& options = {});

    CoreFile(CoreFile&&) noexcept;
    CoreFile& operator=(CoreFile&&) noexcept;
    ~CoreFile();

    /// A hint: most of the file will be read, here and there. File systems with large folios (Linux 6.16: ext4, XFS)
    /// then bring it in and map it in large pages, of which the processor can remember the places of a whole heap.
    void expect_reading_all() const noexcept;

    /// As given; "standard input" of stdin, which cannot be opened again.
    const std::string& path() const;
    bool from_stdin() const;
    const std::string& compression() const;  ///< "", "zstd", "xz", "lz4", "gzip"
    std::uint64_t size() const;              ///< of the file as given
    const Machine& machine() const;

    std::span<const ThreadState> threads() const;  ///< in file order: the first is the dying thread in kernel cores
    std::span<const MappedFile> mapped_files() const;
    std::span<const LoadSegment> load_segments() const;
    std::span<const AuxEntry> auxv() const;
    std::optional<std::uint64_t> aux(std::uint64_t type) const;  ///< AT_ENTRY, AT_PHDR, AT_SYSINFO_EHDR …
    const std::optional<ProcessInfo>& process_info() const;
    bool written_by_gcore() const;

    /// Cut file: first missing byte and how many the headers promise beyond it.
    struct Truncation {
        std::uint64_t at = 0;
        std::uint64_t missing_bytes = 0;
    };
    const std::optional<Truncation>& truncation() const;
    /// What was wrong with the file, in words, for the report's gaps: kind truncated (cut; which regions lost their
    /// bytes stands in load_segments()), corrupt (contradicts itself; left out), absent (a note that every core should
    /// have).
    std::span<const Error> damage() const;

    /// Adds every PT_LOAD's bytes and missing ranges to `memory` (not frozen). The bytes live as long as this CoreFile,
    /// moved or not.
    void fill(Memory& memory) const;

private:
    struct State;
    explicit CoreFile(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace incident
