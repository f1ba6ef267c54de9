// What each of the runtime's variables must look like. A check reads little (a sample of the elements), so that
// scanning a .bss with it stays cheap, and says `unreadable` when the core was cut before the deciding bytes.
#include <algorithm>

#include "go/binary/globals.h"

namespace incident::go {
namespace {

constexpr std::uint64_t most_goroutines = 1ull << 28, most_spans = 1ull << 32, most_threads = 1 << 20,
                        most_processors = 1 << 12;
constexpr std::uint64_t page = 8192;  // runtime.pageSize
constexpr std::size_t sample = 16;    // elements looked at from each end
constexpr std::size_t semtable_roots = 251, semtable_stride = 64;
constexpr std::size_t size_class_lists = 35;  // stackLarge.free: heapAddrBits - pageShift

/// A pointer that user space can hold.
bool may_point(std::uint64_t value) { return value % 8 == 0 && value >= 0x1000 && value < (1ull << 47); }

struct Header {
    std::uint64_t data = 0, length = 0, capacity = 0;
};

Verdict read_header(const Memory& memory, Address at, std::uint64_t most, Header& header) {
    const std::byte* bytes = memory.data_at(at, 24);
    if (bytes == nullptr) return Verdict::unreadable;
    std::memcpy(&header, bytes, 24);
    return may_point(header.data) && header.length != 0 && header.length <= header.capacity && header.capacity <= most
               ? Verdict::yes
               : Verdict::no;
}

/// Applies `check` to a sample of the pointers of a slice. Every one that can be read must pass.
template <class Check>
Verdict check_elements(const Memory& memory, const Header& header, Check&& check) {
    std::size_t good = 0;
    auto one = [&](std::uint64_t i) {
        std::uint64_t pointer;
        const std::byte* bytes = memory.data_at(Address{header.data + i * 8}, 8);
        if (bytes == nullptr) return true;
        std::memcpy(&pointer, bytes, 8);
        if (!may_point(pointer)) return false;
        const Verdict verdict = check(Address{pointer}, i);
        good += verdict == Verdict::yes;
        return verdict != Verdict::no;
    };
    const std::uint64_t front = std::min<std::uint64_t>(header.length, sample);
    for (std::uint64_t i = 0; i < front; ++i)
        if (!one(i)) return Verdict::no;
    for (std::uint64_t i = std::max(front, header.length - std::min<std::uint64_t>(header.length, sample));
         i < header.length; ++i)
        if (!one(i)) return Verdict::no;
    return good != 0 ? Verdict::yes : Verdict::unreadable;
}

template <class T>
bool load(const Memory& memory, Address base, Field<T> field, T& out) {
    if (!field.present()) return false;
    const std::byte* bytes = memory.data_at(base + static_cast<std::uint64_t>(field.offset), sizeof(T));
    if (bytes == nullptr) return false;
    std::memcpy(&out, bytes, sizeof(T));
    return true;
}

}  // namespace

// go1.27 src/runtime/runtime2.go: _Gdeadextra is 11, _Gscan 0x1000.
Verdict GlobalChecks::g(Address at) const {
    const auto& f = layout_.g;
    if (!may_point(at.value)) return Verdict::no;
    std::uint64_t lo, hi, goid;
    std::uint32_t status;
    Address m;
    if (!load(memory_, at, f.stack_lo, lo) || !load(memory_, at, f.stack_hi, hi) || !load(memory_, at, f.goid, goid) ||
        !load(memory_, at, f.atomicstatus, status) || !load(memory_, at, f.m, m))
        return Verdict::unreadable;
    if ((status & ~0x1000u) > 11 || goid > (1ull << 48) || (!m.is_null() && !may_point(m.value))) return Verdict::no;
    if (lo > hi || lo % 8 != 0 || hi % 8 != 0 || hi >= (1ull << 47) || hi - lo > (1ull << 36)) return Verdict::no;
    // A zeroed page looks like an idle g without a stack; the runtime's own list has none of these.
    return status == 0 && goid == 0 && lo == 0 ? Verdict::no : Verdict::yes;
}

Verdict GlobalChecks::m(Address at) const {
    const auto& f = layout_.m;
    if (!may_point(at.value)) return Verdict::no;
    Address g0, next;
    std::int64_t id;
    if (!load(memory_, at, f.g0, g0) || !load(memory_, at, f.alllink, next) || !load(memory_, at, f.id, id))
        return Verdict::unreadable;
    if (!may_point(g0.value) || (!next.is_null() && !may_point(next.value)) || id < 0 ||
        id > static_cast<std::int64_t>(most_threads))
        return Verdict::no;
    Address back;
    if (!load(memory_, g0, layout_.g.m, back)) return Verdict::unreadable;
    return back == at ? Verdict::yes : Verdict::no;
}

std::size_t GlobalChecks::chain_of_m(Address head) const {
    std::size_t count = 0;
    Address at = head;
    while (!at.is_null() && count < most_threads) {
        if (m(at) != Verdict::yes) return m(at) == Verdict::unreadable ? count : 0;
        ++count;
        Address next;
        if (!load(memory_, at, layout_.m.alllink, next)) break;
        at = next;
    }
    return count;
}

Verdict GlobalChecks::allgs(Address at) const {
    Header header;
    if (auto verdict = read_header(memory_, at, most_goroutines, header); verdict != Verdict::yes) return verdict;
    return check_elements(memory_, header, [this](Address element, std::uint64_t) { return g(element); });
}

Verdict GlobalChecks::allm(Address at) const {
    const std::byte* bytes = memory_.data_at(at, 8);
    if (bytes == nullptr) return Verdict::unreadable;
    Address head;
    std::memcpy(&head.value, bytes, 8);
    return m(head);
}

Verdict GlobalChecks::allp(Address at) const {
    Header header;
    if (auto verdict = read_header(memory_, at, most_processors, header); verdict != Verdict::yes) return verdict;
    return check_elements(memory_, header, [this](Address element, std::uint64_t i) {
        std::int32_t id;
        std::uint32_t status;
        if (!load(memory_, element, layout_.p.id, id) || !load(memory_, element, layout_.p.status, status))
            return Verdict::unreadable;
        return id >= 0 && static_cast<std::uint64_t>(id) == i && status <= 4 ? Verdict::yes : Verdict::no;
    });
}

Verdict GlobalChecks::sched(Address at) const {
    const auto& f = layout_.schedt;
    std::uint64_t goidgen;
    std::int64_t mnext, start;
    std::int32_t most, idle, system_ms, idle_ps;
    Address idle_m, idle_p;
    if (!load(memory_, at, f.goidgen, goidgen) || !load(memory_, at, f.mnext, mnext) ||
        !load(memory_, at, f.maxmcount, most) || !load(memory_, at, f.nmidle, idle) ||
        !load(memory_, at, f.nmsys, system_ms) || !load(memory_, at, f.npidle, idle_ps) ||
        !load(memory_, at, f.midle, idle_m) || !load(memory_, at, f.pidle, idle_p) ||
        !load(memory_, at, f.procresizetime, start))
        return Verdict::unreadable;
    const bool sound = goidgen != 0 && goidgen < (1ull << 48) && mnext >= 1 && mnext <= (1 << 24) && most >= 1 &&
                       idle >= 0 && idle <= mnext && system_ms >= 0 && system_ms <= mnext && idle_ps >= 0 &&
                       idle_ps <= static_cast<std::int32_t>(most_processors) && start > 0 &&
                       (idle_m.is_null() || may_point(idle_m.value)) && (idle_p.is_null() || may_point(idle_p.value));
    if (!sound) return Verdict::no;
    if (!idle_m.is_null() && m(idle_m) == Verdict::no) return Verdict::no;
    std::uint32_t status;
    if (!idle_p.is_null() && load(memory_, idle_p, layout_.p.status, status) && status > 4) return Verdict::no;
    return Verdict::yes;
}

// go1.16 … go1.27 src/runtime/sema.go: semTable [semTabSize]struct{root semaRoot; pad}.
Verdict GlobalChecks::semtable(Address at) const {
    if (memory_.data_at(at, semtable_roots * semtable_stride) == nullptr) return Verdict::unreadable;
    for (std::size_t i = 0; i < semtable_roots; ++i) {
        const Address root = at + i * semtable_stride;
        Address treap;
        std::uint32_t waiters;
        if (!load(memory_, root, layout_.semaRoot.treap, treap) ||
            !load(memory_, root, layout_.semaRoot.nwait, waiters))
            return Verdict::no;
        if (waiters > most_goroutines || (!treap.is_null() && !may_point(treap.value))) return Verdict::no;
        if (treap.is_null()) continue;
        // The root of a treap has no parent, waits on an address of its own bucket, and belongs to a g.
        Address elem, parent, owner;
        if (!load(memory_, treap, layout_.sudog.elem, elem) || !load(memory_, treap, layout_.sudog.parent, parent) ||
            !load(memory_, treap, layout_.sudog.g, owner))
            continue;
        if (!parent.is_null() || (elem.value >> 3) % semtable_roots != i || g(owner) == Verdict::no) return Verdict::no;
    }
    return Verdict::yes;
}

Verdict GlobalChecks::mheap(Address at) const {
    if (!layout_.mheap.allspans.present()) return Verdict::no;
    Header header;
    const Address slice = at + static_cast<std::uint64_t>(layout_.mheap.allspans.offset);
    if (auto verdict = read_header(memory_, slice, most_spans, header); verdict != Verdict::yes) return verdict;
    return check_elements(memory_, header, [this](Address element, std::uint64_t) {
        const auto& f = layout_.mspan;
        std::uint64_t start, pages;
        std::uint8_t state;
        if (!load(memory_, element, f.startAddr, start) || !load(memory_, element, f.npages, pages) ||
            !load(memory_, element, f.state, state))
            return Verdict::unreadable;
        if (start % page != 0 || start >= (1ull << 47) || pages >= (1ull << 34) || state > 2) return Verdict::no;
        // A dead span proves nothing: zeroed memory looks like one.
        if (state == 0) return Verdict::unreadable;
        return start != 0 && pages != 0 ? Verdict::yes : Verdict::no;
    });
}

Verdict GlobalChecks::allfin(Address at) const {
    const std::byte* bytes = memory_.data_at(at, 8);
    if (bytes == nullptr) return Verdict::unreadable;
    Address block;
    std::memcpy(&block.value, bytes, 8);
    const Address first = block;
    for (int i = 0; i < 8 && !block.is_null(); ++i) {
        std::uint32_t count;
        Address link;
        if (!may_point(block.value)) return Verdict::no;
        if (!load(memory_, block, layout_.finblock.cnt, count) || !load(memory_, block, layout_.finblock.alllink, link))
            return Verdict::unreadable;
        if (count > 101) return Verdict::no;  // go1.27 mfinal.go: (finBlockSize - 2*8 - 2*4) / sizeof(finalizer)
        block = link;
    }
    return first.is_null() ? Verdict::unreadable : Verdict::yes;
}

Verdict GlobalChecks::memstats(Address at) const {
    std::uint64_t last, last_unix;
    std::uint8_t enabled;
    std::uint32_t cycles;
    if (!load(memory_, at, layout_.mstats.last_gc_nanotime, last) ||
        !load(memory_, at, layout_.mstats.last_gc_unix, last_unix) ||
        !load(memory_, at, layout_.mstats.enablegc, enabled) || !load(memory_, at, layout_.mstats.numgc, cycles))
        return Verdict::unreadable;
    if (enabled != 1 || cycles > (1u << 30) || (last == 0) != (cycles == 0) || (last_unix == 0) != (cycles == 0))
        return Verdict::no;
    // All zero before the first collection: nothing to tell it by.
    constexpr std::uint64_t year_2010 = 1262304000ull * 1000000000, year_2200 = 7258118400ull * 1000000000;
    if (cycles == 0) return Verdict::unreadable;
    return last_unix > year_2010 && last_unix < year_2200 && last < last_unix ? Verdict::yes : Verdict::no;
}

Verdict GlobalChecks::span_list(Address at) const {
    for (Field<Address> field : {layout_.mSpanList.first, layout_.mSpanList.last}) {
        Address span;
        std::uint64_t start;
        if (!load(memory_, at, field, span)) return Verdict::unreadable;
        if (span.is_null()) continue;
        if (!may_point(span.value)) return Verdict::no;
        if (load(memory_, span, layout_.mspan.startAddr, start) && start % page != 0) return Verdict::no;
    }
    return Verdict::yes;
}

// go1.27 src/runtime/stack.go: stackpool [_NumStackOrders]struct{item stackpoolItem; _ pad to a cache line}; 4 orders
// on linux.
Verdict GlobalChecks::stackpool(Address at) const {
    if (!layout_.stackpoolItem.span_first.present()) return Verdict::no;
    for (std::uint64_t order = 0; order < 4; ++order)
        if (auto verdict =
                span_list(at + order * 64 + static_cast<std::uint64_t>(layout_.stackpoolItem.span_first.offset));
            verdict != Verdict::yes)
            return verdict;
    return Verdict::yes;
}

Verdict GlobalChecks::stack_large(Address at) const {
    for (std::uint64_t i = 0; i < size_class_lists; ++i)
        if (auto verdict = span_list(at + 8 + i * 16); verdict != Verdict::yes) return verdict;
    return Verdict::yes;
}

Verdict GlobalChecks::go_string(Address at, std::string_view prefix) const {
    auto data = memory_.load_address(at);
    auto length = memory_.load<std::uint64_t>(at + 8);
    if (!data || !length) return Verdict::unreadable;
    if (*length < prefix.size() || *length > 256) return Verdict::no;
    const std::byte* bytes = memory_.data_at(*data, *length);
    if (bytes == nullptr) return memory_.is_mapped(*data) ? Verdict::unreadable : Verdict::no;
    return std::memcmp(bytes, prefix.data(), prefix.size()) == 0 ? Verdict::yes : Verdict::no;
}

// go1.27 src/runtime/print.go: printBacklog [512]byte holds text, and zeros where nothing was printed yet.
Verdict GlobalChecks::print_backlog(Address at) const {
    const std::byte* bytes = memory_.data_at(at, 512);
    if (bytes == nullptr) return Verdict::unreadable;
    for (std::size_t i = 0; i < 64; ++i) {
        const auto c = std::to_integer<unsigned>(bytes[i]);
        if (c != 0 && c != '\n' && c != '\t' && c < 0x20) return Verdict::no;
    }
    return Verdict::yes;
}

Verdict GlobalChecks::small_number(Address at, std::uint64_t below) const {
    auto word = memory_.load<std::uint32_t>(at);
    if (!word) return Verdict::unreadable;
    return *word < below ? Verdict::yes : Verdict::no;
}

std::uint32_t GlobalChecks::count_strings(Address at) const {
    constexpr std::uint32_t most = 256;
    std::uint32_t count = 0;
    for (; count < most; ++count) {
        auto data = memory_.load_address(at + count * 16ull);
        auto length = memory_.load<std::uint64_t>(at + count * 16ull + 8);
        if (!data || !length || *length > 80) break;
        if (*length == 0 && count != 0) break;  // waitReasonZero is ""
        const std::byte* bytes = memory_.data_at(*data, std::max<std::uint64_t>(*length, 1));
        if (*length != 0 && bytes == nullptr) break;
        bool text = true;
        for (std::uint64_t i = 0; i < *length; ++i)
            text = text && std::to_integer<unsigned>(bytes[i]) >= 0x20 && std::to_integer<unsigned>(bytes[i]) < 0x7f;
        if (!text) break;
    }
    return count;
}

}  // namespace incident::go
