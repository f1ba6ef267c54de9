// Locks of the standard library, and those who stand in their own way: a log whose output is slow, or logs itself; a
// loader that asks the cache that it loads for; a WaitGroup that its own member waits for; a finalizer that wants the
// lock of who waits for it; selects of nil channels; a main that nobody listens to.

package main

import (
	"context"
	"io"
	"log"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// theLog's own lock is its first field in every version: mu up to Go 1.20, outMu since.
var theLog = log.New(io.Discard, "", 0)

func logLock() *sync.Mutex { return (*sync.Mutex)(unsafe.Pointer(theLog)) }

//go:noinline
func logLine(name, want, line string) {
	enter(name, want, hex(unsafe.Pointer(logLock())))
	theLog.Print(line)
}

// complainer is a writer that logs what it does not like.
type complainer struct{}

//go:noinline
func (complainer) Write(p []byte) (int, error) {
	if strings.Contains(string(p), "long") {
		logLine("self", "sync.Mutex.Lock | semacquire", "a complaint")
	}
	return len(p), nil
}

// library loads what it does not have, under its lock.
type library struct {
	mu    sync.Mutex
	books map[int64]int64
	load  func(*library, int64) int64
}

//go:noinline
func (s *library) take(id int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok := s.books[id]; ok {
		return v
	}
	v := s.load(s, id)
	s.books[id] = v
	return v
}

//go:noinline
func loadBook(s *library, id int64) int64 {
	if id == 0 {
		return 1
	}
	enter("self", "sync.Mutex.Lock | semacquire", hex(unsafe.Pointer(&s.mu)))
	return 1 + s.take(id/2)
}

var theLibrary = &library{books: map[int64]int64{}, load: loadBook}

// errand is one call of many callers' interest, as x/sync/singleflight has it.
type errand struct {
	done   sync.WaitGroup
	failed bool
	result int64
}

func groupObject(e *errand, rest string) {
	time.Sleep(20 * time.Millisecond)
	object("errand.done", "sync.WaitGroup", unsafe.Pointer(&e.done), "in=%s %s", hex(unsafe.Pointer(e)), rest)
}

// run makes its Done when f is back, whatever came of it.
//
//go:noinline
func (e *errand) run(f func() int64) {
	defer func() {
		e.result++
		e.done.Done()
	}()
	e.result = f()
}

// runIfFailed makes a Done only if f has failed.
//
//go:noinline
func (e *errand) runIfFailed(f func() int64) {
	defer func() {
		if e.failed {
			e.done.Done()
		}
	}()
	e.result = f()
}

//go:noinline
func (e *errand) wait(name string) int64 {
	enter(name, "sync.WaitGroup.Wait | semacquire", hex(unsafe.Pointer(&e.done)))
	e.done.Wait()
	return e.result
}

// files have finalizers that take them out of their list, and tell.
type file struct {
	number int64
	list   *files
	pad    [4]int64
}
type files struct {
	mu     sync.Mutex
	open   map[int64]bool
	closed chan int64
}

//go:noinline
func (f *file) finalize() {
	if atomic.AddInt32(&finalized, 1) == 1 {
		enter("finalizer", "sync.Mutex.Lock | semacquire", hex(unsafe.Pointer(&f.list.mu)))
	}
	f.list.mu.Lock()
	delete(f.list.open, f.number)
	f.list.mu.Unlock()
	f.list.closed <- f.number
}

var finalized int32

//go:noinline
func (l *files) forget(n int64) {
	for i := int64(0); i < n; i++ {
		f := &file{number: i, list: l}
		l.open[i] = true
		runtime.SetFinalizer(f, (*file).finalize)
	}
}

//go:noinline
func (l *files) shrink() {
	l.mu.Lock()
	defer l.mu.Unlock()
	runtime.GC()
	enter("shrinker", "chan receive", hex(*(*unsafe.Pointer)(unsafe.Pointer(&l.closed))))
	sink += <-l.closed
}

// gate lets two through, and is not given back to by those who fail.
type gate struct{ places chan struct{} }

//go:noinline
func (g *gate) pass(name string, fails bool) {
	if name != "" {
		enter(name, "chan send", hex(*(*unsafe.Pointer)(unsafe.Pointer(&g.places))))
	}
	g.places <- struct{}{}
	if fails {
		return
	}
	<-g.places
}

// pause gives the lock back while it works, and takes it again on its way out.
//
//go:noinline
func (l *ledger) pause(name string, lost chan bool) {
	l.mu.Lock()
	l.total++
	l.mu.Unlock()
	defer l.mu.Lock()
	<-lost
	enter(name, "sync.Mutex.Lock | semacquire", hex(unsafe.Pointer(&l.mu)))
}

// answered holds the lock while it waits for an answer.
//
//go:noinline
func (l *ledger) answered(c chan int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	enter("asker", "chan receive", chanAddress(c))
	l.total += <-c
}

//go:noinline
func (l *ledger) answer(c chan int64) {
	enter("answerer", "sync.Mutex.Lock | semacquire", hex(unsafe.Pointer(&l.mu)))
	l.mu.Lock()
	n := l.total
	l.mu.Unlock()
	c <- n
}

func chanAddress(c chan int64) string { return hex(*(*unsafe.Pointer)(unsafe.Pointer(&c))) }

type junction struct{ join, leave chan int64 }

//go:noinline
func (h *junction) run() {
	for {
		select {
		case v := <-h.join:
			sink += v
		case v := <-h.leave:
			sink -= v
		}
	}
}

//go:noinline
func untilEither(a, b context.Context) {
	select {
	case <-a.Done():
	case <-b.Done():
	}
}

func init() {
	add("log_full", func() {
		r, w := io.Pipe()
		theLog.SetOutput(w)
		go logLine("holder", "select", "first")
		settle(1)
		for _, n := range []string{"waiter1", "waiter2", "waiter3"} {
			go logLine(n, "sync.Mutex.Lock | semacquire", "more")
		}
		go func() { // slow, but it reads
			enter("reader", "sleep", "0x0")
			time.Sleep(time.Hour)
			b := make([]byte, 100)
			for {
				r.Read(b)
			}
		}()
		settle(5)
		mutexObject("log.outMu", logLock(), 1|3<<3, unsafe.Pointer(theLog), "holder=holder waiters-names=waiter1,waiter2,waiter3")
		healthy()
	})
	add("log_self", func() {
		theLog.SetOutput(complainer{})
		go logLine("first", "sync.Mutex.Lock | semacquire", "a long line")
		settle(2)
		mutexObject("log.outMu", logLock(), 1|1<<3, unsafe.Pointer(theLog), "holder=self waiters-names=self")
		planted("go.mutex.self-deadlock", "log.outMu", "a writer that logs")
	})
	add("self_loader", func() {
		go func() { sink += theLibrary.take(1) }()
		settle(1)
		mutexObject("theLibrary.mu", &theLibrary.mu, 1|1<<3, unsafe.Pointer(theLibrary), "holder=self waiters-names=self")
		planted("go.mutex.self-deadlock", "theLibrary.mu", "through a function value, in a function with a deferred Unlock")
	})
	add("group_self", func() {
		e := &errand{}
		e.done.Add(1)
		go e.run(func() int64 { return e.wait("self") })
		settle(1)
		groupObject(e, "counter=1 waiters-names=self")
		planted("go.waitgroup.stuck", "errand.done", "it waits for itself")
	})
	add("group_if_failed", func() {
		e := &errand{}
		e.done.Add(1)
		go e.runIfFailed(func() int64 { return e.wait("self") })
		go func() {
			enter("worker", "sleep", "0x0")
			time.Sleep(time.Hour)
			e.done.Done()
		}()
		settle(2)
		groupObject(e, "counter=1 waiters-names=self")
		healthy()
	})
	add("finalizer_circle", func() {
		l := &files{open: map[int64]bool{}, closed: make(chan int64)}
		inGone(func() { l.forget(5) })
		sink += int64(wipeStack())
		go l.shrink()
		settle(2)
		mutexObject("files.mu", &l.mu, 1|1<<3, unsafe.Pointer(l), "holder=shrinker waiters-names=finalizer")
		object("files.closed", "chan int64", *(*unsafe.Pointer)(unsafe.Pointer(&l.closed)), "len=0 cap=0")
		planted("lock.cycle", "files.mu", "the other finalizers come after the one that waits")
	})
	add("relock_lost", func() {
		lost := make(chan bool)
		go theLedger.pause("waiter1", lost)
		time.Sleep(10 * time.Millisecond)
		inGone(func() { forgetUnlock(theLedger) })
		close(lost)
		settle(1)
		mutexObject("theLedger.mu", &theLedger.mu, 1|1<<3, unsafe.Pointer(theLedger), "holder=none waiters-names=waiter1")
		planted("go.mutex.orphaned", "theLedger.mu", "its waiter has given it back before, and takes it again by a defer")
	})
	add("chan_by_timer", func() {
		c := make(chan int64)
		go theLedger.answered(c)
		settle(1)
		go theLedger.answer(c)
		time.AfterFunc(time.Hour, func() { c <- 1 })
		settle(2)
		mutexObject("theLedger.mu", &theLedger.mu, 1|1<<3, unsafe.Pointer(theLedger), "holder=asker waiters-names=answerer")
		healthy()
	})
	add("gate_used_up", func() {
		g := &gate{make(chan struct{}, 2)}
		inGone(func() { g.pass("", true) })
		inGone(func() { g.pass("", true) })
		waiters(func(name string) { g.pass(name, false) })
		planted("go.goroutine.leaked", "goroutines", "names=waiter1,waiter2,waiter3")
	})
	add("nil_select", func() {
		go func() {
			enter("runner", "select", "0x0")
			(&junction{}).run()
		}()
		settle(1)
		planted("go.goroutine.leaked", "goroutines", "names=runner")
	})
	add("nil_select_contexts", func() {
		go func() {
			enter("runner", "select", "0x0")
			untilEither(context.Background(), context.TODO())
		}()
		settle(1)
		healthy() // nothing but a remark: it may park on purpose
	})
	add("main_send", func() {
		planted("go.goroutine.leaked", "goroutines", "names=main")
		truthf("goroutine id=%d name=main want=\"chan send\" object=0x0 in=main.init at=standard.go:1", gid())
		last = func() {
			c := make(chan int64)
			go func() {
				time.Sleep(50 * time.Millisecond)
				abort()
			}()
			c <- 1
		}
	})
}
