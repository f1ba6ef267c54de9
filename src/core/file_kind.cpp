// Magic numbers. The only purpose is a message that tells the person what they gave us by mistake; a wrong guess here
// costs a word, never a result.
#include "core/file_kind.h"

#include <elf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/text.h"

namespace incident {

namespace {

using namespace std::string_view_literals;

struct Magic {
    std::size_t offset;
    std::string_view bytes;
    std::string_view name;
};

constexpr Magic magics[] = {
    {0, "MDMP"sv, "a Windows or Breakpad minidump"},
    {0, "PAGEDU"sv, "a Windows crash dump"},
    {0, "\xcf\xfa\xed\xfe"sv, "a Mach-O file (macOS)"},
    {0, "\xce\xfa\xed\xfe"sv, "a Mach-O file (macOS, 32-bit)"},
    {0, "\xca\xfe\xba\xbe"sv, "a Mach-O universal binary or a Java class"},
    {0, "MZ"sv, "a Windows executable"},
    {0, "KDUMP   "sv, "a kernel crash dump (kdump)"},
    {0, "makedumpfile"sv, "a kernel crash dump (flattened makedumpfile)"},
    {0, "PERFILE2"sv, "a perf.data file"},
    {0, "JAVA PROFILE"sv, "a Java heap dump"},
    {0, "go1."sv, "a Go heap dump or execution trace"},
    {0, "go 1."sv, "a Go heap dump or execution trace"},
    {0, "Obj\x01"sv, "an Avro file"},
    {0, "SQLite format 3"sv, "an SQLite database"},
    {0, "!<arch>\n"sv, "an archive of object files or a Debian package"},
    {0, "PK\x03\x04"sv, "a zip archive"},
    {0, "7z\xbc\xaf\x27\x1c"sv, "a 7z archive"},
    {0, "BZh"sv, "compressed with bzip2, which is not read; decompress it first"},
    {0, "\x1f\x9d"sv, "compressed with compress(1), which is not read; decompress it first"},
    {0, "\x02\x21\x4c\x18"sv, "compressed with the old lz4 -l format, which is not read; decompress it first"},
    {0, "\x89PNG"sv, "a PNG image"},
    {0, "%PDF"sv, "a PDF document"},
    {0, "LPKSHHRH"sv, "a systemd journal file; write the core out with coredumpctl dump"},
    {0, "OBSCPIO"sv, "a cpio archive"},
    {0, "070701"sv, "a cpio archive"},
    {257, "ustar"sv, "a tar archive; take the core out of it first"},
};

bool has_magic(std::span<const std::byte> front, std::size_t offset, std::string_view magic) {
    return front.size() >= offset + magic.size() && std::memcmp(front.data() + offset, magic.data(), magic.size()) == 0;
}

bool looks_like_text(std::span<const std::byte> front) {
    bool printable = std::ranges::all_of(front, [](std::byte b) {
        auto c = std::to_integer<unsigned>(b);
        return c >= 0x20 ? c != 0x7f : c == '\n' || c == '\r' || c == '\t' || c == '\f' || c == '\b' || c == 0x1b;
    });
    std::string_view text(reinterpret_cast<const char*>(front.data()), front.size());
    for (std::size_t cut = 0; printable && cut < 4 && cut < text.size(); ++cut)  // we may have cut a character in two
        if (is_valid_utf8(text.substr(0, text.size() - cut))) return true;
    return false;
}

std::string describe_elf(std::span<const std::byte> front) {
    if (front.size() < sizeof(Elf32_Ehdr)) return "the first bytes of an ELF file, cut off before its header ends";
    auto at = [&](std::size_t i) { return std::to_integer<unsigned>(front[i]); };
    bool big_endian = at(EI_DATA) == ELFDATA2MSB;
    auto half = [&](std::size_t i) {
        return static_cast<std::uint16_t>(big_endian ? at(i) << 8 | at(i + 1) : at(i + 1) << 8 | at(i));
    };
    if (at(EI_CLASS) != ELFCLASS32 && at(EI_CLASS) != ELFCLASS64) return "a damaged ELF file";
    std::string machine = elf_machine_name(half(18));
    if (at(EI_CLASS) == ELFCLASS32) machine += ", 32-bit";
    if (big_endian) machine += ", big-endian";
    switch (half(16)) {
        case ET_CORE: return fmt::format("an ELF core of {}; only 64-bit x86-64 cores of Linux are read", machine);
        case ET_EXEC: return fmt::format("an ELF executable ({}), not a core", machine);
        case ET_DYN: return fmt::format("an ELF executable or shared library ({}), not a core", machine);
        case ET_REL: return fmt::format("an ELF object file ({}), not a core", machine);
        default: return fmt::format("an ELF file of unknown type {} ({})", half(16), machine);
    }
}

}  // namespace

std::string elf_machine_name(std::uint16_t elf_machine) {
    switch (elf_machine) {
        case EM_X86_64: return "x86-64";
        case EM_386: return "i386";
        case EM_AARCH64: return "aarch64";
        case EM_ARM: return "arm";
        case EM_PPC64: return "ppc64";
        case EM_PPC: return "ppc";
        case EM_S390: return "s390x";
        case EM_RISCV: return "riscv";
        case EM_MIPS: return "mips";
        case EM_SPARCV9: return "sparc64";
        case 258: return "loongarch";
        case EM_ALPHA: return "alpha";
        case EM_IA_64: return "ia64";
        case EM_68K: return "m68k";
        default: return fmt::format("ELF machine {}", elf_machine);
    }
}

std::string_view compression_of(std::span<const std::byte> front) {
    if (has_magic(front, 0, "\x28\xb5\x2f\xfd"sv)) return "zstd";
    if (has_magic(front, 1, "\x2a\x4d\x18"sv) && (std::to_integer<unsigned>(front[0]) & 0xf0) == 0x50)
        return "zstd";  // a skippable frame first: pzstd, seekable zstd
    if (has_magic(front, 0, "\xfd\x37zXZ\0"sv)) return "xz";
    if (has_magic(front, 0, "\x04\x22\x4d\x18"sv)) return "lz4";
    if (has_magic(front, 0, "\x1f\x8b"sv)) return "gzip";
    return {};
}

std::string describe_file_kind(std::span<const std::byte> front) {
    if (front.empty()) return "an empty file";
    if (has_magic(front, 0, ELFMAG)) return describe_elf(front);
    for (const auto& magic : magics)
        if (has_magic(front, magic.offset, magic.bytes)) return std::string(magic.name);
    if (auto method = compression_of(front); !method.empty()) return fmt::format("compressed with {}", method);
    // gcore writes the ELF header last: a full disk or a kill leaves memory behind a header of zeros.
    if (std::ranges::all_of(front.first(std::min<std::size_t>(front.size(), sizeof(Elf64_Ehdr))),
                            [](std::byte b) { return b == std::byte{0}; }))
        return "a file that begins with zeros: a core whose writing was never finished, perhaps";
    if (has_magic(front, 0, "#!"sv)) return "a script";
    if (looks_like_text(front)) return "a text file";
    return "a file of unknown type (it begins with " + [&] {
        std::string words;
        for (std::size_t i = 0; i < std::min<std::size_t>(front.size(), 4); ++i)
            words += fmt::format("{}{:02x}", i == 0 ? "" : " ", std::to_integer<unsigned>(front[i]));
        return words;
    }() + ")";
}

}  // namespace incident
