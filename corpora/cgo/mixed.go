// Locks of both worlds: Go mutexes held by goroutines that are in C, pthread mutexes held by goroutines that wait in Go.

package main

/*
#cgo LDFLAGS: -lpthread
#include <pthread.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>
struct store { uint64_t magic; pthread_mutex_t mu; pthread_cond_t cond; int n; volatile int waiting; volatile int owner; };
static struct store g_store = { 0x53544f5245303031, PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER };
static struct store *c_store(void) { return &g_store; }
static __attribute__((noipa)) void c_lock(struct store *s) {
	__sync_fetch_and_add(&s->waiting, 1);
	pthread_mutex_lock(&s->mu);
	s->owner = syscall(SYS_gettid);
	__sync_fetch_and_sub(&s->waiting, 1);
}
static __attribute__((noipa)) void c_unlock(struct store *s) { pthread_mutex_unlock(&s->mu); }
static __attribute__((noipa)) void c_update(struct store *s) { c_lock(s); s->n++; c_unlock(s); }
static __attribute__((noipa)) void c_sleep(unsigned sec) { while (sec) sec = sleep(sec); }
static __attribute__((noipa)) void c_update_slowly(struct store *s) { c_lock(s); c_sleep(3600); s->n++; c_unlock(s); }
static __attribute__((noipa)) void c_lock_and_leave(struct store *s) { c_lock(s); s->n++; }
static void *c_thread_main(void *p) { struct store *s = p; c_lock(s); return 0; } // ends with the lock held
static int c_orphan_thread(struct store *s) { pthread_t t; return pthread_create(&t, 0, c_thread_main, s) || pthread_join(t, 0); }
*/
import "C"

import (
	"runtime"
	"sync"
	"time"
	"unsafe"
)

type ledger struct {
	magic uint64
	mu    sync.Mutex
	total int64
}

var theLedger = &ledger{magic: 0x4c45444745523031}

func goMu() string { return hex(unsafe.Pointer(&theLedger.mu)) }

func cMu() string { return hex(unsafe.Pointer(&C.c_store().mu)) }

//go:noinline
func (l *ledger) post(name string) {
	enter(name, "sync.Mutex.Lock | semacquire", goMu())
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total++
}

func noteGo(rest string) {
	object("theLedger.mu", "sync.Mutex", unsafe.Pointer(&theLedger.mu), "state=0x%x %s", *(*int32)(unsafe.Pointer(&theLedger.mu)), rest)
}

func noteC(rest string) {
	s := C.c_store()
	object("g_store.mu", "pthread_mutex_t", unsafe.Pointer(&s.mu), "owner-tid=%d symbol=g_store %s", int(s.owner), rest)
}

func threeWait() {
	for _, n := range []string{"waiter1", "waiter2", "waiter3"} {
		go theLedger.post(n)
	}
}

func waitingInC(n C.int) { until("waiters in C", func() bool { return C.c_store().waiting == n }) }

func init() {
	add("cycle_mixed", func() { // A: Go lock, then C lock. B: C lock, then Go lock
		s := C.c_store()
		go1, go2 := make(chan bool), make(chan bool)
		go func() {
			theLedger.mu.Lock()
			defer theLedger.mu.Unlock()
			go1 <- true
			<-go2
			enter("gofirst", "syscall, in C pthread_mutex_lock", cMu())
			C.c_update(s)
		}()
		<-go1
		go func() {
			runtime.LockOSThread()
			C.c_lock_and_leave(s)
			go1 <- true
			theLedger.post("cfirst")
			C.c_unlock(s)
		}()
		<-go1
		go2 <- true
		settle(2)
		waitingInC(1)
		noteGo("holder=gofirst waiters-names=cfirst")
		noteC("holder=cfirst waiters-names=gofirst")
		planted("lock.cycle", "theLedger.mu,g_store.mu", "goroutines=gofirst,cfirst edges=gofirst>g_store.mu>cfirst,cfirst>theLedger.mu>gofirst")
	})
	add("holder_in_c", func() { // healthy: the holder of the Go lock is asleep in C
		go func() {
			theLedger.mu.Lock()
			defer theLedger.mu.Unlock()
			enter("holder", "syscall, in C sleep", goMu())
			C.c_sleep(3600)
			theLedger.total++
		}()
		settle(1)
		threeWait()
		settle(4)
		noteGo("holder=holder basis=pending-defer waiters-names=waiter1,waiter2,waiter3")
		healthy()
	})
	add("holder_in_c_plain", func() { // the same without defer
		go func() {
			theLedger.mu.Lock()
			enter("holder", "syscall, in C sleep", goMu())
			C.c_sleep(3600)
			theLedger.total++
			theLedger.mu.Unlock()
		}()
		settle(1)
		threeWait()
		settle(4)
		noteGo("holder=holder basis=frame waiters-names=waiter1,waiter2,waiter3")
		healthy()
	})
	add("chain_mixed", func() { // healthy: waiters of the Go lock, its holder waits for the C lock, whose owner sleeps
		s := C.c_store()
		go func() {
			enter("owner", "syscall, in C sleep", cMu())
			C.c_update_slowly(s)
		}()
		settle(1)
		go func() {
			theLedger.mu.Lock()
			defer theLedger.mu.Unlock()
			enter("holder", "syscall, in C pthread_mutex_lock", cMu())
			C.c_update(s)
		}()
		settle(2)
		waitingInC(1)
		threeWait()
		settle(5)
		noteGo("holder=holder basis=pending-defer waiters-names=waiter1,waiter2,waiter3")
		noteC("holder=owner waiters-names=holder")
		healthy()
	})
	add("c_orphan", func() { // a C thread ended with the lock held; goroutines wait for it in C
		s := C.c_store()
		if C.c_orphan_thread(s) != 0 {
			fail("pthread")
		}
		for _, n := range []string{"waiter1", "waiter2"} {
			n := n
			go func() {
				enter(n, "syscall, in C pthread_mutex_lock", cMu())
				C.c_update(s)
			}()
		}
		settle(2)
		waitingInC(2)
		noteC("holder=none waiters-names=waiter1,waiter2")
		planted("native.mutex.orphaned", "g_store.mu", "its owner thread has ended")
	})
	add("c_self", func() { // a goroutine locks the pthread mutex twice on its thread
		s := C.c_store()
		go func() {
			runtime.LockOSThread()
			C.c_lock_and_leave(s)
			enter("self", "syscall, in C pthread_mutex_lock", cMu())
			C.c_update(s)
		}()
		settle(1)
		waitingInC(1)
		noteC("holder=self waiters-names=self")
		planted("native.mutex.self-deadlock", "g_store.mu", "")
	})
	add("c_slow_owner", func() { // healthy: the owner sleeps, two wait
		s := C.c_store()
		go func() {
			enter("owner", "syscall, in C sleep", cMu())
			C.c_update_slowly(s)
		}()
		settle(1)
		for _, n := range []string{"waiter1", "waiter2"} {
			n := n
			go func() {
				enter(n, "syscall, in C pthread_mutex_lock", cMu())
				C.c_update(s)
			}()
		}
		settle(3)
		waitingInC(2)
		time.Sleep(10 * time.Millisecond)
		noteC("holder=owner waiters-names=waiter1,waiter2")
		healthy()
	})
}
