//go:build go1.18
// +build go1.18

// TryLock exists from Go 1.18 on. The deferred "hardening" never unlocks: TryLock fails while the lock is held.

package main

import (
	"time"
	"unsafe"
)

//go:noinline
func (l *ledger) postTry(n int64) {
	l.mu.Lock()
	defer func() {
		if l.mu.TryLock() {
			l.mu.Unlock()
		}
	}()
	l.total += n
}

//go:noinline
func posterTry(name string, l *ledger, n int64) {
	enter(name, "sync.Mutex.Lock | semacquire", mu(l))
	l.postTry(n)
}

// tryHolder does it right: what TryLock took, the deferred Unlock gives back.
//
//go:noinline
func tryHolder(l *ledger) {
	if !l.mu.TryLock() {
		fail("TryLock")
	}
	defer l.mu.Unlock()
	enter("holder", "sleep", mu(l))
	time.Sleep(time.Hour)
	l.total++
}

func init() {
	add("orphan_trylock", func() {
		inGone(func() { theLedger.postTry(1) })
		three(func(name string, n int64) { posterTry(name, theLedger, n) })
		mutexObject("theLedger.mu", &theLedger.mu, 1|3<<3, unsafe.Pointer(theLedger), orphanRest)
		planted("go.mutex.orphaned", "theLedger.mu", "locked in main.(*ledger).postTry; the deferred TryLock failed and nothing unlocked")
	})
	add("holder_trylock", func() {
		go tryHolder(theLedger)
		settle(1)
		waiters(func(name string) { posterDeferred(name, theLedger, 1) })
		held("theLedger.mu", &theLedger.mu, unsafe.Pointer(theLedger), "holder=holder basis=pending-defer waiters-names=waiter1,waiter2,waiter3")
	})
}
