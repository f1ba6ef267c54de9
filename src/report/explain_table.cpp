// The finding kinds of contract.md, in its order. Texts say what the bytes can prove and no more; the look-alikes are
// those that healthy programs really show.
#include <vector>

#include "report/explain.h"

namespace incident::report {

namespace {

constexpr Explanation crash_kinds[] = {
    {"crash.fault", "the process died of a hardware fault that did not become a Go panic",
     "A load, store, jump or arithmetic instruction failed: in C or C++ code, in the Go runtime itself, or on a signal "
     "stack.",
     "The kernel's siginfo of the dying thread, or the ucontext beneath the runtime's own raise; the instruction is "
     "decoded and its "
     "operand must give the fault address. Always proved.",
     "None for the death itself. si_code 0x80 with address 0 is a non-canonical address, not a nil pointer.",
     "Read which register was bad and which slot it was loaded from; that slot's writer is the place to look."},
    {"crash.panic", "an uncaught Go panic ended the process",
     "panic() ran (also through a nil dereference, an index out of range or a failed assertion) and nothing recovered "
     "it.",
     "The panicking goroutine's panic chain and runtime.gopanic frames, or the runtime's sigpanic above the faulting "
     "frame. Proved.",
     "A recovered panic is only listed, and never reported as the death.",
     "The frame below runtime.gopanic is where it began; the values of its panic chain say what was thrown on the "
     "way."},
    {"crash.fatal", "the Go runtime stopped the process: throw or fatal",
     "The runtime found something that it cannot survive: concurrent map writes, a bad pointer, a deadlock, out of "
     "memory, an unlock of "
     "an unlocked mutex. No defer runs and nothing can recover it.",
     "runtime.throw or runtime.fatal on the dying thread's stack and its string argument. Proved.",
     "None. Where the text names a cause of its own, the more specific kind is reported instead or beside it.",
     "Look the message up with incident explain: go.map.concurrent-access, go.pointer.bad and go.mutex.bad-unlock have "
     "their own pages."},
    {"crash.abort", "C or C++ code called abort",
     "An assertion, std::terminate, malloc's own checks or an explicit abort() raised SIGABRT.",
     "SIGABRT sent by the process to itself, with abort on the C stack; the message comes from glibc's __abort_msg "
     "when there is one. Proved.",
     "Go's GOTRACEBACK=crash ends in SIGABRT too: it is told apart by the Go frames and is then the panic or fatal "
     "error that led there.",
     "The frame that called abort or __assert_fail names the check that failed."},
    {"crash.stack-overflow", "a stack was used up",
     "Recursion without end, or a frame larger than what was left: a Go stack beyond its limit, or a C stack run into "
     "its guard page.",
     "The runtime's own message, or a fault address within the guard page next to a thread's stack with sp below its "
     "end. Proved.",
     "A wild pointer that happens to hit a guard page while sp is well inside the stack is a crash.fault.",
     "The repeating frames at the top are the recursion; find the call that no longer ends."},
    {"crash.requested", "the core was asked for from outside",
     "Somebody sent SIGQUIT or SIGABRT, or ran gcore. The process was alive: a hang, a leak or a snapshot, not a "
     "crash.",
     "si_code says that a process sent the signal, or the core carries gcore's notes. Proved, and info only.",
     "Whatever ran at that moment is innocent until another finding says otherwise.",
     "Read the lock, goroutine and heap findings: they are why somebody asked."},
};

constexpr Explanation go_sync_kinds[] = {
    {"go.mutex.orphaned", "a sync.Mutex (or an RWMutex's writer side) is held and nobody alive can unlock it",
     "A goroutine locked it and went away, returned early, or lost the Unlock in a recovered panic. All who come later "
     "wait for ever.",
     "Go's mutex has no owner, so the proof is a search: the state word is locked, and no pending defer, no frame from "
     "its return address "
     "on, no timer, finalizer, queued value, runnable goroutine or function exported to C leads to an Unlock of this "
     "lock. Likely, or "
     "possible where something could not be searched; the report lists what was. Or the goroutine that would unlock "
     "it waits in select{}, on a nil channel or for what nobody else can reach: likely, a warning.",
     "A slow holder has the very same bytes. A lock handed to another goroutine, or to C code, to unlock it there is "
     "legal, or to an object that unlocks it when its method is called, as a transaction does: where an interface has "
     "such an object, the finding is an info. Starving and woken hand-over states pass quickly.",
     "Put `defer mu.Unlock()` right after Lock, or unlock on every path out, those of panics too."},
    {"go.mutex.self-deadlock", "a goroutine waits for a lock that it holds itself",
     "sync.Mutex is not recursive: a method that locks calls another that locks. Upgrading an RLock to Lock, and a "
     "recursive RLock behind "
     "a waiting writer, end the same way.",
     "The waiter's own older frames hold the lock: a pending deferred Unlock of it, or a Lock call on the same address "
     "without an Unlock "
     "since. Proved when the deferred Unlock is there, else likely.",
     "Two different mutexes in one struct lie close together; the addresses are compared exactly.",
     "Split the method into a locking front and a lock-free core; never call the front from the core."},
    {"go.mutex.bad-unlock", "an unlocked lock was unlocked",
     "Unlock ran twice, or without Lock. The runtime stops the process at once.",
     "The runtime's fatal error and the frame that called Unlock. Proved.", "None.",
     "Look for an Unlock both deferred and explicit, or a Mutex copied by value."},
    {"go.rwmutex.reader-leaked", "read locks are held that nobody alive can release, and a writer waits",
     "An RLock lost its RUnlock; the writer waits for it, and every new reader waits for the writer.",
     "readerCount less the sleeping readers gives the readers inside; no live frame or defer leads to RUnlock of this "
     "lock. Likely, or possible where something could not be searched. Or those that would give it back wait in "
     "select{} or on a nil channel: likely, a warning.",
     "A slow reader inside its section, with the same counters.", "Put `defer mu.RUnlock()` right after RLock."},
    {"lock.cycle", "two or more wait for each other in a circle",
     "Each holds what the one before it wants: goroutines and threads, Go locks, channels and pthread locks together.",
     "Every edge of the cycle from waiter to holder has its own basis in the core. Proved when all are pthread locks, "
     "which name their owners; likely when each holder is sure, and of threads that join each other; possible when one "
     "is not.",
     "A lock with several possible holders may be held by one outside the cycle: such a cycle is possible at most.",
     "Take the locks in one agreed order everywhere, or hold only one at a time."},
    {"go.waitgroup.stuck", "waiters on a WaitGroup whose counter nobody alive can bring to zero",
     "A Done is missing: a goroutine returned, panicked or was never started after Add.",
     "The counter is above zero, goroutines sleep in Wait, and no frame, defer or runnable goroutine leads to Done on "
     "it, but for those that sleep in this Wait themselves. Likely, or possible where something could not be searched.",
     "Workers that are alive and slow.", "Call `defer wg.Done()` first in each worker, and Add before `go`."},
    {"go.goroutine.leaked", "goroutines blocked forever on something that no live goroutine can reach",
     "They wait for a channel, lock or condition, or for the next or stop of an iter.Pull, that only they themselves "
     "still refer to. Who waits behind one of them is told with it.",
     "The object that they wait for is reachable from no other live stack, global, timer or C memory; of globals where "
     "every goroutine of the program waits, and no timer or finalizer runs code that could wake one. Likely; possible, "
     "and info only, where some root could not be read.",
     "An object kept only in C memory or behind uintptr; a goroutine parked on purpose (select {}).",
     "Give every send and receive a way out: a context, a done channel, or a buffer of one."},
};

constexpr Explanation go_memory_kinds[] = {
    {"go.frame-pointer.dangling", "a pointer into a stack frame that is gone",
     "Something kept the address of a local variable behind the garbage collector's back (uintptr, unsafe, C), and the "
     "frame has returned "
     "or the stack has moved.",
     "A pointer or uintptr word in heap, data or C memory leads into the dead part of a stack, a freed stack, or "
     "another goroutine's "
     "stack. Likely; possible as for go.pointer.freed.",
     "The runtime's own g, p, m, sudog and defer records hold stack addresses and are excluded; so are one past the "
     "end, and the frame pointer and sp that machine code made at run time keeps of its caller, beside each other.",
     "Never keep the address of a local variable in uintptr or C memory; allocate what must outlive the call."},
    {"go.frame-chain.broken", "a saved frame pointer or return address that cannot be one",
     "The stack was written over: by an overflow through unsafe or cgo, or through a stale pointer into it.",
     "A return address that is not behind a call: proved. A saved frame pointer that does not rise: likely. The frame "
     "and the word are shown.",
     "Assembly without frame pointers, frames being set up or torn down, signal frames.",
     "Look at the neighbouring slots for text or counters: they name the writer."},
    {"go.pointer.freed", "a pointer to a freed heap object or page",
     "The collector freed the object because nothing that it can see kept it; something that it cannot see still "
     "points there.",
     "A word of pointer type or uintptr in memory that is in use leads to a slot that is free, or to a free page. "
     "Likely; possible when the word is a uintptr and may be one past the end of something, and when only words that "
     "may "
     "be no pointers keep the object that holds it.",
     "Dead stack slots, one past the end, integers that look like addresses: only typed words count.",
     "Keep a real pointer to the object for as long as the uintptr lives (runtime.KeepAlive, or a plain field)."},
    {"go.pointer.bad", "the runtime's own \"found bad pointer in Go heap\"",
     "The collector met a pointer into a span that is not in use.",
     "The runtime's throw, its text and the span that it names. Proved.", "None.",
     "The object that held the pointer is named: look for unsafe, cgo or a stale uintptr there."},
    {"go.pointer.offheap-only", "a Go object kept by nothing but memory that the collector does not scan",
     "Its only reference lies in an mmap region; the next collection frees it.",
     "The object is still allocated, no root or heap object leads to it, and a word in a mapping outside the Go heap "
     "does. Likely; possible, and info only, where some root could not be read.",
     "The runtime's own off-heap tables, and random file content that happens to equal an address.",
     "Keep such objects in a Go variable too, or keep indices instead of pointers in mapped memory."},
    {"go.map.freed", "a map, its buckets or groups, or an iterator's buckets, in freed memory",
     "The map was reached through a uintptr or an unsafe copy after it had been freed.",
     "The map header lies in a free slot, or its buckets in a page that is free or of another size class than the type "
     "demands. Likely; possible as for go.pointer.freed.",
     "An iterator's older buckets after the map has grown are normal: they are still allocated.",
     "Keep maps in ordinary variables; never convert a map to uintptr."},
    {"go.map.concurrent-access", "a map was read or written by two goroutines at once",
     "The runtime found it and stopped the process: maps are not safe for concurrent writing.",
     "The runtime's fatal text, with the frame and map of the side that noticed, and every other goroutine inside the "
     "same map. Proved.",
     "The map's flags are often clean again by the time of the core, and flags of iteration are normal in healthy "
     "maps.",
     "Guard the map with a lock, or use sync.Map; run the tests with -race."},
    {"go.map.corrupt", "a map's count, control bytes, flags or directory contradict each other",
     "Memory was overwritten, or two writers left the map torn.",
     "Numbers that the runtime keeps equal whenever nobody writes to the map differ, and everything else reads as a "
     "map. Likely; possible when only words that may be no pointers keep it.",
     "A map in the middle of an insert by a running goroutine is skipped.",
     "Check unsafe and cgo writers near the map's memory; run with -race."},
    {"go.slice.bad", "a slice header that contradicts its invariants, or whose data is not its object",
     "The header was overwritten, made by unsafe with a wrong length, or outlived an munmap.",
     "len > cap or a negative number: proved. Data that is unmapped, or len or cap beyond its object: likely. Possible "
     "in a frame from Go 1.23 on, where variables share slots, and where a running goroutine may be storing it, or "
     "only words "
     "that may be no pointers keep its object.",
     "A torn write on a running thread; an uninitialised dead stack slot; zero-length slices may point anywhere.",
     "Look at unsafe.Slice, reflect.SliceHeader and C writers into the same memory."},
    {"go.string.bad", "a string header that contradicts its invariants, or whose data is unmapped",
     "As go.slice.bad, for strings: often unsafe.String over memory that was freed or unmapped.",
     "A negative length: proved. A length beyond its object, or data that is not mapped: likely. Possible as for "
     "go.slice.bad.",
     "A torn write on a running thread; dead stack slots.",
     "Copy strings that come from mapped files or C memory before the memory goes away."},
    {"go.interface.bad", "an interface whose type word or data contradicts itself",
     "A torn write by a data race, or overwritten memory.",
     "The type word leads to no type of this program: likely. A type whose values are kept behind a pointer, and that "
     "is "
     "nil: possible. Possible as for go.slice.bad.",
     "A torn write on a running thread at the moment of the core.",
     "Guard the variable with a lock or atomic.Value; run with -race."},
    {"go.pool.duplicate", "the same object twice in a sync.Pool",
     "Put was called twice for one Get: two users now get the same object.",
     "The same pointer stands twice among the pool's private, shared and victim slots. Proved.",
     "Slots of the queue outside its tail and head are stale and are not counted.",
     "Put exactly once, by the owner, as the last use."},
};

constexpr Explanation native_kinds[] = {
    {"cgo.pointer.outlived", "C memory holds a pointer to a Go object that is freed, reused, or kept by nothing else",
     "C kept a Go pointer beyond the call that it was passed to.",
     "A word in C data or a malloc chunk in use leads into the Go heap, to a free slot or to an object that nothing "
     "else keeps. Proved when C was following it as the process died, else likely.",
     "A call in progress, a pinned object (runtime.Pinner), and cgo.Handle values, which are small integers.",
     "Pass cgo.Handle or C.malloc memory; pin what C keeps."},
    {"native.mutex.orphaned", "a pthread mutex whose owner thread no longer exists",
     "The thread that locked it has ended without unlocking.",
     "The waiters' system calls name the lock, it is held, and its owner is none of the process's threads. Proved for "
     "recursive and error-checking mutexes, which nobody else can unlock; else likely. Possible when every wait has a "
     "time limit, the "
     "kernel ought to have handed the mutex on (robust, priority inheritance), or thread ids are in doubt.",
     "gcore from outside the PID namespace gives other thread ids (they are compared through the thread blocks); "
     "process-shared and robust mutexes; a normal mutex that another thread will unlock; a fork by the owner.",
     "Unlock on every way out of the thread, cancellation too; or make the mutex robust."},
    {"native.rwlock.orphaned", "a pthread rwlock whose writer thread no longer exists",
     "The thread that held the write lock has ended.",
     "Threads wait for it, it is write-locked, and its writer is no thread of the process. Likely; possible when "
     "every wait has a time limit or thread ids are in doubt.",
     "Process-shared locks held by another process.", "Unlock on every way out of the thread."},
    {"native.mutex.self-deadlock", "the owner of a non-recursive pthread mutex waits for it",
     "The thread locks what it holds.",
     "The owner field names the thread whose system call waits for the lock. Likely; possible when the wait has a time "
     "limit, the lock is shared between processes, or thread ids are in doubt.",
     "A normal mutex that another thread unlocks; a tid given out again; a goroutine that is not locked to its thread. "
     "Recursive and error-checking mutexes do not wait.",
     "Use a recursive mutex, or split the locking function."},
    {"native.frame-pointer.dangling", "a pointer into a C or C++ frame or thread stack that is gone",
     "The address of a local variable outlived its function or its thread.",
     "A global or heap word leads below a stack pointer, into a frame that has no such object, or into the stack of a "
     "thread that has ended. Likely; possible for a word without a type that leads below a stack pointer.",
     "jmp_buf, sigaltstack, thread-local storage at the top of a stack, alloca.",
     "Allocate what must outlive the call."},
    {"native.frame-chain.broken", "a saved frame pointer or return address that cannot be one",
     "The stack was written over.",
     "A return address that is no code or not behind a call, where unwind data say there must be one. Likely; proved "
     "when the process died of returning to it.",
     "Code without frame pointers, hand-written assembly, signal frames, the vDSO.",
     "Look at the words around it for text or patterns; build with -fstack-protector-strong or ASan."},
    {"native.pointer.freed", "live memory points into a freed malloc chunk",
     "Use after free, waiting to happen or just happened.",
     "A word in memory in use leads to a chunk that malloc's own lists hold as free. Proved when the process died of "
     "following it, likely when the word has the type of a pointer, else possible.",
     "Stale words in padding or dead stack slots, pools that malloc does not know, pointers kept for comparison only.",
     "Clear the pointer where the memory is freed; run with ASan."},
    {"native.hash.freed-bucket", "a hash table, or an iterator over one, reaches a freed node or bucket array",
     "An entry was freed without being unlinked, or an iterator outlived an erase or a resize.",
     "From a bucket or a node's next, a chunk is reached that malloc holds as free. Likely; proved when the process "
     "died of following it.",
     "An iterator that is never used again.",
     "Use the iterator that erase returns; do not keep iterators over inserts."},
    {"native.heap.double-free", "the same chunk was freed twice", "malloc found it and aborted, or its lists show it.",
     "malloc's abort message, or one chunk twice in its free lists. Proved.", "None.",
     "Clear the pointer after free; give the memory one owner."},
    {"native.heap.corrupt", "malloc's own structures contradict each other",
     "Something wrote beyond its chunk or into a freed one.",
     "Size fields, list links or malloc's abort message. Proved; likely when only counters or an arena's totals "
     "differ.",
     "A thread inside malloc at the moment of the core.",
     "The chunk in front of the damage is the first suspect; run with ASan."},
    {"native.heap.bad-free", "free was called with what malloc never gave",
     "A Go pointer, a stack address, or the middle of a chunk was freed.",
     "malloc's abort message and the argument. Proved.", "None.",
     "Free only what malloc returned; C.free only what C.CString or C.malloc gave."},
};

}  // namespace

std::span<const Explanation> explanations() {
    static const auto rows = [] {
        std::vector<Explanation> all;
        for (auto part : {std::span<const Explanation>(crash_kinds), std::span<const Explanation>(go_sync_kinds),
                          std::span<const Explanation>(go_memory_kinds), std::span<const Explanation>(native_kinds)})
            all.insert(all.end(), part.begin(), part.end());
        return all;
    }();
    return rows;
}

}  // namespace incident::report
