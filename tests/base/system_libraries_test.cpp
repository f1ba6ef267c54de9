#include "base/system_libraries.h"

#include <gtest/gtest.h>

namespace incident {
namespace {

TEST(SystemLibraries, ByFileName) {
    using enum SystemLibrary;
    for (const auto& [path, library] : {std::pair{"/usr/lib/x86_64-linux-gnu/libc.so.6", glibc},
                                        {"/lib/libc-2.31.so", glibc},
                                        {"/lib/libpthread-2.31.so", pthread},
                                        {"/lib64/ld-linux-x86-64.so.2", loader},
                                        {"/lib/ld-2.31.so", loader},
                                        {"/lib/ld-musl-x86_64.so.1", musl},
                                        {"/lib/libc.musl-x86_64.so.1", musl},
                                        {"/usr/lib/libm.so.6", math},
                                        {"/usr/lib/libstdc++.so.6.0.30", cxx},
                                        {"/usr/lib/libgcc_s.so.1", unwinder},
                                        {"/usr/lib/libasan.so.8.0.0", sanitizer},
                                        {"[vdso]", vdso}})
        EXPECT_EQ(system_library(path), library) << path;
    EXPECT_TRUE(holds_libc("/lib/libpthread-2.31.so"));
    EXPECT_FALSE(holds_libc("/lib64/ld-linux-x86-64.so.2"));
}

/// What a program brings with it may begin with the same letters.
TEST(SystemLibraries, NotAnybodyElses) {
    for (const char* path : {"/opt/app/libcurl.so.4", "/opt/app/libcrypto.so.3", "/opt/app/libmath.so", "/usr/bin/ld",
                             "/opt/app/libc-client.so", "/opt/app/server", "/lib/libc.so.6/server", ""})
        EXPECT_EQ(system_library(path), SystemLibrary::none) << path;
}

}  // namespace
}  // namespace incident
