// What findings tell alike, whoever finds: a place in the source, where a word came from, a frame as a snapshot, and
// how a person checks it with other tools.
//
// Surprising: the commands are to be pasted. File names are quoted for the shell; EXE stands for an executable that was
// not found, CORE for a core that no other tool could open (from stdin, or compressed: see unpack_check).
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "process/process.h"
#include "report/report.h"

namespace incident::detect {

/// "main.smash (frames.go:134)"; without a line the function alone; of a function without a name module and offset,
/// else the pc.
std::string place_in_source(const report::Frame& frame);
/// "an unknown function" for null.
std::string place_in_source(const report::Frame* frame);
/// Of stack.physical[physical], with what was inlined there.
std::string place_in_source(const go::GoStack& stack, std::size_t physical);
/// The frame whose function declares the variable at `at` of physical frame `physical`: of several that were inlined
/// into each other only one knows it. Null: there is none to show.
const report::Frame* frame_of_variable(const Process& process, const go::GoStack& stack, std::size_t physical,
                                       std::string_view name, Address at);
/// Of stack.physical[physical]: the function itself, not what was inlined into it; null: none.
const report::Frame* logical_frame(const go::GoStack& stack, std::size_t physical);
/// Of the Go runtime or of what locks and channels are made of: never where a person looks for the fault.
bool is_go_machinery(std::string_view function);

/// A finding shows few frames: more are left out. False: this one cannot be drawn, or there are enough.
bool add_snapshot(const Process& process, report::Finding& finding, const go::GoStack& stack, std::size_t frame,
                  std::optional<std::int64_t> goid);
/// Of stack.physical[physical].
bool add_frame_snapshot(const Process& process, report::Finding& finding, const go::GoStack& stack,
                        std::size_t physical, std::optional<std::int64_t> goid);
/// Of a frame of goroutines->all[goroutine].
bool add_frame_snapshot(const Process& process, report::Finding& finding, std::size_t goroutine, std::size_t physical);

/// Of a word that is text, as overruns leave it: ` = "t is too"`; empty: it is none.
std::string text_in(std::uint64_t word);

/// "core" or "file": where the bytes at `at` came from.
std::string origin_of(const Process& process, Address at);

/// "gdb EXE CORE -ex 'x/2gx 0x…'   # what to look for".
report::Verify gdb_check(const Process& process, std::initializer_list<std::string_view> commands,
                         std::string_view remark = {});
/// `words` words of 8 bytes.
report::Verify gdb_words(const Process& process, Address at, unsigned words, std::string_view remark = {});
/// Adds "dlv core EXE CORE   then: …": Delve needs DWARF.
void add_delve_check(const Process& process, report::Finding& finding, std::string_view command);
/// "incident COMMAND CORE EXE".
report::Verify incident_check(const Process& process, std::string_view command);
/// How the checks' CORE comes out of a compressed core; nullopt: it is none.
std::optional<report::Verify> unpack_check(const Process& process);

}  // namespace incident::detect
