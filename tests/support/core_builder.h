// CoreBuilder: an ELF core written down literally, well-formed or wrong on purpose.
//
//     auto core = CoreBuilder().thread(4711, {{"rip", 0x401000}, {"rsp", 0x7ffc00000000}}, SIGSEGV)
//                     .fault_signal(SIGSEGV, SEGV_MAPERR, 0x18)
//                     .load(0x400000, bytes, PF_R | PF_X)
//                     .build();
//     auto opened = TemporaryFile(core).open_core();
//
// The file is laid out as the kernel does it: header, program headers, notes, then segments at multiples of 4096. What
// the builder cannot express is done to the finished headers (edit_header, edit_segments) or to the bytes of build().
// malformed_cores() is the named table of cores that are wrong; a new kind of wrongness goes there.
#pragma once

#include <elf.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/core_file.h"

namespace incident {

using Bytes = std::vector<std::byte>;

/// Little-endian bytes, appended one after the other.
class ByteWriter {
public:
    template <class T>
        requires std::is_trivially_copyable_v<T>
    ByteWriter& put(const T& value) {
        auto raw = std::as_bytes(std::span(&value, 1));
        bytes_.insert(bytes_.end(), raw.begin(), raw.end());
        return *this;
    }
    ByteWriter& put_bytes(std::span<const std::byte> raw) {
        bytes_.insert(bytes_.end(), raw.begin(), raw.end());
        return *this;
    }
    ByteWriter& put_text(std::string_view raw) { return put_bytes(std::as_bytes(std::span(raw.data(), raw.size()))); }
    ByteWriter& pad_to(std::size_t size) {
        if (bytes_.size() < size) bytes_.resize(size);
        return *this;
    }
    ByteWriter& align(std::size_t alignment) { return pad_to((bytes_.size() + alignment - 1) / alignment * alignment); }
    std::size_t size() const { return bytes_.size(); }
    Bytes take() { return std::move(bytes_); }

private:
    Bytes bytes_;
};

class CoreBuilder {
public:
    using RegisterValues = std::vector<std::pair<std::string_view, std::uint64_t>>;
    struct File {
        std::uint64_t begin, end, page;  ///< file offset in pages
        std::string path;
    };

    /// Notes go into the file in the order of the calls.
    CoreBuilder& thread(std::int32_t tid, const RegisterValues& registers = {}, int signal = 0);
    CoreBuilder& process_info(std::int32_t pid, std::string_view program, std::string_view arguments);
    CoreBuilder& fault_signal(int number, int code, std::uint64_t address);
    CoreBuilder& sent_signal(int number, int code, std::int32_t sender, std::uint32_t uid);
    CoreBuilder& auxv(const std::vector<std::pair<std::uint64_t, std::uint64_t>>& entries);
    CoreBuilder& files(const std::vector<File>& rows, std::uint64_t page_size = 4096);
    CoreBuilder& note(std::string_view owner, std::uint32_t type, std::span<const std::byte> description);
    /// Bytes among the notes as they are, wrong ones too.
    CoreBuilder& raw_notes(std::span<const std::byte> raw);

    /// `memory_size` 0: as long as the bytes. Returns after the last call of load() keep the order of the file.
    CoreBuilder& load(std::uint64_t address, std::span<const std::byte> bytes, std::uint32_t flags = PF_R | PF_W,
                      std::uint64_t memory_size = 0);

    CoreBuilder& edit_header(std::function<void(Elf64_Ehdr&)> edit);
    CoreBuilder& edit_segments(std::function<void(std::vector<Elf64_Phdr>&)> edit);  ///< [0] is the PT_NOTE
    /// Writes the number of segments into section header 0 at the end of the file, as the kernel does from 65535 on.
    CoreBuilder& extended_numbering();

    Bytes build() const;

private:
    struct Load {
        std::uint64_t address;
        Bytes bytes;
        std::uint32_t flags;
        std::uint64_t memory_size;
    };
    ByteWriter notes_;
    std::vector<Load> loads_;
    std::vector<std::function<void(Elf64_Ehdr&)>> header_edits_;
    std::vector<std::function<void(std::vector<Elf64_Phdr>&)>> segment_edits_;
    bool extended_numbering_ = false;
};

/// Bytes as an anonymous file that exists as long as this object: open it by path().
class TemporaryFile {
public:
    explicit TemporaryFile(std::span<const std::byte> bytes);
    explicit TemporaryFile(std::string_view text) : TemporaryFile(std::as_bytes(std::span(text.data(), text.size()))) {}
    TemporaryFile(TemporaryFile&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    TemporaryFile& operator=(TemporaryFile&&) = delete;
    ~TemporaryFile();

    int fd() const { return fd_; }
    std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }
    Result<CoreFile> open_core(const OpenOptions& options = {}) const { return CoreFile::open(path(), options); }

private:
    int fd_;
};

/// A small, sound kernel core of a process with three threads, ten mappings of every kind and 14 segments.
CoreBuilder realistic_core();

struct MalformedCore {
    std::string name;
    Bytes bytes;
    bool opens;        ///< false: open() must refuse it
    std::string says;  ///< part of the refusal, or of one line of damage(); empty: opens without damage
    friend void PrintTo(const MalformedCore& core, std::ostream* out) { *out << core.name; }
};
std::vector<MalformedCore> malformed_cores();

}  // namespace incident
