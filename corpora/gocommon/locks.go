// Compiled into locks: notes about locks, each checked against the lock's own words before it is written.

package main

import (
	"sync"
	"sync/atomic"
	"unsafe"
)

func mutexState(mu *sync.Mutex) int32 { return atomic.LoadInt32((*int32)(unsafe.Pointer(mu))) }

// mutexObject notes a Mutex that must be in just this state.
//
//go:noinline
func mutexObject(name string, mu *sync.Mutex, state int32, in unsafe.Pointer, rest string) {
	until(name+" in its state", func() bool { return mutexState(mu) == state })
	object(name, "sync.Mutex", unsafe.Pointer(mu), "state=%#x locked=%d woken=%d starving=%d waiters=%d in=%s %s",
		state, state&1, state>>1&1, state>>2&1, state>>3, hex(in), rest)
}

// rwObject notes an RWMutex: the state of its writers' Mutex, readers inside or asked for, readers that a writer waits for.
//
//go:noinline
func rwObject(name string, rw *sync.RWMutex, w, readerCount, readerWait int32, in unsafe.Pointer, rest string) {
	at := func(off uintptr) int32 {
		return atomic.LoadInt32((*int32)(unsafe.Pointer(uintptr(unsafe.Pointer(rw)) + off)))
	}
	until(name+" in its state", func() bool { return at(0) == w && at(16) == readerCount && at(20) == readerWait })
	object(name, "sync.RWMutex", unsafe.Pointer(rw), "w=%#x readerCount=%d readerWait=%d in=%s %s", w, readerCount, readerWait, hex(in), rest)
}

const writerPending = -1 << 30 // what a waiting or holding writer adds to readerCount

// planted and healthy write the expectations that case.json repeats.
func planted(kind, subject, rest string) {
	truthf("expect finding=%s subject=%s %s", kind, subject, rest)
}

func healthy() { truthf("expect findings-at-warning=0") }
