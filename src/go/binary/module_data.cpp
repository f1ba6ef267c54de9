// Moduledata: see module_data.h. Surprising: where the pclntab is depends on who linked. The Go linker has .gopclntab,
// or .data.rel.ro.gopclntab in a PIE up to 1.25; a C linker (c-shared, c-archive, external PIE) merges the latter into
// .data.rel.ro, where only the magic finds it. The moduledata is in .noptrdata, from 1.26 on in .go.module, which
// relocation read-only protection may have made unwritable: the search looks at every segment that is not code.
#include "go/binary/module_data.h"

#include <algorithm>
#include <cstring>

namespace incident::go {
namespace {

constexpr std::uint8_t executable = 1;          // PF_X
constexpr std::size_t search_limit = 1u << 30;  // bytes of one segment
constexpr std::size_t most_headers = 16, most_modules = 64;

/// Calls visit(segment part) for the held bytes of `range`, code left out.
template <class Visit>
void for_each_data(const Memory& memory, AddressRange range, Visit&& visit) {
    for (const Segment& segment : memory.segments()) {
        if (!segment.range.overlaps(range) || (segment.permissions & executable) != 0) continue;
        Segment part = segment;
        part.range = segment.range.intersect(range);
        part.data += part.range.begin - segment.range.begin;
        if (!visit(part)) return;
    }
}

void words_equal_to(const Memory& memory, AddressRange range, std::uint64_t value, std::vector<Address>& hits) {
    for_each_data(memory, range, [&](const Segment& part) {
        const std::uint64_t skip = (8 - part.range.begin.value % 8) % 8;
        const std::size_t size = std::min<std::uint64_t>(part.range.size(), search_limit);
        for (std::size_t at = skip; at + 8 <= size; at += 8) {
            std::uint64_t word;
            std::memcpy(&word, part.data + at, 8);
            if (word == value) hits.push_back(part.range.begin + at);
            if (hits.size() >= most_modules) return false;
        }
        return true;
    });
}

/// Sections where the word is worth looking for first; .bss and read-only data come last.
std::vector<AddressRange> search_order(const Image& image) {
    std::vector<AddressRange> ranges;
    for (std::string_view name : {".go.module", ".noptrdata", ".data", ".data.rel.ro"})
        if (const Section* section = image.find_section(name)) ranges.push_back(section->range);
    ranges.push_back(image.range());
    return ranges;
}

void search_headers(const Memory& memory, AddressRange range, std::vector<Address>& out) {
    for_each_data(memory, range, [&](const Segment& part) {
        const std::uint64_t skip = (16 - part.range.begin.value % 16) % 16;  // the linker aligns it to 32
        const std::size_t size = std::min<std::uint64_t>(part.range.size(), search_limit);
        for (std::size_t at = skip; at + 72 <= size; at += 16) {
            std::uint64_t word;
            std::memcpy(&word, part.data + at, 8);
            // fa, f0 or f1 ff ff ff, 00 00 01 08
            if ((word & 0xffffffffffffff00) != 0x08010000ffffff00) continue;
            if (Pclntab::is_header({part.data + at, 8})) out.push_back(part.range.begin + at);
            if (out.size() >= most_headers) return false;
        }
        return true;
    });
}

/// As much of it as memory holds without a gap: what is sized after it stays in proportion to the core.
AddressRange held(const Memory& memory, AddressRange range) {
    Address end = range.begin;
    while (end < range.end) {
        const Segment* segment = memory.find(end);
        if (segment == nullptr) break;
        end = std::min(range.end, segment->range.end);
    }
    return {range.begin, end};
}

std::string read_string(const Memory& memory, Address data, std::uint64_t length) {
    if (length > 4096) return {};
    auto bytes = memory.view(data, length);
    return bytes ? std::string(reinterpret_cast<const char*>(bytes->data()), bytes->size()) : std::string{};
}

}  // namespace

bool has_go_sections(const Image& image) {
    for (const Section& section : image.sections())
        for (std::string_view name :
             {".go.buildinfo", ".gopclntab", ".data.rel.ro.gopclntab", ".note.go.buildid", ".go.module"})
            if (section.name == name) return true;
    return false;
}

std::vector<Address> find_pclntabs(const Memory& memory, const Image& image) {
    std::vector<Address> headers;
    for (const Section& section : image.sections())
        if (section.name == ".gopclntab" || section.name == ".data.rel.ro.gopclntab")
            if (auto head = memory.view(section.range.begin, 8); head && Pclntab::is_header(*head))
                headers.push_back(section.range.begin);
    if (headers.empty() && (has_go_sections(image) || image.sections().empty()))
        search_headers(memory, image.range(), headers);
    return headers;
}

Result<ModuleData> read_module(const Memory& memory, const RuntimeLayout& layout, const Version& version, Address at,
                               const Image* image) {
    const StructView md(memory, at);
    const auto& f = layout.moduledata;
    auto bytes = [&](Field<Address> data, Field<std::uint64_t> length, std::uint64_t element) -> Result<AddressRange> {
        const Address begin = TRY(md.get(data));
        const std::uint64_t count = TRY(md.get(length));
        if (count > (1ull << 32)) return fail(ErrorKind::corrupt, "moduledata: impossible length", at);
        return AddressRange{begin, begin + count * element};
    };
    ModuleData module;
    module.address = at;
    module.image = image;
    module.text = {TRY(md.get(f.text)), TRY(md.get(f.etext))};
    const Address minpc = TRY(md.get(f.minpc)), maxpc = TRY(md.get(f.maxpc));
    if (module.text.empty() || minpc < module.text.begin || maxpc < minpc ||
        maxpc.value > module.text.end.value + (1u << 20))
        return fail(ErrorKind::corrupt, "moduledata: text and pc range contradict each other", at);
    if (image != nullptr && !image->range().contains(module.text.begin))
        return fail(ErrorKind::corrupt, "moduledata: text lies outside its file", at);

    Pclntab::Tables tables;
    tables.header = TRY(md.get(f.pcHeader));
    tables.text = module.text.begin;
    tables.etext = maxpc;
    if (f.gofunc.present()) {
        module.gofunc = TRY(md.get(f.gofunc));
        tables.gofunc = *module.gofunc;
    }
    tables.funcnametab = TRY(bytes(f.funcnametab_data, f.funcnametab_len, 1));
    tables.cutab = TRY(bytes(f.cutab_data, f.cutab_len, 4));
    tables.filetab = TRY(bytes(f.filetab_data, f.filetab_len, 1));
    tables.pctab = TRY(bytes(f.pctab_data, f.pctab_len, 1));
    tables.pclntable = TRY(bytes(f.pclntable_data, f.pclntable_len, 1));
    tables.functab = TRY(bytes(f.ftab_data, f.ftab_len, version.minor <= 17 ? 16 : 8));
    module.pclntab = TRY(Pclntab::parse(memory, tables, version));

    module.noptrdata = {TRY(md.get(f.noptrdata)), TRY(md.get(f.enoptrdata))};
    module.data = {TRY(md.get(f.data)), TRY(md.get(f.edata))};
    module.bss = {TRY(md.get(f.bss)), TRY(md.get(f.ebss))};
    module.noptrbss = {TRY(md.get(f.noptrbss)), TRY(md.get(f.enoptrbss))};
    module.types = held(memory, {TRY(md.get(f.types)), TRY(md.get(f.etypes))});
    if (f.rodata.present()) module.rodata = TRY(md.get(f.rodata));
    if (f.typelinks_data.present()) {
        module.typelinks = TRY(bytes(f.typelinks_data, f.typelinks_len, 4));
        module.itablinks = TRY(bytes(f.itablinks_data, f.itablinks_len, 8));
    }
    if (f.typedesclen.present()) {
        // go1.27 runtime/type.go, moduleTypelinks: descriptors begin one word into types; runtime/iface.go, itabsinit.
        const std::uint64_t descriptors = TRY(md.get(f.typedesclen));
        const std::uint64_t offset = TRY(md.get(f.itaboffset)), size = TRY(md.get(f.itabsize));
        module.typedescs = {module.types.begin + 8, module.types.begin + descriptors};
        module.itabs = {module.types.begin + offset, module.types.begin + offset + size};
    }
    module.gcdatamask = TRY(md.get(f.gcdatamask));
    module.gcbssmask = TRY(md.get(f.gcbssmask));
    module.modulename = read_string(memory, TRY(md.get(f.modulename_data)), TRY(md.get(f.modulename_len)));
    module.pluginpath = read_string(memory, TRY(md.get(f.pluginpath_data)), TRY(md.get(f.pluginpath_len)));
    return module;
}

namespace {

std::vector<ModuleData> modules_of(const Memory& memory, std::span<const Address> headers,
                                   std::span<const AddressRange> order, const Image* image, const RuntimeLayout& layout,
                                   const Version& version, std::vector<Error>& refused) {
    std::vector<ModuleData> modules;
    for (Address header : headers) {
        bool found = false;
        for (std::size_t i = 0; i < order.size() && !found; ++i) {
            std::vector<Address> hits;
            words_equal_to(memory, order[i], header.value, hits);
            for (Address hit : hits) {
                auto module = read_module(memory, layout, version, hit, image);
                if (!module) {
                    refused.push_back(std::move(module).error());
                    continue;
                }
                modules.push_back(std::move(*module));
                found = true;
                break;
            }
        }
    }
    return modules;
}

}  // namespace

std::vector<ModuleData> find_modules(const Memory& memory, const Image& image, const RuntimeLayout& layout,
                                     const Version& version, std::vector<Error>& refused) {
    const std::vector<AddressRange> order = search_order(image);
    return modules_of(memory, find_pclntabs(memory, image), order, &image, layout, version, refused);
}

std::vector<ModuleData> find_modules(const Memory& memory, std::span<const AddressRange> data,
                                     const RuntimeLayout& layout, const Version& version, std::vector<Error>& refused) {
    std::vector<Address> headers;
    for (const AddressRange& range : data) search_headers(memory, range, headers);
    return modules_of(memory, headers, data, nullptr, layout, version, refused);
}

}  // namespace incident::go
