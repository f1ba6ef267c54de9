#include <cxxabi.h>

#include <cstdlib>
#include <memory>

#include "image/image.h"

namespace incident {

std::string demangle(std::string_view symbol) {
    constexpr std::size_t longest = 4096;  // bytes; substitutions in longer ones may expand without measure
    if (!symbol.starts_with("_Z") || symbol.size() > longest) return std::string(symbol);
    const std::string terminated(symbol.substr(0, symbol.find('@')));
    int status = 0;
    const std::unique_ptr<char, decltype(&std::free)> plain(
        abi::__cxa_demangle(terminated.c_str(), nullptr, nullptr, &status), &std::free);
    return status == 0 && plain ? std::string(plain.get()) : std::string(symbol);
}

}  // namespace incident
