#include "base/go_names.h"

#include <gtest/gtest.h>

namespace incident {
namespace {

TEST(GoNames, StandardLibraryIsKnownByTheImportPath) {
    for (const char* name :
         {"sync.(*Mutex).Lock", "internal/sync.(*Mutex).lockSlow", "net/http.(*conn).serve", "time.goFunc",
          "runtime.goexit", "sort.Slice", "go/ast.Walk", "slices.SortFunc[go.shape.[]uint8]",
          "sync.(*Pool[example.com/a/b.T]).Get", "vendor/golang.org/x/net/http2/hpack.(*Decoder).Write"})
        EXPECT_TRUE(is_standard_library(name)) << name;
}

// Hosts that begin like a package: etcd, zap, OpenTelemetry. Taken for the standard library, their locks had no
// holders.
TEST(GoNames, AHostIsNoPackage) {
    for (const char* name :
         {"go.etcd.io/bbolt.(*Tx).Commit", "go.uber.org/zap.(*Logger).Info", "go.opentelemetry.io/otel/trace.New",
          "main.main", "main.(*T[go/ast.Node]).f", "github.com/x/y.F", "golang.org/x/net/http2.(*Framer).ReadFrame",
          "text.example.org/a.B", ""})
        EXPECT_FALSE(is_standard_library(name)) << name;
}

}  // namespace
}  // namespace incident
