// Holder: the word that holds an address, as a person would name it: "main.theHolder.where", "field item of a
// main.shelf at 0x…", "goroutine 7, main.work, bp-0x28". By DWARF symbols, the object's own type, or an interface
// value that names the object.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "process/boxed.h"
#include "process/process.h"

namespace incident {

struct Holder {
    Address word;
    Address base;        ///< of the object that the word belongs to; the word itself when unknown
    std::string name;    ///< "main.theHolder.where"
    std::string symbol;  ///< of the object: "main.theHolder"; empty: none
    std::string type;    ///< "main.holder"; empty: unknown
    std::string field;   ///< "where"; empty: unknown
    std::string place;   ///< "data: main.theHolder", "heap: …"
    std::vector<report::Evidence> evidence;

    report::Subject subject() const { return {base, "holder", type, symbol}; }
    /// A name that a stripped build of another Go version has too: "main.holder.where".
    std::string stable() const {
        const std::string& owner = type.empty() ? symbol : type;
        return owner.empty() || field.empty() ? owner : owner + "." + field;
    }
};

/// `boxed` may be null: then types come from symbols and spans only. One thread: it may ask for symbols.
Holder find_holder(const Locator& locator, const Boxed* boxed, Address word);

}  // namespace incident
