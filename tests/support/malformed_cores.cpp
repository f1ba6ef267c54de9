// The named table of malformed cores, and the sound one that most of them are made from.
#include <signal.h>

#include <algorithm>
#include <cstring>

#include "support/core_builder.h"

namespace incident {

namespace {

Bytes filled(std::size_t size, std::uint8_t value) { return Bytes(size, std::byte{value}); }

template <class T>
void poke(Bytes& bytes, std::size_t offset, T value) {
    std::memcpy(bytes.data() + offset, &value, sizeof value);
}

CoreBuilder minimal() { return std::move(CoreBuilder().thread(100, {{"rip", 0x401000}}, SIGABRT)); }

CoreBuilder sound() {
    return std::move(minimal().auxv({{AT_PAGESZ, 4096}}).files({}).load(0x400000, filled(0x1000, 0x90), PF_R | PF_X));
}

Bytes file_table(std::uint64_t count, std::size_t size) {
    ByteWriter table;
    table.put(count).put(std::uint64_t{4096}).pad_to(size);
    return table.take();
}

}  // namespace

CoreBuilder realistic_core() {
    CoreBuilder core;
    core.thread(4711,
                {{"rip", 0x401234},
                 {"rsp", 0x7ffd00001000},
                 {"rbp", 0x7ffd00001040},
                 {"rax", 0x18},
                 {"fs_base", 0x7f0000003740}},
                SIGSEGV)
        .process_info(4711, "service", "/srv/service --port 80 ")
        .fault_signal(SIGSEGV, SEGV_MAPERR, 0x18)
        .auxv({{AT_PHDR, 0x400040}, {AT_ENTRY, 0x401000}, {AT_PAGESZ, 4096}, {AT_SYSINFO_EHDR, 0x7ffd00100000}})
        .files({{0x400000, 0x402000, 0, "/srv/service"},
                {0x402000, 0x403000, 2, "/srv/service"},
                {0x7f0000100000, 0x7f0000110000, 0, "/usr/lib/libc.so.6"},
                {0x7f0000200000, 0x7f0000201000, 7, "/tmp/plugin.so (deleted)"}})
        .note("CORE", NT_FPREGSET, filled(512, 1))
        .note("LINUX", NT_X86_XSTATE, filled(2696, 2))
        .thread(4712, {{"rip", 0x402000}, {"rsp", 0xc000002000}, {"orig_rax", 202}})
        .note("CORE", NT_FPREGSET, filled(512, 3))
        .thread(4713, {{"rip", 0x7f0000101000}, {"rsp", 0x7f0000002000}, {"orig_rax", 35}})
        .note("CORE", NT_FPREGSET, filled(512, 4));
    core.load(0x400000, filled(0x1000, 0x10), PF_R | PF_X,
              0x2000)  // the first page of an image; the rest is in the file
        .load(0x402000, filled(0x1000, 0x11), PF_R | PF_W)
        .load(0xc000000000, filled(0x4000, 0x12), PF_R | PF_W)
        .load(0xc000004000, {}, 0, 0x3ffc000)  // reserved, not dumped
        .load(0x7f0000000000, filled(0x4000, 0x13), PF_R | PF_W)
        .load(0x7f0000004000, {}, 0, 0x1000)  // guard page
        .load(0x7f0000100000, filled(0x1000, 0x14), PF_R, 0x10000)
        .load(0x7f0000110000, filled(0x2000, 0x15), PF_R | PF_W)
        .load(0x7f0000200000, filled(0x1000, 0x16), PF_R)
        .load(0x7f0000201000, filled(0x1000, 0x17), PF_R | PF_W)
        .load(0x7ffd00000000, filled(0x8000, 0x18), PF_R | PF_W)
        .load(0x7ffd00100000, filled(0x2000, 0x19), PF_R | PF_X)
        .load(0xffffffffff600000, filled(0x1000, 0x1a), PF_X);
    return core;
}

std::vector<MalformedCore> malformed_cores() {
    std::vector<MalformedCore> table;
    auto add = [&](std::string name, Bytes bytes, bool opens, std::string says) {
        table.push_back({std::move(name), std::move(bytes), opens, std::move(says)});
    };
    auto with_header = [&](auto edit) { return sound().edit_header(edit).build(); };
    auto with_segments = [&](auto edit) { return sound().edit_segments(edit).build(); };
    using Header = Elf64_Ehdr&;
    using Segments = std::vector<Elf64_Phdr>&;
    auto words = [](std::string_view text) {
        return Bytes(std::as_bytes(std::span(text)).begin(), std::as_bytes(std::span(text)).end());
    };

    add("sound", sound().build(), true, "");
    add("realistic", realistic_core().build(), true, "");

    // Not a core, or not one of ours.
    add("text", words("panic: runtime error\n\ngoroutine 1 [running]:\n"), false, "a text file");
    add("four bytes",
        words("\x7f"
              "ELF"),
        false, "cut off before its header ends");
    add("minidump",
        words("MDMP\x93\xa7"
              "................................................................"),
        false, "minidump");
    add("mach-o", words("\xcf\xfa\xed\xfe\x07..............................................................."), false,
        "Mach-O");
    add("zeros", Bytes(5000), false, "begins with zeros");
    add("executable", with_header([](Header h) { h.e_type = ET_EXEC; }), false,
        "an ELF executable (x86-64), not a core");
    add("shared object", with_header([](Header h) { h.e_type = ET_DYN; }), false, "not a core");
    add("aarch64", with_header([](Header h) { h.e_machine = EM_AARCH64; }), false, "an ELF core of aarch64");
    add("unknown machine", with_header([](Header h) { h.e_machine = 4711; }), false, "ELF machine 4711");
    add("32-bit", with_header([](Header h) {
            h.e_ident[EI_CLASS] = ELFCLASS32;
            h.e_machine = EM_386;
        }),
        false, "i386, 32-bit");
    add("big-endian", with_header([](Header h) {
            h.e_ident[EI_DATA] = ELFDATA2MSB;
            h.e_type = __builtin_bswap16(ET_CORE);
            h.e_machine = __builtin_bswap16(EM_S390);
        }),
        false, "an ELF core of s390x, big-endian");
    add("class 77", with_header([](Header h) { h.e_ident[EI_CLASS] = 77; }), false, "a damaged ELF file");

    // Headers.
    add("zero phnum", with_header([](Header h) { h.e_phnum = 0; }), true, "no program headers");
    add("phoff 0", with_header([](Header h) { h.e_phoff = 0; }), true, "no program headers");
    add("phdr beyond EOF", with_header([](Header h) { h.e_phoff = 1 << 30; }), true, "only 0 of 2 program headers");
    add("phoff near 2^64", with_header([](Header h) { h.e_phoff = UINT64_MAX - 8; }), true, "beyond any file");
    add("phnum 65534", with_header([](Header h) { h.e_phnum = 65534; }), true, "program headers are in the file");
    add("PN_XNUM without section header", with_header([](Header h) { h.e_phnum = PN_XNUM; }), true,
        "program headers are in the file");
    add("phentsize 1", with_header([](Header h) { h.e_phentsize = 1; }), true, "program headers of 1 bytes");
    add("section headers beyond EOF", with_header([](Header h) {
            h.e_shoff = 1ull << 40;
            h.e_shnum = 60000;
            h.e_shentsize = sizeof(Elf64_Shdr);
        }),
        true, "");
    add("version 9", with_header([](Header h) {
            h.e_ident[EI_VERSION] = 9;
            h.e_version = 9;
        }),
        false, "");
    {
        Bytes cut = sound().build();
        cut.resize(sizeof(Elf64_Ehdr) + 80);
        add("truncated mid-phdr", cut, true, "only 1 of 2 program headers");
        cut.resize(sizeof(Elf64_Ehdr));
        add("only a header", cut, true, "only 0 of 2 program headers");
    }

    // Segments.
    add("memsz < filesz", with_segments([](Segments s) { s[1].p_memsz = 0x10; }), true, "more bytes in the file");
    add("filesz 2^60", with_segments([](Segments s) { s[1].p_filesz = s[1].p_memsz = 1ull << 60; }), true, "left out");
    add("filesz far beyond EOF", with_segments([](Segments s) { s[1].p_filesz = s[1].p_memsz = 1ull << 40; }), true,
        "the core is cut at byte");
    add("offset near 2^64", with_segments([](Segments s) { s[1].p_offset = UINT64_MAX - 0x10; }), true,
        "beyond any file");
    add("address wraps", with_segments([](Segments s) { s[1].p_vaddr = UINT64_MAX - 0x10; }), true, "reaches the end");
    add("the last page", with_segments([](Segments s) { s[1].p_vaddr = 0 - std::uint64_t{4096}; }), true,
        "reaches the end");
    add("a load over the ELF header", with_segments([](Segments s) { s[1].p_offset = 0; }), true, "");
    add("notes only", minimal().auxv({{AT_PAGESZ, 4096}}).files({}).build(), true, "");
    {
        CoreBuilder overlapping = sound();
        for (int i = 0; i < 40; ++i)
            overlapping.load(0x400000 + 0x100u * static_cast<unsigned>(i),
                             filled(0x1000, static_cast<std::uint8_t>(i)));
        add("overlapping loads", overlapping.build(), true, "");
    }
    add("all loads the same file bytes",
        sound()
            .load(0x500000, filled(0x1000, 1))
            .load(0x600000, filled(0x1000, 2))
            .edit_segments([](Segments s) {
                for (auto& segment : s)
                    if (segment.p_type == PT_LOAD) segment.p_offset = s[1].p_offset;
            })
            .build(),
        true, "");

    // Notes.
    add("note segment of 2^62 bytes", with_segments([](Segments s) { s[0].p_filesz = 1ull << 62; }), true,
        "a note segment of");
    add("notes cut", with_segments([](Segments s) { s[0].p_offset = 4096 + 4096 - 100; }), true, "of the notes");
    add("two note segments of the same bytes",
        sound().load(0, filled(16, 0)).edit_segments([](Segments s) { s[2] = s[0]; }).build(), true,
        "with the id of an earlier one");
    {
        Bytes core = sound().build();
        std::size_t notes = sizeof(Elf64_Ehdr) + 2 * sizeof(Elf64_Phdr);
        poke(core, notes, UINT32_MAX);
        add("namesz 0xffffffff", core, true, "runs over the end");
        core = sound().build();
        poke(core, notes + 4, UINT32_MAX);
        add("descsz 0xffffffff", core, true, "runs over the end");
        core = sound().build();
        poke(core, notes + 4, std::uint32_t{0x7ffffff0});
        add("descsz 0x7ffffff0", core, true, "runs over the end");
        core = sound().build();
        poke(core, notes, std::uint32_t{0});
        add("namesz 0", core, true, "");
        table.back().says = "no thread";
    }
    add("no thread", CoreBuilder().auxv({{AT_PAGESZ, 4096}}).files({}).load(0x400000, filled(0x1000, 0)).build(), true,
        "no thread");
    add("prstatus too short",
        CoreBuilder().note("CORE", NT_PRSTATUS, filled(100, 0)).auxv({{AT_PAGESZ, 4096}}).files({}).build(), true,
        "1 NT_PRSTATUS note shorter than the registers");
    add("prstatus empty", CoreBuilder().note("CORE", NT_PRSTATUS, {}).build(), true, "shorter than the registers");
    add("prpsinfo too short", sound().note("CORE", NT_PRPSINFO, filled(20, 1)).build(), true,
        "NT_PRPSINFO of 20 bytes");
    add("prpsinfo twice", sound().process_info(1, "a", "a").process_info(2, "b", "b").build(), true,
        "second NT_PRPSINFO");
    add("siginfo too short", sound().note("CORE", NT_SIGINFO, filled(4, 1)).build(), true,
        "NT_SIGINFO of only 4 bytes");
    add("siginfo twice", sound().fault_signal(SIGSEGV, 1, 1).fault_signal(SIGBUS, 1, 1).build(), true,
        "belongs to no thread");
    add("auxv odd", minimal().note("CORE", NT_AUXV, filled(21, 1)).files({}).build(), true, "");
    add("auxv twice", sound().auxv({{AT_ENTRY, 1}}).build(), true, "second NT_AUXV");
    add("NT_FILE count 2^60",
        minimal().auxv({{AT_PAGESZ, 4096}}).note("CORE", NT_FILE, file_table(1ull << 60, 200)).build(), true,
        "has room for");
    add("NT_FILE count 2^64-1", minimal().note("CORE", NT_FILE, file_table(UINT64_MAX, 200)).build(), true,
        "has room for");
    add("NT_FILE too short", minimal().note("CORE", NT_FILE, filled(9, 0)).build(), true, "too short");
    add("NT_FILE without paths", minimal().note("CORE", NT_FILE, filled(16 + 24 * 8 + 8, 0xff)).build(), true,
        "has room for");
    {
        ByteWriter open_end;
        open_end.put(std::uint64_t{1})
            .put(std::uint64_t{4096})
            .put(std::uint64_t{0x1000})
            .put(std::uint64_t{0x2000})
            .put(std::uint64_t{0})
            .put_text("/no/end!");
        add("NT_FILE path without end", minimal().note("CORE", NT_FILE, open_end.take()).build(), true,
            "in the middle of the path");
    }
    add("NT_FILE impossible rows",
        minimal().auxv({{AT_PAGESZ, 4096}}).files({{9, 1, 0, "backwards"}, {1, 2, 1ull << 60, "far"}}).build(), true,
        "2 rows whose range is impossible");
    add("register set of nobody",
        CoreBuilder().note("CORE", NT_FPREGSET, filled(512, 0)).thread(1).auxv({{AT_PAGESZ, 4096}}).files({}).build(),
        true, "1 register set of no thread");
    add("the same thread twice", sound().thread(100).build(), true, "1 thread with the id of an earlier one");
    add("owner without NUL",
        sound().raw_notes(ByteWriter().put(4u).put(8u).put(1u).put_text("CORE").put(std::uint64_t{0}).take()).build(),
        true, "shorter than the registers");
    add("vmcore", sound().note("VMCOREINFO", 0, words("OSRELEASE=6.1.0\n")).build(), false,
        "kernel or virtual machine");
    add("freebsd", CoreBuilder().note("FreeBSD", NT_PRSTATUS, filled(300, 0)).build(), false, "only Linux cores");
    {
        Bytes unfinished = sound().build();
        std::fill_n(unfinished.begin(), sizeof(Elf64_Ehdr), std::byte{0});
        add("unfinished gcore", unfinished, false, "whose writing was never finished");
    }
    add("dlv dump", CoreBuilder().note("Delve Header", 0x444C5645, words("linux/amd64\n")).build(), true, "dlv dump");
    return table;
}

}  // namespace incident
