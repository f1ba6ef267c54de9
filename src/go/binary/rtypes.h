// Names out of runtime type descriptors. [any thread]
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "go/binary/kind.h"
#include "go/binary/runtime.h"

namespace incident::go {

/// The text of a name record (of a type or a field), which begins with its flag byte.
std::optional<std::string_view> read_type_name_at(const Memory& memory, const Version& version, Address name);

/// Name of the type whose descriptor is at `at`, as DWARF writes it: packages with their whole path; as the runtime
/// prints it where its parts cannot be read. nullopt: no type can be there.
std::optional<std::string> read_type_name(const Memory& memory, const RuntimeLayout& layout, const Version& version,
                                          std::span<const ModuleData> modules, Address at);

/// Without what the compiler adds for the linker: "main.entry" of "main.entry·2", a type declared in a function,
/// "gopkg.in/yaml.v3.Node" of "gopkg.in/yaml%2ev3.Node", and "[8]string" of "noalg.[8]string".
std::string as_written(std::string name);

/// Bytes of a descriptor before its uncommon part (package, methods); 0: not known.
std::uint64_t size_before_uncommon(const RuntimeLayout& layout, Kind kind);

}  // namespace incident::go
