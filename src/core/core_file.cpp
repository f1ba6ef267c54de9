// CoreFile: map the file, let libelf read headers and notes, and compare what they promise with the bytes that are
// there.
//
// Surprising: libelf refuses a whole file when its section headers lie beyond the end, which is the normal state of a
// truncated gcore core. A core's sections say nothing that its segments do not (but for the segment count beyond
// 65534), so libelf sees the header with its section fields blanked: in our private copy of the first page, for the
// time of the parse. Program headers are read through elf_getdata_rawchunk, because their number is known only to us.
#include "core/core_file.h"

#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <gelf.h>
#include <libelf.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <numeric>

#include "base/text.h"
#include "core/file_kind.h"
#include "core/limits.h"
#include "core/notes.h"
#include "core/spool.h"

namespace incident {

namespace {

/// No user mapping is larger; whoever claims more lies.
constexpr std::uint64_t largest_segment = 1ull << 57;
constexpr std::size_t most_notes = 16u << 20;

/// The file's bytes, mapped privately.
struct Mapping {
    std::byte* data = nullptr;
    std::uint64_t size = 0;

    Mapping() = default;
    Mapping(Mapping&& other) noexcept : data(std::exchange(other.data, nullptr)), size(std::exchange(other.size, 0)) {}
    Mapping& operator=(Mapping&&) = delete;
    ~Mapping() {
        if (data != nullptr) ::munmap(data, size);
    }
    std::span<const std::byte> bytes() const { return {data, size}; }
};

struct ElfCloser {
    void operator()(Elf* elf) const { ::elf_end(elf); }
};
using ElfHandle = std::unique_ptr<Elf, ElfCloser>;

}  // namespace

struct CoreFile::State {
    std::string path, compression;
    bool from_stdin = false;
    std::uint64_t given_size = 0;
    Mapping file;
    const Machine* machine = nullptr;
    CoreNotes notes;
    std::vector<LoadSegment> loads;
    std::optional<Truncation> truncation;
    std::vector<Error> damage;

    Result<void> parse();
    Result<void> parse_headers(const Elf64_Ehdr& header);
    std::vector<Elf64_Phdr> read_program_headers(Elf* elf, const Elf64_Ehdr& header);
    std::uint64_t count_program_headers(const Elf64_Ehdr& header);
    void parse_notes(Elf* elf, const Elf64_Phdr& segment, NoteParser& parser);
    void add_load(const Elf64_Phdr& segment, std::size_t index);
    void judge_size();
    void report(ErrorKind kind, std::string what) { damage.push_back({kind, std::move(what)}); }

    std::uint64_t promised_end = 0;  ///< end of the last byte that any header speaks of
    std::optional<Error> cut;        ///< why decompression ended early
};

Result<void> CoreFile::State::parse() {
    auto front = file.bytes().first(std::min<std::uint64_t>(file.size, file_kind_bytes));
    auto is_not = [&] {
        return fail(ErrorKind::unsupported, fmt::format("{} is {}", path, describe_file_kind(front)));
    };
    if (front.size() < sizeof(Elf64_Ehdr) || std::memcmp(front.data(), ELFMAG, SELFMAG) != 0) return is_not();
    Elf64_Ehdr header;
    std::memcpy(&header, front.data(), sizeof header);
    if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB) return is_not();
    if (header.e_type != ET_CORE) return is_not();
    machine = find_machine(header.e_machine);
    if (machine == nullptr) return is_not();
    return parse_headers(header);
}

Result<void> CoreFile::State::parse_headers(const Elf64_Ehdr& header) {
    ::elf_version(EV_CURRENT);
    Elf64_Ehdr blanked = header;
    blanked.e_shoff = 0;
    blanked.e_shnum = blanked.e_shentsize = blanked.e_shstrndx = 0;
    std::size_t page = std::min<std::uint64_t>(file.size, static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)));
    if (::mprotect(file.data, page, PROT_READ | PROT_WRITE) != 0)
        return fail(ErrorKind::io, fmt::format("cannot map {}: {}", path, std::strerror(errno)));
    std::memcpy(file.data, &blanked, sizeof blanked);

    promised_end = sizeof header;
    NoteParser parser(*machine, notes, damage);
    ElfHandle elf(::elf_memory(reinterpret_cast<char*>(file.data), file.size));
    Result<void> outcome;
    if (elf == nullptr || ::elf_kind(elf.get()) != ELF_K_ELF) {
        outcome = fail(ErrorKind::corrupt, fmt::format("{}: {}", path, ::elf_errmsg(-1)));
    } else {
        auto segments = read_program_headers(elf.get(), header);
        for (std::size_t i = 0; i < segments.size(); ++i) {
            if (segments[i].p_type == PT_NOTE)
                parse_notes(elf.get(), segments[i], parser);
            else if (segments[i].p_type == PT_LOAD)
                add_load(segments[i], i);
        }
    }
    elf.reset();
    std::memcpy(file.data, &header, sizeof header);
    ::mprotect(file.data, page, PROT_READ);
    if (!outcome) return outcome;
    if (!notes.not_a_process.empty())
        return fail(ErrorKind::unsupported, fmt::format("{} is {}", path, notes.not_a_process));
    parser.finish();
    judge_size();
    return {};
}

/// With 65535 segments or more e_phnum is PN_XNUM and the number stands in section header 0, which the kernel writes
/// last: a truncated core has lost it. Then the first note tells: the kernel puts it right behind the program headers.
std::uint64_t CoreFile::State::count_program_headers(const Elf64_Ehdr& header) {
    if (header.e_phnum != PN_XNUM) return header.e_phnum;
    if (header.e_shoff <= file.size && file.size - header.e_shoff >= sizeof(Elf64_Shdr) && header.e_shoff != 0) {
        Elf64_Shdr first;
        std::memcpy(&first, file.data + header.e_shoff, sizeof first);
        if (first.sh_info >= PN_XNUM) return first.sh_info;
    }
    Elf64_Phdr note;
    if (header.e_phoff <= file.size && file.size - header.e_phoff >= sizeof note) {
        std::memcpy(&note, file.data + header.e_phoff, sizeof note);
        if (note.p_type == PT_NOTE && note.p_offset > header.e_phoff)
            return std::max<std::uint64_t>(PN_XNUM, (note.p_offset - header.e_phoff) / sizeof note);
    }
    return PN_XNUM;
}

std::vector<Elf64_Phdr> CoreFile::State::read_program_headers(Elf* elf, const Elf64_Ehdr& header) {
    std::uint64_t promised = count_program_headers(header);
    if (promised == 0 || header.e_phoff == 0) {
        report(ErrorKind::corrupt, "the ELF header names no program headers: nothing of the process is in this file");
        return {};
    }
    if (header.e_phentsize != sizeof(Elf64_Phdr)) {
        report(ErrorKind::corrupt,
               fmt::format("program headers of {} bytes instead of {}", header.e_phentsize, sizeof(Elf64_Phdr)));
        return {};
    }
    std::uint64_t end = 0;
    if (__builtin_add_overflow(header.e_phoff, promised * sizeof(Elf64_Phdr), &end)) {
        report(ErrorKind::corrupt, "the program headers lie beyond any file");
        return {};
    }
    promised_end = std::max(promised_end, end);
    std::uint64_t held =
        header.e_phoff >= file.size ? 0 : std::min(promised, (file.size - header.e_phoff) / sizeof(Elf64_Phdr));
    if (held < promised)
        report(ErrorKind::truncated, fmt::format("only {} of {} program headers are in the file", held, promised));
    if (held == 0) return {};
    Elf_Data* data =
        ::elf_getdata_rawchunk(elf, static_cast<std::int64_t>(header.e_phoff), held * sizeof(Elf64_Phdr), ELF_T_PHDR);
    if (data == nullptr || data->d_buf == nullptr) {
        report(ErrorKind::corrupt, fmt::format("program headers: {}", ::elf_errmsg(-1)));
        return {};
    }
    std::vector<Elf64_Phdr> segments(std::min<std::size_t>(held, data->d_size / sizeof(Elf64_Phdr)));
    std::memcpy(segments.data(), data->d_buf, segments.size() * sizeof(Elf64_Phdr));
    return segments;
}

void CoreFile::State::parse_notes(Elf* elf, const Elf64_Phdr& segment, NoteParser& parser) {
    if (segment.p_filesz == 0) return;
    std::uint64_t end = 0;
    if (__builtin_add_overflow(segment.p_offset, segment.p_filesz, &end) || segment.p_filesz > largest_segment)
        return report(ErrorKind::corrupt, fmt::format("a note segment of {} bytes", segment.p_filesz));
    promised_end = std::max(promised_end, end);
    std::uint64_t held = segment.p_offset >= file.size ? 0 : std::min(segment.p_filesz, file.size - segment.p_offset);
    if (held < segment.p_filesz)
        report(ErrorKind::truncated,
               fmt::format("{} of {} bytes of the notes (threads, registers, mapped files) are cut off",
                           segment.p_filesz - held, segment.p_filesz));
    if (held == 0) return;
    Elf_Data* data = ::elf_getdata_rawchunk(elf, static_cast<std::int64_t>(segment.p_offset), held,
                                            segment.p_align == 8 ? ELF_T_NHDR8 : ELF_T_NHDR);
    if (data == nullptr) return report(ErrorKind::corrupt, fmt::format("notes: {}", ::elf_errmsg(-1)));
    const std::byte* base = file.data + segment.p_offset;  // the bytes in our mapping: data->d_buf may be libelf's copy
    GElf_Nhdr note{};
    std::size_t name = 0, description = 0, at = 0, count = 0;
    while (at < held) {
        std::size_t next = ::gelf_getnote(data, at, &note, &name, &description);
        if (next == 0) {
            if (held == segment.p_filesz)
                report(ErrorKind::corrupt, fmt::format("the note at byte {} of the file runs over the end of the notes",
                                                       segment.p_offset + at));
            return;
        }
        if (++count > most_notes)
            return report(ErrorKind::corrupt, "more notes than any process can have; the rest is not read");
        std::string_view owner(reinterpret_cast<const char*>(base + name), note.n_namesz);
        parser.take({note.n_type, owner.substr(0, owner.find('\0')), {base + description, note.n_descsz}});
        at = next;
    }
}

void CoreFile::State::add_load(const Elf64_Phdr& segment, std::size_t index) {
    LoadSegment load{.file_offset = segment.p_offset,
                     .file_size = segment.p_filesz,
                     .permissions = static_cast<std::uint8_t>(segment.p_flags & (PF_R | PF_W | PF_X))};
    std::uint64_t end = 0, file_end = 0;
    if (segment.p_memsz > largest_segment || segment.p_filesz > largest_segment)
        return report(ErrorKind::corrupt, fmt::format("segment {} claims {:#x} bytes; left out", index,
                                                      std::max(segment.p_memsz, segment.p_filesz)));
    std::uint64_t size = std::max(segment.p_memsz, segment.p_filesz);
    if (segment.p_filesz > segment.p_memsz && segment.p_memsz != 0)
        report(ErrorKind::corrupt, fmt::format("segment {} has more bytes in the file ({:#x}) than in memory ({:#x})",
                                               index, segment.p_filesz, segment.p_memsz));
    if (segment.p_memsz != 0) size = segment.p_memsz;
    if (__builtin_add_overflow(segment.p_vaddr, size, &end) || end > end_of_memory.value) {
        end = std::max(end_of_memory.value, segment.p_vaddr);
        report(ErrorKind::corrupt, fmt::format("segment {} reaches the end of the address space; clipped", index));
    }
    load.range = {{segment.p_vaddr}, {end}};
    load.file_size = std::min(load.file_size, load.range.size());
    if (__builtin_add_overflow(segment.p_offset, load.file_size, &file_end)) {
        report(ErrorKind::corrupt, fmt::format("segment {} lies beyond any file; its bytes are left out", index));
        load.file_size = 0;
        file_end = 0;
    }
    if (load.range.empty()) return;
    if (load.file_size != 0) {
        promised_end = std::max(promised_end, file_end);
        std::uint64_t held = load.file_offset >= file.size ? 0 : std::min(load.file_size, file.size - load.file_offset);
        load.lost = load.file_size - held;
    }
    loads.push_back(load);
}

void CoreFile::State::judge_size() {
    if (promised_end <= file.size) {
        if (cut) damage.push_back(*cut);  // only what stands behind the core was lost: a checksum, say
        return;
    }
    truncation = {.at = file.size, .missing_bytes = promised_end - file.size};
    std::uint64_t lost = 0;
    std::size_t whole = 0, partly = 0;
    for (const auto& load : loads) {
        lost += load.lost;
        if (load.lost != 0) ++(load.lost == load.file_size ? whole : partly);
    }
    std::string text =
        fmt::format("the core is cut at byte {}: {} missing", file.size, human_size(truncation->missing_bytes));
    if (whole + partly != 0)
        text += fmt::format("; {} of memory lost ({} whole, {} in part)", human_size(lost), count_of(whole, "region"),
                            partly);
    if (cut) text += "; " + cut->what;
    report(ErrorKind::truncated, std::move(text));
}

CoreFile::CoreFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
CoreFile::CoreFile(CoreFile&&) noexcept = default;
CoreFile& CoreFile::operator=(CoreFile&&) noexcept = default;
CoreFile::~CoreFile() = default;

Result<CoreFile> CoreFile::open(const std::string& path, const OpenOptions& options) {
    auto input = TRY(open_input(path, options));
    auto state = std::make_unique<State>();
    state->from_stdin = path == "-";
    state->path = state->from_stdin ? "standard input" : path;
    state->compression = input.compression;
    state->given_size = input.given_size;
    state->cut = std::move(input.cut);
    if (input.size == 0) return fail(ErrorKind::unsupported, fmt::format("{} is an empty file", state->path));
    void* data = ::mmap(nullptr, input.size, PROT_READ, MAP_PRIVATE | MAP_NORESERVE, input.file.get(), 0);
    if (data == MAP_FAILED)
        return fail(ErrorKind::io, fmt::format("cannot map {}: {}", state->path, std::strerror(errno)));
    state->file.data = static_cast<std::byte*>(data);
    state->file.size = input.size;
    TRY(state->parse());
    return CoreFile(std::move(state));
}

void CoreFile::expect_reading_all() const noexcept {
    ::madvise(const_cast<std::byte*>(state_->file.data), state_->file.size, MADV_HUGEPAGE);
}

const std::string& CoreFile::path() const { return state_->path; }
bool CoreFile::from_stdin() const { return state_->from_stdin; }
const std::string& CoreFile::compression() const { return state_->compression; }
std::uint64_t CoreFile::size() const { return state_->given_size; }
const Machine& CoreFile::machine() const { return *state_->machine; }
std::span<const ThreadState> CoreFile::threads() const { return state_->notes.threads; }
std::span<const MappedFile> CoreFile::mapped_files() const { return state_->notes.mapped_files; }
std::span<const LoadSegment> CoreFile::load_segments() const { return state_->loads; }
std::span<const AuxEntry> CoreFile::auxv() const { return state_->notes.auxv; }
const std::optional<ProcessInfo>& CoreFile::process_info() const { return state_->notes.process_info; }
bool CoreFile::written_by_gcore() const { return state_->notes.written_by_gcore; }
const std::optional<CoreFile::Truncation>& CoreFile::truncation() const { return state_->truncation; }
std::span<const Error> CoreFile::damage() const { return state_->damage; }

std::optional<std::uint64_t> CoreFile::aux(std::uint64_t type) const {
    for (const auto& entry : state_->notes.auxv)
        if (entry.type == type) return entry.value;
    return std::nullopt;
}

void CoreFile::fill(Memory& memory) const {
    for (const auto& load : state_->loads) {
        std::uint64_t held = load.file_size - load.lost;
        Address held_end = load.range.begin + held, dumped_end = load.range.begin + load.file_size;
        if (held != 0)
            memory.add(
                {{load.range.begin, held_end}, state_->file.data + load.file_offset, Origin::core, load.permissions});
        if (load.lost != 0) memory.add_missing({{held_end, dumped_end}, ErrorKind::truncated});
        if (dumped_end < load.range.end) memory.add_missing({{dumped_end, load.range.end}, ErrorKind::absent});
    }
}

}  // namespace incident
