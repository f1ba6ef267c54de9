// Stuck on themselves, and what is gone without a trace: Onces in a circle, a lock that a callee releases on some ways
// out only, a lost lock whose next owners have deferred its release already, a main that has left by Goexit, a
// finalizer that waits, tokens that nobody brings back, a process that its watchdog ends.

package main

import (
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// chart and index need each other before they are made.
type onceOf struct {
	once  sync.Once
	value int64
	other *onceOf
}

var theChart, theIndex onceOf

//go:noinline
func (o *onceOf) load() int64 {
	o.once.Do(func() { o.value = o.other.load() + 1 })
	return o.value
}

//go:noinline
func (l *ledger) settleAccount(n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	sink += l.reserve(n)
}

// reserve keeps the lock for its caller if there is enough.
//
//go:noinline
func (l *ledger) reserve(n int64) int64 {
	enter("self", "sync.Mutex.Lock | semacquire", hex(unsafe.Pointer(&l.mu)))
	l.mu.Lock()
	if l.total < n {
		l.mu.Unlock()
		return 0
	}
	return l.total - n
}

//go:noinline
func (l *ledger) postEarlyDefer(name string, n int64) {
	defer l.mu.Unlock()
	enter(name, "sync.Mutex.Lock | semacquire", hex(unsafe.Pointer(&l.mu)))
	l.mu.Lock()
	l.total += n
}

//go:noinline
func forgetUnlock(l *ledger) { l.mu.Lock() }

// tokens are taken by sending, and given back by receiving.
var tokens = make(chan struct{}, 2)

//go:noinline
func takeToken() { tokens <- struct{}{} }

//go:noinline
func takeTokenAs(name string) {
	enter(name, "chan send", hex(*(*unsafe.Pointer)(unsafe.Pointer(&tokens))))
	takeToken()
	<-tokens
}

// letter has a finalizer that waits for an answer.
type letter struct{ words [4]int64 }

//go:noinline
func burnLetter(answers chan int64) {
	l := &letter{}
	l.words[0] = 1
	runtime.SetFinalizer(l, func(l *letter) {
		enter("finalizer", "chan receive", hex(*(*unsafe.Pointer)(unsafe.Pointer(&answers))))
		l.words[1] = <-answers
	})
	sink += l.words[0]
}

//go:noinline
func answerSlowly(answers chan int64) {
	enter("answerer", "sleep", "0x0")
	time.Sleep(time.Hour)
	answers <- 1
}

// bite is what a watchdog does: to the process, whichever of its threads takes it.
//
//go:noinline
func bite() {
	must(syscall.Kill(syscall.Getpid(), syscall.SIGABRT))
	for { // not asleep: that would be a death of another kind
		runtime.Gosched()
	}
}

func init() {
	add("once_circle", func() {
		theChart.other, theIndex.other = &theIndex, &theChart
		mu := (*sync.Mutex)(unsafe.Pointer(uintptr(unsafe.Pointer(&theChart.once)) + 4)) // behind done
		go func() {
			enter("self", "sync.Mutex.Lock | semacquire", hex(unsafe.Pointer(mu)))
			sink += theChart.load()
		}()
		settle(1)
		mutexObject("theChart.once.m", mu, 1|1<<3, nil, "holder=self waiters-names=self")
		planted("go.mutex.self-deadlock", "theChart.once.m", "two Onces whose functions call each other's Do")
	})
	add("self_some_paths", func() {
		go theLedger.settleAccount(1)
		settle(1)
		mutexObject("theLedger.mu", &theLedger.mu, 1|1<<3, unsafe.Pointer(theLedger), "holder=self waiters-names=self")
		healthy() // nothing but a remark: another goroutine may hold it as well, and hand it over
	})
	add("orphan_deferred", func() {
		inGone(func() { forgetUnlock(theLedger) })
		waiters(func(name string) { theLedger.postEarlyDefer(name, 1) })
		mutexObject("theLedger.mu", &theLedger.mu, 1|3<<3, unsafe.Pointer(theLedger), "holder=none"+threeRest)
		planted("go.mutex.orphaned", "theLedger.mu", "the waiters have deferred its release before they have it")
	})
	add("watchdog", func() {
		inGone(func() { forgetUnlock(theLedger) })
		waiters(func(name string) { posterDeferred(name, theLedger, 1) })
		mutexObject("theLedger.mu", &theLedger.mu, 1|3<<3, unsafe.Pointer(theLedger), "holder=none"+threeRest)
		planted("go.mutex.orphaned", "theLedger.mu", "and a watchdog ends the process")
		last = func() {
			go bite()
			select {}
		}
	})
	add("tokens_used_up", func() {
		inGone(takeToken)
		inGone(takeToken)
		waiters(takeTokenAs)
		object("tokens", "chan struct {}", *(*unsafe.Pointer)(unsafe.Pointer(&tokens)), "len=2 cap=2")
		healthy() // nothing but a remark: whoever will receive may not have been born
	})
	add("finalizer_waits", func() {
		answers := make(chan int64)
		go answerSlowly(answers)
		inGone(func() { burnLetter(answers) })
		sink += int64(wipeStack())
		until("finalizer", func() bool { runtime.GC(); return atomic.LoadInt32(&entered) == 2 })
		settle(2)
		healthy()
	})
	add("main_goexit", func() {
		c := make(chan int64)
		go func() {
			enter("listener", "chan receive", "0x0")
			awaitNews(c)
		}()
		settle(1)
		healthy()
		last = func() {
			go func() {
				time.Sleep(50 * time.Millisecond)
				abort()
				c <- 1
			}()
			runtime.Goexit()
		}
	})
}
