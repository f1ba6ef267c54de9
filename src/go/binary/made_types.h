// Types that no program wrote: the structs that the compiler and linker make for maps and channels. DWARF and the
// runtime's descriptors name them differently, and from release to release (cmd/link/internal/ld/dwarf.go,
// synthesizemaptypes*, synthesizechantypes; cmd/compile/internal/reflectdata/map*.go):
//
//   hash<K,V>, map<K,V>                                        the map's header, up to 1.23, from 1.24 on
//   bucket<K,V>, map.bucket[K]V                                its cells, up to 1.23
//   table<K,V>; group<K,V>, map.group[K]V                      its tables and their cells, from 1.24 on
//   hchan<T>                                                   a channel
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace incident::go {

enum class MadeType : std::uint8_t { none, channel, map_header, map_table, map_cells };

/// Of a type's own name: no "*" or "[]" before it.
MadeType made_type(std::string_view name);

/// As a Go programmer would say it: "chan int", "map[string]int", "table of map[string]int", "[]group of
/// map[string]int" of "[]map.group[string]int". Other names as they are.
std::string spoken_type(std::string_view name);

}  // namespace incident::go
