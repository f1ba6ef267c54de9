// Boxed objects: what interface values name. An interface holds the type of what it points to, in stripped binaries
// too; that makes it the one way to know the fields of memory that the collector never looks at: uintptr words, and
// whole structs in mmap memory.
//
// Surprising: this is one linear pass over every word of the scannable spans and of .data and .bss: a word that is a
// type descriptor's address, followed by an address. Such a pair may be something else (a malloc header before its
// object, a reflect.Value, a map iterator, two arguments' types), so the collector's mask must know the second word for
// a pointer and the first for none, and the object must also fit: size class and pointers or none must agree with the
// type. Only objects with words worth a look are kept: uintptr or unsafe.Pointer words in the heap and the
// data sections, every address word elsewhere.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "go/binary/rtype_words.h"
#include "go/heap/spans.h"

namespace incident {

namespace go {
class HeapGraph;
}

struct BoxedObject {
    Address object;
    std::uint32_t type = 0;  ///< into Boxed::types
    Address named_by;        ///< address of the interface value; the lowest of several
    bool off_heap = false;   ///< neither in the Go heap nor in an image: mmap, C
};

struct Boxed {
    struct Type {
        go::RType rtype;                     ///< of the object itself, not of the pointer in the interface
        std::vector<go::AddressWord> words;  ///< that hold addresses
    };
    std::vector<Type> types;
    std::vector<BoxedObject> objects;  ///< by address; one row each
    bool complete = true;              ///< false: there were more than we keep
};

/// Names of types whose uintptr words are the runtime's own business.
bool runtime_type(std::string_view name);

/// `wanted`, sorted: objects that cover one of these words are kept too, whatever their type, so that a word in a
/// stripped program's data gets the name of its type and field. `heap`: its masks tell interfaces in objects from other
/// such pairs; null: they are not asked.
Boxed find_boxed(const Memory& memory, const go::Runtime& runtime, const go::Spans& spans, const go::HeapGraph* heap,
                 unsigned jobs, std::span<const Address> wanted = {});

}  // namespace incident
