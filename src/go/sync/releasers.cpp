// Timers from the heaps of the Ps, finalizers and cleanups from the specials of the spans, and finalizers already
// queued; exported functions by their names.
#include "go/sync/releasers.h"

#include <algorithm>

#include "base/bounded_walk.h"
#include "go/heap/specials.h"

namespace incident::go {

namespace {

constexpr std::uint64_t max_ps = 1u << 14;
constexpr std::uint64_t max_timers = 1u << 22;
constexpr std::size_t max_specials = 1u << 22;
constexpr std::size_t max_exported = 1u << 12;
constexpr std::string_view exported_prefix = "_cgoexp_";

/// A *funcval: its first word is the entry of a Go function.
bool is_closure(const Memory& memory, const Runtime& runtime, Address at) {
    if (at.is_null() || !at.is_aligned(8)) return false;
    auto entry = memory.load_address(at);
    if (!entry) return false;
    auto func = runtime.find_func(*entry);
    return func && func->entry == *entry;
}

class Reader {
public:
    Reader(const Memory& memory, const Runtime& runtime, Callbacks& out)
        : memory_(memory), runtime_(runtime), layout_(runtime.layout()), out_(out) {}

    void timers() {
        const auto& globals = runtime_.globals();
        if (!globals.allp) return;
        auto data = memory_.load_address(*globals.allp);
        auto count = memory_.load<std::uint64_t>(*globals.allp + 8);
        if (!data || !count || *count > max_ps) return;
        out_.timers_read = true;
        for (std::uint64_t i = 0; i < *count; ++i) {
            auto p = memory_.load_address(*data + i * 8);
            if (!p || p->is_null()) {
                out_.timers_read &= p.has_value();
                continue;
            }
            StructView view(memory_, *p);
            const bool heap = layout_.p.timers_heap_data.present();  // 1.23+: []timerWhen
            auto first = heap ? view.get(layout_.p.timers_heap_data) : view.get(layout_.p.timers_data);
            auto length = heap ? view.get(layout_.p.timers_heap_len) : view.get(layout_.p.timers_len);
            if (!first || !length || *length > max_timers) {
                out_.timers_read = false;
                continue;
            }
            const std::uint64_t stride = heap ? std::max<std::uint64_t>(layout_.timerWhen.size, 16) : 8;
            for (std::uint64_t t = 0; t < *length; ++t)
                if (auto timer = memory_.load_address(*first + t * stride); timer && !timer->is_null())
                    add_timer(*timer);
        }
    }

    void finalizers(const Spans& spans) {
        out_.finalizers_read = true;
        for (const Span& span : spans.all()) {
            if (span.state != SpanState::in_use || span.specials.is_null()) continue;
            walk_chain(span.specials, max_specials, [&](Address at) { return add_special(span, at); });
        }
        if (!runtime_.globals().allfin) return;
        auto head = memory_.load_address(*runtime_.globals().allfin);
        if (!head) return;
        const std::uint64_t stride = std::max<std::uint64_t>(layout_.finalizer.size, 40);
        walk_chain(*head, 4096, [&](Address at) -> std::optional<Address> {
            StructView block(memory_, at);
            auto count = block.get(layout_.finblock.cnt);
            for (std::uint64_t i = 0;
                 count && layout_.finblock.fin.present() && i < std::min<std::uint32_t>(*count, 101); ++i) {
                StructView entry(memory_, at + static_cast<std::uint64_t>(layout_.finblock.fin.offset) + i * stride);
                auto fn = entry.get(layout_.finalizer.fn), arg = entry.get(layout_.finalizer.arg);
                if (fn && arg && is_closure(memory_, runtime_, *fn))
                    add_closure(CallbackKind::finalizer, *fn, *arg, entry.address());
            }
            auto next = block.get(layout_.finblock.alllink);
            return next ? std::optional(*next) : std::nullopt;
        });
    }

    /// What cgo puts between C and an exported function: _cgoexp_HASH_NAME. go1.16–1.27 src/cmd/cgo/out.go,
    /// writeExports
    void exported() {
        if (!runtime_.cgo()) return;
        for (const ModuleData& module : runtime_.modules()) {
            const auto functions = module.pclntab.find_by_prefix(exported_prefix, max_exported);
            out_.exported += functions.size();
            out_.exported_read &= functions.size() < max_exported;
            for (const Func& func : functions) {
                const auto hash_end = func.name.find('_', exported_prefix.size());
                add({CallbackKind::exported, func.entry, {}, {}, {}, func.name.substr(hash_end + 1)});
            }
        }
    }

private:
    void add(Callback callback) {
        if (out_.all.size() >= max_specials) return;
        out_.all.push_back(callback);
    }

    void add_closure(CallbackKind kind, Address closure, std::optional<Address> argument, Address record) {
        if (auto entry = memory_.load_address(closure)) add({kind, *entry, closure, argument, record, {}});
    }

    void add_timer(Address at) {
        ++out_.timers;
        StructView timer(memory_, at);
        auto f = timer.get(layout_.timer.f);
        if (!f || !is_closure(memory_, runtime_, *f)) return;
        auto entry = memory_.load_address(*f);
        auto func = entry ? runtime_.find_func(*entry) : std::nullopt;
        // time.AfterFunc: f is goFunc and the argument the function value itself; an interface holds it directly.
        if (func && func->name == "time.goFunc") {
            auto arg = timer.get(layout_.timer.arg_data);
            if (arg && is_closure(memory_, runtime_, *arg)) add_closure(CallbackKind::timer, *arg, std::nullopt, at);
            return;
        }
        out_.channel_timers += func && func->name == "time.sendTime";
        if (func && (func->name.starts_with("runtime.") || func->name.starts_with("time.") ||
                     func->name.starts_with("internal/")))
            return;  // Sleep, channels, deadlines
        add_closure(CallbackKind::timer, *f, std::nullopt, at);
    }

    std::optional<Address> add_special(const Span& span, Address at) {
        StructView special(memory_, at);
        auto next = special.get(layout_.special.next);
        const auto kind = special.get(layout_.special.kind);
        if (kind && *kind == kinds_.finalizer) {
            const Address object = span.range.begin + special_offset(special, runtime_).value_or(0);
            if (const auto fn = special.get(layout_.specialfinalizer.fn); fn && is_closure(memory_, runtime_, *fn)) {
                ++out_.finalizers;
                add_closure(CallbackKind::finalizer, *fn, object, at);
            }
        } else if (kind && *kind == kinds_.cleanup && kinds_.cleanup != 0) {
            if (const auto fn = special.get(layout_.specialCleanup.fn); fn && is_closure(memory_, runtime_, *fn)) {
                ++out_.finalizers;
                // Where its argument is; up to 1.25 the closure has it.
                std::optional<Address> argument;
                if (const auto box = special.get(layout_.specialCleanup.arg))
                    if (const auto word = memory_.load_address(*box)) argument = *word;
                add_closure(CallbackKind::cleanup, *fn, argument, at);
            }
        }
        return next ? std::optional(*next) : std::nullopt;
    }

    const Memory& memory_;
    const Runtime& runtime_;
    const RuntimeLayout& layout_;
    const SpecialKinds kinds_ = special_kinds(runtime_.version());
    Callbacks& out_;
};

}  // namespace

std::string_view to_string(CallbackKind kind) {
    switch (kind) {
        case CallbackKind::timer: return "timer";
        case CallbackKind::finalizer: return "finalizer";
        case CallbackKind::cleanup: return "cleanup";
        case CallbackKind::exported: return "call from C";
    }
    return "";
}

Callbacks read_callbacks(const Memory& memory, const Runtime& runtime, const Spans* spans) {
    Callbacks callbacks;
    Reader reader(memory, runtime, callbacks);
    reader.timers();
    if (spans != nullptr) reader.finalizers(*spans);
    reader.exported();
    return callbacks;
}

}  // namespace incident::go
