// What a file is, from its first bytes: the answer to "this is no core I can read".
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace incident {

/// Bytes from the front that describe_file_kind() would like to see (a tar header is the longest of them).
inline constexpr std::size_t file_kind_bytes = 512;

/// A noun phrase: "a text file", "an ELF executable, not a core", "an ELF core of aarch64".
std::string describe_file_kind(std::span<const std::byte> front);

/// "zstd", "xz", "lz4", "gzip", or "" when it is not compressed in a way we read.
std::string_view compression_of(std::span<const std::byte> front);

/// "x86-64", "aarch64", …, or "ELF machine 4711".
std::string elf_machine_name(std::uint16_t elf_machine);

}  // namespace incident
