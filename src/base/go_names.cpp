#include "base/go_names.h"

#include <algorithm>
#include <array>

namespace incident {

namespace {

constexpr std::array<std::string_view, 50> roots{
    "archive", "bufio",    "bytes",   "cmp",    "compress", "container", "context", "crypto",  "database", "debug",
    "embed",   "encoding", "errors",  "expvar", "flag",     "fmt",       "go",      "hash",    "html",     "image",
    "index",   "internal", "io",      "iter",   "log",      "maps",      "math",    "mime",    "net",      "os",
    "path",    "plugin",   "reflect", "regexp", "runtime",  "slices",    "sort",    "strconv", "strings",  "structs",
    "sync",    "syscall",  "testing", "text",   "time",     "unicode",   "unique",  "unsafe",  "vendor",   "weak"};

}  // namespace

bool is_standard_library(std::string_view function) {
    // go.etcd.io/bbolt.(*Tx).Commit is none, though its first word is that of go/ast: a dot before the first slash
    // makes a host. Receivers and type arguments have slashes of their own.
    const std::string_view path = function.substr(0, function.find_first_of("(["));
    const std::size_t end = path.find_first_of("/.");
    if (end != std::string_view::npos && path[end] == '.' && path.find('/', end) != std::string_view::npos)
        return false;
    return std::ranges::binary_search(roots, path.substr(0, end));
}

}  // namespace incident
