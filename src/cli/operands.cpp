#include "cli/operands.h"

#include <elf.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <span>

namespace incident::cli {

namespace {

constexpr std::array<std::string_view, 4> compressed_magics{
    "\x28\xb5\x2f\xfd",  // zstd
    std::string_view("\xfd"
                     "7zXZ\0",
                     6),
    "\x04\x22\x4d\x18",  // lz4 frame
    "\x1f\x8b",          // gzip
};

bool exists(const std::string& path) {
    std::error_code error;
    return std::filesystem::exists(path, error);
}

std::size_t numbers_of(Extra extra) {
    switch (extra) {
        case Extra::none: return 0;
        case Extra::goroutine_id:
        case Extra::thread_id:
        case Extra::address: return 1;
        case Extra::address_and_count: return 2;
    }
    return 0;
}

std::string_view number_name(Extra extra) {
    switch (extra) {
        case Extra::goroutine_id: return "a goroutine ID";
        case Extra::thread_id: return "a thread ID";
        default: return "an address";
    }
}

/// Why file_kind() says so. Core files are often their owner's alone.
std::string why_unreadable(const std::string& path) {
    errno = 0;
    std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rbe"), &std::fclose);
    if (file) std::fgetc(file.get());
    return errno != 0 ? std::strerror(errno) : "it changed meanwhile";
}

}  // namespace

FileKind file_kind(const std::string& path) {
    if (path == "-") return FileKind::core;
    // A directory opens, and then fails to read: that is "unreadable" too.
    std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rbe"), &std::fclose);
    if (!file) return FileKind::unreadable;
    std::array<char, 20> head{};
    std::size_t size = std::fread(head.data(), 1, head.size(), file.get());
    if (size == 0 && std::ferror(file.get()) != 0) return FileKind::unreadable;
    std::string_view bytes(head.data(), size);
    for (auto magic : compressed_magics)
        if (bytes.starts_with(magic)) return FileKind::core;
    if (size < 18 || !bytes.starts_with(ELFMAG)) return FileKind::other;
    bool little = head[EI_DATA] != ELFDATA2MSB;
    auto low = static_cast<unsigned char>(head[little ? 16 : 17]),
         high = static_cast<unsigned char>(head[little ? 17 : 16]);
    return (high << 8 | low) == ET_CORE ? FileKind::core : FileKind::elf_other;
}

std::optional<std::uint64_t> parse_number(std::string_view text, bool bare_hex) {
    int base = 10;
    if (text.starts_with("0x") || text.starts_with("0X")) {
        base = 16;
        text.remove_prefix(2);
    } else if (bare_hex && text.size() >= 6 && text.find_first_of("abcdefABCDEF") != std::string_view::npos) {
        base = 16;
    }
    std::uint64_t value = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
    return value;
}

std::optional<std::uint64_t> parse_size(std::string_view text) {
    if (text.ends_with("iB"))
        text.remove_suffix(2);
    else if (text.size() > 1 && text.ends_with("B"))
        text.remove_suffix(1);
    unsigned shift = 0;
    if (!text.empty()) {
        switch (text.back()) {
            case 'k':
            case 'K': shift = 10; break;
            case 'M': shift = 20; break;
            case 'G': shift = 30; break;
            case 'T': shift = 40; break;
            default: break;
        }
        if (shift != 0) text.remove_suffix(1);
    }
    auto value = parse_number(text, false);
    if (!value || *value > (UINT64_MAX >> shift)) return std::nullopt;
    return *value << shift;
}

std::expected<Operands, std::string> sort_operands(const CommandRow& command, const std::vector<std::string>& words) {
    const std::size_t wanted = numbers_of(command.extra);
    const bool is_address = command.extra == Extra::address || command.extra == Extra::address_and_count;
    Operands out;

    // The first word is always a file. A later word is a number if it reads as one, unless that gives more numbers than
    // the command takes: then the first of them that names an existing file is that file (a core file may be called
    // "4711").
    std::vector<std::string> files;
    std::vector<std::pair<std::string, std::uint64_t>> numbers;
    for (const auto& word : words) {
        auto value = wanted == 0 || files.empty() ? std::nullopt : parse_number(word, is_address && !exists(word));
        if (value)
            numbers.emplace_back(word, *value);
        else
            files.push_back(word);
    }
    while (numbers.size() > wanted) {
        auto file = std::ranges::find_if(numbers, [](const auto& n) { return exists(n.first); });
        if (file == numbers.end()) file = numbers.end() - 1;
        files.push_back(file->first);
        numbers.erase(file);
    }
    if (files.empty()) return std::unexpected(fmt::format("usage: incident {} {}", command.name, command.usage));
    if (files.size() > 2) {
        return std::unexpected(fmt::format("{}: too many operands: '{}' is one too many (usage: incident {} {})",
                                           command.name, files[2], command.name, command.usage));
    }
    if (wanted > 0 && numbers.empty()) {
        auto bad = files.size() == 2 && !exists(files[1]) ? fmt::format(", and '{}' is none", files[1]) : std::string();
        return std::unexpected(fmt::format("{} needs {}{} (usage: incident {} {})", command.name,
                                           number_name(command.extra), bad, command.name, command.usage));
    }
    if (!numbers.empty()) out.number = numbers[0].second;
    if (numbers.size() > 1) out.count = numbers[1].second;

    out.core = files[0];
    if (files.size() == 1) return out;
    out.exe = files[1];
    auto first = file_kind(files[0]), second = file_kind(files[1]);
    for (const auto& [kind, path] : {std::pair{first, files[0]}, std::pair{second, files[1]}})
        if (kind == FileKind::unreadable)
            return std::unexpected(fmt::format("cannot read {}: {}", path, why_unreadable(path)));
    if (first == FileKind::core && second == FileKind::core)
        return std::unexpected(fmt::format(
            "{} and {} are both core files: give one core and, if you like, its executable", files[0], files[1]));
    if (first == FileKind::core) return out;
    // Neither a core: the one that is at least no executable is what the user meant as the core; opening it says what
    // it is.
    if (second == FileKind::core || (first == FileKind::elf_other && second == FileKind::other))
        std::swap(out.core, out.exe);
    return out;
}

}  // namespace incident::cli
