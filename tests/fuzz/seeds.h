// What a fuzz target replays in every build, and hands a fuzzer to begin with.
#pragma once

#include <functional>
#include <span>
#include <string_view>

namespace incident {

/// Defined by each target: calls `use` for each of its inputs. `name` may hold spaces; the bytes live during the call.
void for_each_seed(const std::function<void(std::string_view name, std::span<const std::byte> bytes)>& use);

}  // namespace incident
