// The notes of a core, parsed within bounds: threads with their registers, the signal, the auxiliary vector, the table
// of mapped files. What cannot be true is left out and named in `damage`.
#pragma once

#include <string>
#include <vector>

#include "core/core_file.h"

namespace incident {

/// One ELF note, its description in place.
struct Note {
    std::uint32_t type = 0;
    std::string_view owner;  ///< "CORE", "LINUX", "GDB"; without the NUL
    std::span<const std::byte> description;
};

/// Of the kernel's siginfo_t; its first 24 bytes do. nullopt: too short.
std::optional<SignalInfo> parse_siginfo(std::span<const std::byte> bytes);

struct CoreNotes {
    std::vector<ThreadState> threads;
    std::vector<MappedFile> mapped_files;
    std::vector<AuxEntry> auxv;
    std::optional<ProcessInfo> process_info;
    bool written_by_gcore = false;
    bool saw_file_table = false;
    std::string_view not_a_process;  ///< set when the notes show that this is another kind of core: what it is
};

/// Feed it the notes in file order; the order is information (who a note belongs to, and who wrote the core).
class NoteParser {
public:
    NoteParser(const Machine& machine, CoreNotes& notes, std::vector<Error>& damage)
        : machine_(machine), notes_(notes), damage_(damage) {}
    void take(const Note& note);
    void finish();

private:
    void take_prstatus(const Note& note);
    void take_process_info(const Note& note);
    void take_signal(const Note& note);
    void take_auxv(const Note& note);
    void take_file_table(const Note& note);
    void take_register_set(const Note& note, std::span<const std::byte> ThreadState::* set);
    void report(ErrorKind kind, std::string what);
    ThreadState* thread() { return current_ < notes_.threads.size() ? &notes_.threads[current_] : nullptr; }

    const Machine& machine_;
    CoreNotes& notes_;
    std::vector<Error>& damage_;
    std::size_t current_ = SIZE_MAX;  ///< thread that the following notes belong to
    std::size_t signals_ = 0;
    std::size_t duplicate_threads_ = 0, short_statuses_ = 0, short_sets_ = 0;
    bool process_info_first_ = false, gdb_notes_ = false, delve_notes_ = false;
};

}  // namespace incident
