#include "support/core_builder.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "core/machine.h"

namespace incident {

namespace {
constexpr std::size_t page = 4096;
}

CoreBuilder& CoreBuilder::thread(std::int32_t tid, const RegisterValues& registers, int signal) {
    const Machine& machine = x86_64();
    Bytes status(machine.prstatus_size);
    auto put = [&](std::size_t offset, auto value) { std::memcpy(status.data() + offset, &value, sizeof value); };
    put(0, static_cast<std::int32_t>(signal));
    put(12, static_cast<std::int16_t>(signal));
    put(32, tid);
    for (const auto& [name, value] : registers) {
        auto row = std::ranges::find(machine.registers, name, &RegisterRow::name);
        if (row == machine.registers.end()) throw std::logic_error("no register " + std::string(name));
        put(machine.prstatus_reg_offset + std::size_t{row->prstatus_offset}, value);
    }
    return note("CORE", NT_PRSTATUS, status);
}

CoreBuilder& CoreBuilder::process_info(std::int32_t pid, std::string_view program, std::string_view arguments) {
    Bytes info(136);
    std::memcpy(info.data() + 24, &pid, sizeof pid);
    std::memcpy(info.data() + 40, program.data(), std::min<std::size_t>(program.size(), 15));
    std::memcpy(info.data() + 56, arguments.data(), std::min<std::size_t>(arguments.size(), 79));
    return note("CORE", NT_PRPSINFO, info);
}

CoreBuilder& CoreBuilder::fault_signal(int number, int code, std::uint64_t address) {
    ByteWriter info;
    info.put(number).put(0).put(code).put(0).put(address).pad_to(128);
    return note("CORE", NT_SIGINFO, info.take());
}

CoreBuilder& CoreBuilder::sent_signal(int number, int code, std::int32_t sender, std::uint32_t uid) {
    ByteWriter info;
    info.put(number).put(0).put(code).put(0).put(sender).put(uid).pad_to(128);
    return note("CORE", NT_SIGINFO, info.take());
}

CoreBuilder& CoreBuilder::auxv(const std::vector<std::pair<std::uint64_t, std::uint64_t>>& entries) {
    ByteWriter vector;
    for (const auto& [type, value] : entries) vector.put(type).put(value);
    vector.put(std::uint64_t{AT_NULL}).put(std::uint64_t{0});
    return note("CORE", NT_AUXV, vector.take());
}

CoreBuilder& CoreBuilder::files(const std::vector<File>& rows, std::uint64_t page_size) {
    ByteWriter table;
    table.put(static_cast<std::uint64_t>(rows.size())).put(page_size);
    for (const auto& row : rows) table.put(row.begin).put(row.end).put(row.page);
    for (const auto& row : rows) table.put_text(row.path).put('\0');
    return note("CORE", NT_FILE, table.take());
}

CoreBuilder& CoreBuilder::note(std::string_view owner, std::uint32_t type, std::span<const std::byte> description) {
    notes_.put(static_cast<std::uint32_t>(owner.size() + 1))
        .put(static_cast<std::uint32_t>(description.size()))
        .put(type);
    notes_.put_text(owner).put('\0').align(4).put_bytes(description).align(4);
    return *this;
}

CoreBuilder& CoreBuilder::raw_notes(std::span<const std::byte> raw) {
    notes_.put_bytes(raw);
    return *this;
}

CoreBuilder& CoreBuilder::load(std::uint64_t address, std::span<const std::byte> bytes, std::uint32_t flags,
                               std::uint64_t memory_size) {
    loads_.push_back(
        {address, Bytes(bytes.begin(), bytes.end()), flags, memory_size != 0 ? memory_size : bytes.size()});
    return *this;
}

CoreBuilder& CoreBuilder::edit_header(std::function<void(Elf64_Ehdr&)> edit) {
    header_edits_.push_back(std::move(edit));
    return *this;
}

CoreBuilder& CoreBuilder::edit_segments(std::function<void(std::vector<Elf64_Phdr>&)> edit) {
    segment_edits_.push_back(std::move(edit));
    return *this;
}

CoreBuilder& CoreBuilder::extended_numbering() {
    extended_numbering_ = true;
    return *this;
}

Bytes CoreBuilder::build() const {
    Elf64_Ehdr header{};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_ident[EI_VERSION] = EV_CURRENT;
    header.e_type = ET_CORE;
    header.e_machine = EM_X86_64;
    header.e_version = EV_CURRENT;
    header.e_ehsize = sizeof header;
    header.e_phoff = sizeof header;
    header.e_phentsize = sizeof(Elf64_Phdr);
    std::size_t count = loads_.size() + 1;
    header.e_phnum = static_cast<Elf64_Half>(extended_numbering_ ? PN_XNUM : count);

    Bytes notes = ByteWriter(notes_).take();
    std::size_t offset = sizeof header + count * sizeof(Elf64_Phdr);
    std::vector<Elf64_Phdr> segments;
    segments.push_back({.p_type = PT_NOTE, .p_offset = offset, .p_filesz = notes.size(), .p_align = 4});
    std::size_t end = offset + notes.size();
    for (const auto& load : loads_) {
        offset = (end + page - 1) / page * page;
        segments.push_back({.p_type = PT_LOAD,
                            .p_flags = load.flags,
                            .p_offset = offset,
                            .p_vaddr = load.address,
                            .p_filesz = load.bytes.size(),
                            .p_memsz = load.memory_size,
                            .p_align = page});
        end = offset + load.bytes.size();
    }
    auto edited = segments;
    for (const auto& edit : segment_edits_) edit(edited);
    if (extended_numbering_) {
        header.e_shoff = end;
        header.e_shnum = 1;
        header.e_shentsize = sizeof(Elf64_Shdr);
    }
    for (const auto& edit : header_edits_) edit(header);

    ByteWriter out;
    out.put(header);
    for (std::size_t i = 0; i < count; ++i) out.put(i < edited.size() ? edited[i] : Elf64_Phdr{});
    out.put_bytes(notes);
    for (std::size_t i = 0; i < loads_.size(); ++i) out.pad_to(segments[i + 1].p_offset).put_bytes(loads_[i].bytes);
    if (extended_numbering_) out.put(Elf64_Shdr{.sh_size = 1, .sh_info = static_cast<Elf64_Word>(count)});
    return out.take();
}

TemporaryFile::TemporaryFile(std::span<const std::byte> bytes) : fd_(::memfd_create("core", MFD_CLOEXEC)) {
    if (fd_ < 0) throw std::runtime_error("memfd_create failed");
    while (!bytes.empty()) {
        ssize_t count = ::write(fd_, bytes.data(), bytes.size());
        if (count <= 0) throw std::runtime_error("cannot write a temporary file");
        bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
}

TemporaryFile::~TemporaryFile() {
    if (fd_ >= 0) ::close(fd_);
}

}  // namespace incident
