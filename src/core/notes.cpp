// Core notes of Linux, struct by struct (include/linux/elfcore.h, include/uapi/asm-generic/siginfo.h, fs/binfmt_elf.c).
//
// Surprising: nothing in a note says which thread it belongs to; only the order does. The kernel writes PRSTATUS of the
// dying thread, then PRPSINFO, SIGINFO, AUXV, FILE, then that thread's FPREGSET and XSTATE, then the other threads.
// gcore writes PRPSINFO first and gives every thread a SIGINFO of its own. Either way a note belongs to the PRSTATUS
// before it.
#include "core/notes.h"

#include <elf.h>
#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <unordered_set>

#include "base/byte_reader.h"
#include "base/text.h"
#include "core/limits.h"

namespace incident {

namespace {

template <class T>
std::optional<T> field(std::span<const std::byte> bytes, std::size_t offset) {
    if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) return std::nullopt;
    T value;
    std::memcpy(&value, bytes.data() + offset, sizeof(T));
    return value;
}

/// A fixed char array that need not have a NUL.
std::string fixed_text(std::span<const std::byte> bytes, std::size_t offset, std::size_t size) {
    if (offset > bytes.size() || bytes.size() - offset < size) return {};
    const auto* text = reinterpret_cast<const char*>(bytes.data() + offset);
    return std::string(text, strnlen(text, size));
}

}  // namespace

// siginfo_t: si_signo@0, si_errno@4, si_code@8, then a union at 16.
std::optional<SignalInfo> parse_siginfo(std::span<const std::byte> bytes) {
    auto number = field<std::int32_t>(bytes, 0), code = field<std::int32_t>(bytes, 8);
    if (!number || !code) return std::nullopt;
    SignalInfo info{.number = *number, .code = *code};
    bool is_fault =
        *number == SIGSEGV || *number == SIGBUS || *number == SIGILL || *number == SIGFPE || *number == SIGTRAP;
    if (*code > 0 && *code != SI_KERNEL && is_fault) {
        if (auto address = field<std::uint64_t>(bytes, 16)) info.fault_address = Address{*address};
    } else if (*code <= 0 && *code != SI_TIMER) {
        info.sender_pid = field<std::int32_t>(bytes, 16);
        info.sender_uid = field<std::uint32_t>(bytes, 20);
    }
    return info;
}

void NoteParser::report(ErrorKind kind, std::string what) { damage_.push_back({kind, std::move(what)}); }

void NoteParser::take(const Note& note) {
    if (note.owner == "GDB") {
        gdb_notes_ = true;
        return;
    }
    if (note.owner.starts_with("Delve ")) {  // `dlv dump` has a format of its own inside an ELF core
        delve_notes_ = true;
        return;
    }
    // Memory of a whole machine, or of a process of another system, comes in ELF cores too.
    if (note.owner == "QEMU" || note.owner == "VMCOREINFO" || note.owner == "XEN")
        notes_.not_a_process = "a memory dump of a kernel or virtual machine, not a core of a process";
    for (std::string_view system : {"FreeBSD", "NetBSD-CORE", "OpenBSD"})
        if (note.owner == system) notes_.not_a_process = "an ELF core of a BSD process; only Linux cores are read";
    if (note.owner != "CORE" && note.owner != "LINUX") return;
    switch (note.type) {
        case NT_PRSTATUS: return take_prstatus(note);
        case NT_PRPSINFO: return take_process_info(note);
        case NT_SIGINFO: return take_signal(note);
        case NT_AUXV: return take_auxv(note);
        case NT_FILE: return take_file_table(note);
        case NT_FPREGSET: return take_register_set(note, &ThreadState::fpregs);
        case NT_X86_XSTATE: return take_register_set(note, &ThreadState::xstate);
        default: return;
    }
}

// struct elf_prstatus: pr_info{si_signo@0, si_code@4, si_errno@8}, pr_cursig@12 (short), pr_pid@32, pr_reg@112.
void NoteParser::take_prstatus(const Note& note) {
    std::size_t registers_size = machine_.registers.size() * machine_.pointer_size;
    if (note.description.size() < machine_.prstatus_reg_offset + registers_size) {
        ++short_statuses_;
        current_ = SIZE_MAX;
        return;
    }
    ThreadState state{.registers = Registers(machine_)};
    state.tid = field<std::int32_t>(note.description, 32).value_or(0);
    state.current_signal = field<std::int16_t>(note.description, 12).value_or(0);
    auto registers = note.description.subspan(machine_.prstatus_reg_offset);
    for (unsigned i = 0; i < machine_.registers.size(); ++i)
        if (auto value = field<std::uint64_t>(registers, machine_.registers[i].prstatus_offset))
            state.registers.set(i, *value);
    current_ = notes_.threads.size();
    notes_.threads.push_back(state);
}

// struct elf_prpsinfo: pr_state@0, pr_flag@8, pr_uid@16, pr_gid@20, pr_pid@24, pr_ppid@28, pr_fname@40[16],
// pr_psargs@56[80].
void NoteParser::take_process_info(const Note& note) {
    if (notes_.process_info) return report(ErrorKind::corrupt, "a second NT_PRPSINFO note; the first one counts");
    if (note.description.size() < 136)
        return report(ErrorKind::corrupt,
                      fmt::format("NT_PRPSINFO of {} bytes instead of 136", note.description.size()));
    process_info_first_ = notes_.threads.empty();
    ProcessInfo info;
    info.uid = field<std::uint32_t>(note.description, 16).value_or(0);
    info.gid = field<std::uint32_t>(note.description, 20).value_or(0);
    info.pid = field<std::int32_t>(note.description, 24).value_or(0);
    info.ppid = field<std::int32_t>(note.description, 28).value_or(0);
    info.program = fixed_text(note.description, 40, 16);
    info.arguments = fixed_text(note.description, 56, 80);
    while (info.arguments.ends_with(' ')) info.arguments.pop_back();  // the kernel turns the last NUL into a blank
    notes_.process_info = std::move(info);
}

void NoteParser::take_signal(const Note& note) {
    auto info = parse_siginfo(note.description);
    if (!info) return report(ErrorKind::corrupt, fmt::format("NT_SIGINFO of only {} bytes", note.description.size()));
    ++signals_;
    if (ThreadState* owner = thread(); owner != nullptr && !owner->signal)
        owner->signal = *info;
    else
        report(ErrorKind::corrupt, "an NT_SIGINFO note that belongs to no thread");
}

void NoteParser::take_auxv(const Note& note) {
    if (!notes_.auxv.empty()) return report(ErrorKind::corrupt, "a second NT_AUXV note; the first one counts");
    ByteReader reader(note.description);
    while (reader.remaining() >= sizeof(AuxEntry)) {
        auto entry = reader.read<AuxEntry>();
        if (!entry || entry->type == AT_NULL) return;
        notes_.auxv.push_back(*entry);
    }
}

// fs/binfmt_elf.c, fill_files_note: long count, long page_size, count × {start, end, file_ofs in pages}, count ×
// NUL-terminated path.
void NoteParser::take_file_table(const Note& note) {
    if (notes_.saw_file_table) return report(ErrorKind::corrupt, "a second NT_FILE note; the first one counts");
    notes_.saw_file_table = true;
    struct Row {
        std::uint64_t start, end, page;
    };
    ByteReader reader(note.description);
    auto count = reader.read<std::uint64_t>(), page_size = reader.read<std::uint64_t>();
    if (!count || !page_size) return report(ErrorKind::corrupt, "NT_FILE is too short for its header");
    std::uint64_t promised = *count;
    std::uint64_t room = reader.remaining() / (sizeof(Row) + 1);  // every row needs a path of at least its NUL
    if (promised > room) {
        report(ErrorKind::corrupt, fmt::format("NT_FILE promises {} files and has room for {}", promised, room));
        // The paths stand after all promised rows: with a false count nobody knows where.
        return;
    }
    auto rows = reader.view(promised * sizeof(Row));
    if (!rows) return;
    ByteReader row_reader(*rows);
    std::size_t bad = 0;
    notes_.mapped_files.reserve(promised);
    for (std::uint64_t i = 0; i < promised; ++i) {
        auto row = row_reader.read<Row>();
        auto path = reader.view_cstring();
        if (!row || !path) {
            report(ErrorKind::corrupt,
                   fmt::format("NT_FILE ends in the middle of the path of file {} of {}", i + 1, promised));
            break;
        }
        std::uint64_t offset = 0;
        if (row->start >= row->end || row->end > end_of_memory.value ||
            __builtin_mul_overflow(row->page, *page_size, &offset)) {
            ++bad;
            continue;
        }
        MappedFile file{.range = {{row->start}, {row->end}}, .file_offset = offset, .path = std::string(*path)};
        constexpr std::string_view deleted = " (deleted)";
        if (file.path.ends_with(deleted)) {
            file.path.resize(file.path.size() - deleted.size());
            file.deleted = true;
        }
        notes_.mapped_files.push_back(std::move(file));
    }
    if (bad != 0)
        report(ErrorKind::corrupt, fmt::format("NT_FILE has {} whose range is impossible", count_of(bad, "row")));
}

void NoteParser::take_register_set(const Note& note, std::span<const std::byte> ThreadState::* set) {
    ThreadState* owner = thread();
    if (owner == nullptr || !(owner->*set).empty()) {
        ++short_sets_;
        return;
    }
    owner->*set = note.description;
}

void NoteParser::finish() {
    notes_.written_by_gcore = gdb_notes_ || signals_ > 1 || (process_info_first_ && !notes_.threads.empty());

    std::unordered_set<std::int32_t> seen;
    std::size_t before = notes_.threads.size();
    std::erase_if(notes_.threads, [&](const ThreadState& state) { return !seen.insert(state.tid).second; });
    duplicate_threads_ = before - notes_.threads.size();

    if (short_statuses_ != 0)
        report(ErrorKind::corrupt, fmt::format("{} shorter than the registers of {}",
                                               count_of(short_statuses_, "NT_PRSTATUS note"), machine_.name));
    if (duplicate_threads_ != 0)
        report(ErrorKind::corrupt,
               fmt::format("{} with the id of an earlier one", count_of(duplicate_threads_, "thread")));
    if (short_sets_ != 0)
        report(ErrorKind::corrupt,
               fmt::format("{} of no thread, or given twice", count_of(short_sets_, "register set")));
    if (notes_.threads.empty())
        report(ErrorKind::absent, delve_notes_ ? "no thread: written by `dlv dump`, whose own notes only delve reads"
                                               : "no thread: there is no usable NT_PRSTATUS note");
    if (notes_.auxv.empty()) report(ErrorKind::absent, "no auxiliary vector (NT_AUXV)");
    if (!notes_.saw_file_table) report(ErrorKind::absent, "no table of mapped files (NT_FILE)");
}

}  // namespace incident
