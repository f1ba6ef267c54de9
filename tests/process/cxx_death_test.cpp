// What ended a C++ program, by the names on the way to abort() alone: no record of an exception is left.
#include "process/cxx_death.h"

#include <gtest/gtest.h>

#include "support/memory_builder.h"

namespace incident {
namespace {

std::string death_of(std::initializer_list<std::string_view> functions) {
    std::vector<report::Frame> frames;
    for (auto function : functions) {
        report::Frame frame;
        frame.kind = report::FrameKind::native;
        frame.function = function;
        frame.module = function == "main" ? "/opt/app/server" : "/lib/libc++abi.so.1";
        frames.push_back(frame);
    }
    const MemoryBuilder memory;
    auto death = find_cxx_death(memory.build(), ThreadState{.tid = 1, .registers = Registers(x86_64())}, frames);
    return death ? death->message : std::string();
}

TEST(CxxDeath, APointerToAnExceptionHasOne) {
    EXPECT_EQ(death_of({"abort", "std::terminate()", "std::rethrow_exception(std::exception_ptr)", "main"}),
              "uncaught C++ exception");
    EXPECT_EQ(death_of({"abort", "std::terminate()", "__cxa_rethrow", "main"}),
              "`throw;` without an exception to throw again");
    EXPECT_EQ(death_of({"abort", "std::terminate()", "main"}), "std::terminate() was called");
    EXPECT_EQ(death_of({"abort", "main"}), "");
}

}  // namespace
}  // namespace incident
