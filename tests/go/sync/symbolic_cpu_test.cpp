// Which registers live through an instruction or a helper's call: what is forgotten too eagerly loses a lock's address.
#include "go/sync/symbolic_cpu.h"

#include <gtest/gtest.h>

#include "core/memory.h"

namespace incident::go {
namespace {

class SymbolicCpuTest : public ::testing::Test {
protected:
    Memory memory;
    std::uint64_t serial = 0;
    SymbolicCpu cpu{memory, serial};
    CpuState state = cpu.blank();
};

TEST_F(SymbolicCpuTest, CompareAndExchangeSparesAllButRax) {
    const GeneralRows& r = rows();
    for (unsigned row : {r.rax, r.rbx, r.rcx, r.rdx, r.rsi}) state[row] = {0, 0x1000u + row};
    CodeStep step;
    step.kind = StepKind::compare_exchange;  // lock cmpxchg [rdx], ecx
    step.has_memory = step.memory_written = true;
    step.memory_size = 4;
    step.base = static_cast<std::int8_t>(r.rdx);
    step.source = static_cast<std::int8_t>(r.rcx);
    cpu.apply(state, step);
    EXPECT_FALSE(state[r.rax].known());
    for (unsigned row : {r.rbx, r.rcx, r.rdx, r.rsi}) EXPECT_EQ(state[row], (Symbolic{0, 0x1000u + row})) << row;
    EXPECT_FALSE(cpu.load(state, {0, 0x1000u + r.rdx}, 4).known());
    step.kind = StepKind::arithmetic_pair;
    cpu.apply(state, step);
    EXPECT_FALSE(state[r.rdx].known());
}

TEST(CalleeFactsTest, WriteBarriersSpareWhatCopiesDoNot) {
    for (const char* name : {"runtime.gcWriteBarrier", "runtime.gcWriteBarrier2", "runtime.gcWriteBarrierCX"}) {
        EXPECT_EQ(facts_of(name).kind, CalleeKind::spares_registers) << name;
        EXPECT_TRUE(facts_of(name).write_barrier) << name;
    }
    EXPECT_EQ(facts_of("runtime.duffcopy").kind, CalleeKind::spares_registers);
    EXPECT_FALSE(facts_of("runtime.duffcopy").write_barrier);
}

TEST(CalleeFactsTest, ClosuresOfTheStandardLibraryAreFollowed) {
    EXPECT_EQ(facts_of("log.(*Logger).output.deferwrap2").kind, CalleeKind::ordinary);
    EXPECT_EQ(facts_of("io.(*pipe).write.func1").kind, CalleeKind::ordinary);
    EXPECT_EQ(facts_of("net/http.(*Server).Serve\u00b7dwrap\u00b73").kind, CalleeKind::ordinary);
    EXPECT_EQ(facts_of("log.(*Logger).output").kind, CalleeKind::opaque);
    EXPECT_EQ(facts_of("runtime.main.func2").kind, CalleeKind::opaque);
    EXPECT_EQ(facts_of("sync.(*Mutex).Unlock").op, LockOp::unlock);
}

}  // namespace
}  // namespace incident::go
