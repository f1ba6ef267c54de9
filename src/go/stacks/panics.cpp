// g._panic. Once a panic is fatal the runtime has replaced errors by their text (preprintpanics), so the string is
// there.
#include "go/stacks/panics.h"

#include "base/bounded_walk.h"
#include "go/stacks/values.h"

namespace incident::go {

namespace {
constexpr std::size_t max_panics = 10000;
}

Panics read_panics(const Memory& memory, const Runtime& runtime, const Goroutine& g) {
    Panics panics;
    const auto& f = runtime.layout()._panic;
    Values values(memory, runtime);
    auto end = walk_chain(g.panics, max_panics, [&](Address at) -> std::optional<Address> {
        StructView view(memory, at);
        auto link = view.get(f.link);
        auto type = view.get(f.arg_type);
        auto data = view.get(f.arg_data);
        if (!link || !type || !data) return std::nullopt;
        ActivePanic panic;
        panic.panic = at;
        panic.type = *type;
        panic.data = *data;
        panic.recovered = view.get(f.recovered).value_or(0) != 0;
        panic.aborted = view.get(f.aborted).value_or(0) != 0;
        panic.goexit = view.get(f.goexit).value_or(0) != 0;
        panic.repanicked = view.get(f.repanicked).value_or(0) != 0;
        if (!panic.goexit) {
            if (!type->is_null()) panic.type_name = runtime.type_name(*type).value_or("");
            panic.value = values.panic_argument(*type, *data, &panic.exact);
        }
        panics.chain.push_back(std::move(panic));
        return *link;
    });
    panics.complete = end == WalkEnd::done;
    return panics;
}

std::string panic_text(const Panics& panics) {
    // go1.27 src/runtime/panic.go, printpanics
    std::string text;
    for (std::size_t i = panics.chain.size(); i-- > 0;) {
        const auto& panic = panics.chain[i];
        const bool has_older = i + 1 < panics.chain.size();
        if (has_older && panics.chain[i + 1].repanicked) continue;
        if (has_older && !panics.chain[i + 1].goexit) text += '\t';
        if (panic.goexit) continue;
        text += "panic: " + panic.value;
        if (panic.recovered) text += panic.repanicked ? " [recovered, repanicked]" : " [recovered]";
        text += '\n';
    }
    return text;
}

}  // namespace incident::go
