// A pclntab written down by hand, in each of its three formats: two functions, one of them with an inlined call two
// deep, deferinfo and a file table. Every byte of it can then be broken.
#pragma once

#include "go/binary/pclntab.h"
#include "support/memory_builder.h"

namespace incident::go {

struct PcStep {
    std::int32_t value;   ///< holds …
    std::uint32_t bytes;  ///< … for so many bytes of code
};

/// One pc-value table as go1.27 cmd/internal/obj/pcln.go writes it.
inline std::vector<std::uint8_t> encode_pc_values(const std::vector<PcStep>& steps) {
    std::vector<std::uint8_t> out;
    auto varint = [&](std::uint32_t v) {
        for (; v >= 0x80; v >>= 7) out.push_back(static_cast<std::uint8_t>(v | 0x80));
        out.push_back(static_cast<std::uint8_t>(v));
    };
    std::int32_t previous = -1;
    for (const PcStep& step : steps) {
        const std::int32_t delta = step.value - previous;
        varint((static_cast<std::uint32_t>(delta) << 1) ^ static_cast<std::uint32_t>(delta >> 31));
        varint(step.bytes);
        previous = step.value;
    }
    out.push_back(0);
    return out;
}

struct BuiltPclntab {
    TargetMemory memory;
    Pclntab::Tables tables;
    Version version;
};

constexpr std::uint64_t built_text = 0x401000;
constexpr std::uint64_t built_tables = 0x500000;

/// main.outer [text, +0x40) holds, from +0x10 to +0x20, main.middle inlined, which holds main.inner from +0x14 to
/// +0x18; main.leaf [+0x40, +0x60) is an assembler function with flag TOPFRAME.
inline BuiltPclntab build_pclntab(int minor, std::uint32_t magic_override = 0) {
    const bool old = minor <= 17, with_start_line = minor >= 20;
    MemoryBuilder m;
    auto put = [&](std::string_view label, const std::vector<std::uint8_t>& bytes) {
        m.mark(label);
        for (std::uint8_t b : bytes) m.u8(b);
    };
    BuiltPclntab built;
    built.version.minor = minor;
    built.version.text = "go1." + std::to_string(minor);
    built.tables.header = Address{built_tables};
    built.tables.text = Address{built_text};
    built.tables.etext = Address{built_text + 0x60};
    const std::uint32_t magic = magic_override != 0 ? magic_override
                                : minor <= 17       ? 0xfffffffau
                                : minor <= 19       ? 0xfffffff0u
                                                    : 0xfffffff1u;

    m.at(built_tables).permissions(4).mark("header").u32(magic).u8(0).u8(0).u8(1).u8(8);
    m.u64(2).u64(2).zeros(64).align(32);
    m.mark("names").u8(0).mark("n.outer").cstring("main.outer").mark("n.leaf").cstring("main.leaf");
    m.mark("n.middle").cstring("main.middle").mark("n.inner").cstring("main.inner").mark("names.end").align(8);
    m.mark("cu").u32(0).u32(0x0).u32(0x8).mark("cu.end").align(8);  // cu_offset 1: files 0 and 1
    m.mark("files").cstring("outer.g").cstring("inner.go").mark("files.end").align(8);
    m.mark("pctab").u8(0);
    put("pc.sp", encode_pc_values({{0, 4}, {24, 0x38}, {0, 4}}));
    put("pc.file", encode_pc_values({{0, 0x10}, {1, 0x10}, {0, 0x20}}));
    put("pc.line", encode_pc_values({{10, 0x10}, {101, 4}, {201, 4}, {102, 8}, {12, 0x20}}));
    put("pc.inline", encode_pc_values({{-1, 0x10}, {0, 4}, {1, 4}, {0, 8}, {-1, 0x20}}));
    put("pc.flat", encode_pc_values({{0, 0x20}}));
    put("pc.one", encode_pc_values({{1, 0x20}}));
    m.mark("pctab.end").align(8);
    auto offset = [&](std::string_view label, std::string_view base) {
        return static_cast<std::uint32_t>(m.address_of(label) - m.address_of(base));
    };

    m.align(64).mark("pcln");
    // functab: three entries, two functions and the end
    const std::uint64_t functab_size = old ? 3 * 16 : 3 * 8;
    const std::uint64_t outer_at = (functab_size + 7) / 8 * 8, record = old ? 44 : with_start_line ? 44 : 40;
    const std::uint64_t outer_size = old ? (record + 3 * 4 + 7) / 8 * 8 + 5 * 8 : record + 3 * 4 + 5 * 4;
    const std::uint64_t leaf_at = (outer_at + outer_size + 7) / 8 * 8;
    for (auto [entry, at] : {std::pair{0x0ull, outer_at}, {0x40ull, leaf_at}, {0x60ull, 0ul}}) {
        if (old)
            m.u64(built_text + entry).u64(at);
        else
            m.u32(static_cast<std::uint32_t>(entry)).u32(static_cast<std::uint32_t>(at));
    }
    const std::uint8_t wrapper = minor <= 17 ? 22 : minor <= 21 ? 21 : minor <= 24 ? 22 : 23;
    auto function = [&](std::uint64_t entry, std::string_view name, std::uint32_t sp, std::uint32_t file,
                        std::uint32_t line, std::uint32_t npcdata, std::uint8_t id, std::uint8_t flag,
                        std::uint8_t nfuncdata, std::int32_t start) {
        m.align(8);
        if (old)
            m.u64(built_text + entry);
        else
            m.u32(static_cast<std::uint32_t>(entry));
        m.u32(offset(name, "names")).i32(16).u32(0x30).u32(sp).u32(file).u32(line).u32(npcdata).u32(1);
        if (with_start_line) m.i32(start);
        m.u8(id).u8(flag).u8(0).u8(nfuncdata);
    };
    function(0, "n.outer", offset("pc.sp", "pctab"), offset("pc.file", "pctab"), offset("pc.line", "pctab"), 3, 0, 0, 5,
             9);
    m.u32(0).u32(0).u32(offset("pc.inline", "pctab"));  // PCDATA_InlTreeIndex is 2
    if (old) {
        m.align(8).u64(0).u64(0).u64(0).pointer("tree").pointer("defers");
    } else {
        m.u32(~0u).u32(~0u).u32(~0u).u32(0x10).u32(0x100);  // from gofunc
    }
    function(0x40, "n.leaf", offset("pc.flat", "pctab"), offset("pc.flat", "pctab"), offset("pc.one", "pctab"), 0,
             wrapper, 1, 0, 0);
    m.align(8).mark("pcln.end").zeros(64).mark("gofunc").zeros(0x10).mark("tree");
    // entry 0: main.middle called from +0x8; entry 1: main.inner called from +0x12, which is inside main.middle
    if (minor <= 19) {
        m.u16(0xffff).u8(0).u8(0).u32(0).u32(10).u32(offset("n.middle", "names")).u32(0x8);
        m.u16(0).u8(0).u8(0).u32(1).u32(101).u32(offset("n.inner", "names")).u32(0x12);
    } else {
        m.u8(0).zeros(3).u32(offset("n.middle", "names")).u32(0x8).u32(100);
        m.u8(wrapper).zeros(3).u32(offset("n.inner", "names")).u32(0x12).u32(200);
    }
    m.mark("tree.end");
    m.at("gofunc", 0x100).mark("defers").u8(1);
    built.memory = m.build();

    auto range = [&](std::string_view begin, std::string_view end) {
        return AddressRange{built.memory[begin], built.memory[end]};
    };
    built.tables.gofunc = old ? Address{} : built.memory["gofunc"];
    built.tables.funcnametab = range("names", "names.end");
    built.tables.cutab = range("cu", "cu.end");
    built.tables.filetab = range("files", "files.end");
    built.tables.pctab = range("pctab", "pctab.end");
    built.tables.pclntable = range("pcln", "pcln.end");
    built.tables.functab = {built.memory["pcln"], built.memory["pcln"] + functab_size};
    return built;
}

}  // namespace incident::go
