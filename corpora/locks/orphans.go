// Locks that stay locked: the goroutine that took them is gone, and nobody alive can unlock them.

package main

import (
	"sync"
	"time"
	"unsafe"
)

type ledger struct {
	magic uint64
	mu    sync.Mutex
	total int64
}

type book struct {
	magic uint64
	rw    sync.RWMutex
	pages int64
}

var (
	theLedger = &ledger{magic: 0x4c45444745523031} // a field lock in heap memory
	theBook   = &book{magic: 0x424f4f4b30303031}
	stockMu   sync.Mutex // a package-level lock, reached by address in the code, never by a word on a stack
	stock     int64
	shelfMu   sync.RWMutex
	shelf     int64
)

func mu(l *ledger) string { return hex(unsafe.Pointer(&l.mu)) }

// guarded recovers, as servers do around a request.
//
//go:noinline
func guarded(done chan bool, f func()) {
	defer func() {
		recover()
		done <- true
	}()
	f()
}

// inGone runs f in a goroutine that is over when inGone returns.
func inGone(f func()) {
	done := make(chan bool)
	go guarded(done, f)
	<-done
	time.Sleep(5 * time.Millisecond)
}

//go:noinline
func (l *ledger) post(n int64) {
	l.mu.Lock()
	if n < 0 {
		panic("negative amount")
	}
	l.total += n
	l.mu.Unlock()
}

//go:noinline
func (l *ledger) postEarly(n int64) bool {
	l.mu.Lock()
	if l.total+n < 0 {
		return false // the lock stays behind
	}
	l.total += n
	l.mu.Unlock()
	return true
}

//go:noinline
func (l *ledger) postDeferred(n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n < 0 {
		panic("negative amount")
	}
	l.total += n
}

//go:noinline
func poster(name string, l *ledger, n int64) {
	enter(name, "sync.Mutex.Lock | semacquire", mu(l))
	l.post(n)
}

//go:noinline
func posterEarly(name string, l *ledger, n int64) {
	enter(name, "sync.Mutex.Lock | semacquire", mu(l))
	l.postEarly(n)
}

//go:noinline
func posterDeferred(name string, l *ledger, n int64) {
	enter(name, "sync.Mutex.Lock | semacquire", mu(l))
	l.postDeferred(n)
}

//go:noinline
func takeStock(n int64) {
	stockMu.Lock()
	if n < 0 {
		panic("negative stock")
	}
	stock += n
	stockMu.Unlock()
}

//go:noinline
func takeStockEarly(n int64) bool {
	stockMu.Lock()
	if stock+n < 0 {
		return false
	}
	stock += n
	stockMu.Unlock()
	return true
}

//go:noinline
func taker(name string, n int64) {
	enter(name, "sync.Mutex.Lock | semacquire", hex(unsafe.Pointer(&stockMu)))
	takeStock(n)
}

//go:noinline
func takerEarly(name string, n int64) {
	enter(name, "sync.Mutex.Lock | semacquire", hex(unsafe.Pointer(&stockMu)))
	takeStockEarly(n)
}

//go:noinline
func (b *book) write(n int64) {
	b.rw.Lock()
	if n < 0 {
		panic("negative page")
	}
	b.pages += n
	b.rw.Unlock()
}

//go:noinline
func (b *book) read(n int64) int64 {
	b.rw.RLock()
	if n < 0 {
		panic("no such page")
	}
	v := b.pages
	b.rw.RUnlock()
	return v
}

//go:noinline
func bookWriter(name string, b *book, n int64) {
	enter(name, "sync.RWMutex.Lock | sync.Mutex.Lock | semacquire", hex(unsafe.Pointer(&b.rw)))
	b.write(n)
}

//go:noinline
func bookReader(name string, b *book) {
	enter(name, "sync.RWMutex.RLock | semacquire", hex(unsafe.Pointer(&b.rw)))
	sink += b.read(1)
}

//go:noinline
func readShelf(bad bool) int64 {
	shelfMu.RLock()
	if bad {
		panic("no such shelf")
	}
	v := shelf
	shelfMu.RUnlock()
	return v
}

//go:noinline
func writeShelf(name string) {
	enter(name, "sync.RWMutex.Lock | semacquire", hex(unsafe.Pointer(&shelfMu)))
	shelfMu.Lock()
	shelf++
	shelfMu.Unlock()
}

const orphanRest = "holder=none waiters-names=waiter1,waiter2,waiter3"

func three(f func(name string, n int64)) {
	for i, name := range []string{"waiter1", "waiter2", "waiter3"} {
		go f(name, int64(i))
	}
	settle(3)
}

func init() {
	add("orphan_panic", func() {
		inGone(func() { theLedger.post(-1) })
		three(func(name string, n int64) { poster(name, theLedger, n) })
		mutexObject("theLedger.mu", &theLedger.mu, 1|3<<3, unsafe.Pointer(theLedger), orphanRest)
		planted("go.mutex.orphaned", "theLedger.mu", "locked in main.(*ledger).post by a goroutine that recovered and ended")
	})
	add("orphan_return", func() {
		inGone(func() { theLedger.postEarly(-1) })
		three(func(name string, n int64) { posterEarly(name, theLedger, n) })
		mutexObject("theLedger.mu", &theLedger.mu, 1|3<<3, unsafe.Pointer(theLedger), orphanRest)
		planted("go.mutex.orphaned", "theLedger.mu", "locked in main.(*ledger).postEarly, which returned early")
	})
	add("orphan_global_panic", func() {
		inGone(func() { takeStock(-1) })
		three(taker)
		mutexObject("stockMu", &stockMu, 1|3<<3, nil, orphanRest)
		planted("go.mutex.orphaned", "stockMu", "locked in main.takeStock by a goroutine that recovered and ended")
	})
	add("orphan_global_return", func() {
		inGone(func() { takeStockEarly(-1) })
		three(takerEarly)
		mutexObject("stockMu", &stockMu, 1|3<<3, nil, orphanRest)
		planted("go.mutex.orphaned", "stockMu", "locked in main.takeStockEarly, which returned early")
	})
	// The worker lives on: its goroutine goes back for the next request, the lock stays behind.
	add("orphan_worker_alive", func() {
		go recoveringWorker("worker", theLedger)
		settle(1)
		three(func(name string, n int64) { poster(name, theLedger, n) })
		mutexObject("theLedger.mu", &theLedger.mu, 1|3<<3, unsafe.Pointer(theLedger), orphanRest)
		planted("go.mutex.orphaned", "theLedger.mu", "locked in main.(*ledger).post by a goroutine that recovered and now sleeps in a loop that never unlocks")
	})
	add("rw_writer_orphan", func() {
		inGone(func() { theBook.write(-1) })
		go bookReader("reader1", theBook)
		go bookReader("reader2", theBook)
		go bookWriter("writer1", theBook, 1)
		settle(3)
		rwObject("theBook.rw", &theBook.rw, 1|1<<3, writerPending+2, 0, unsafe.Pointer(theBook), "holder=none waiters-names=reader1,reader2,writer1")
		planted("go.mutex.orphaned", "theBook.rw", "writer side, locked in main.(*book).write by a goroutine that recovered and ended")
	})
	add("rw_reader_leak", func() {
		inGone(func() { theBook.read(-1) })
		go bookWriter("writer1", theBook, 1)
		settle(1)
		go bookReader("reader1", theBook)
		settle(2)
		rwObject("theBook.rw", &theBook.rw, 1, writerPending+2, 1, unsafe.Pointer(theBook), "leaked-readers=1 waiters-names=writer1,reader1")
		planted("go.rwmutex.reader-leaked", "theBook.rw", "one read lock taken in main.(*book).read by a goroutine that recovered and ended")
	})
	add("rw_reader_leak_global", func() {
		inGone(func() { readShelf(true) })
		inGone(func() { readShelf(true) })
		go writeShelf("writer1")
		settle(1)
		rwObject("shelfMu", &shelfMu, 1, writerPending+2, 2, nil, "leaked-readers=2 waiters-names=writer1")
		planted("go.rwmutex.reader-leaked", "shelfMu", "two read locks taken in main.readShelf by goroutines that are gone")
	})
	add("waitgroup_never", func() {
		wg := &theGroup.wg
		wg.Add(2)
		inGone(func() { theGroup.job(1) })
		inGone(func() { theGroup.job(-1) }) // panics before Done
		go groupWaiter("waiter1", wg)
		settle(1)
		object("theGroup.wg", "sync.WaitGroup", unsafe.Pointer(wg), "counter=1 waiters=1 waiters-names=waiter1")
		planted("go.waitgroup.stuck", "theGroup.wg", "the worker that owes the Done recovered a panic and ended")
	})
	// Healthy twin of the recovered panic: the deferred Unlock ran, the lock is free.
	add("panic_deferred", func() {
		inGone(func() { theLedger.postDeferred(-1) })
		inGone(func() { theLedger.postDeferred(2) })
		mutexObject("theLedger.mu", &theLedger.mu, 0, unsafe.Pointer(theLedger), "")
		healthy()
	})
}

type group struct {
	magic uint64
	wg    sync.WaitGroup
	done  int64
}

var theGroup = &group{magic: 0x47524f5550303031}

//go:noinline
func (g *group) job(n int64) {
	if n < 0 {
		panic("bad job")
	}
	g.done += n
	g.wg.Done()
}

//go:noinline
func groupWaiter(name string, wg *sync.WaitGroup) {
	enter(name, "sync.WaitGroup.Wait | semacquire", hex(unsafe.Pointer(wg)))
	wg.Wait()
	sink++
}

//go:noinline
func recoveringWorker(name string, l *ledger) {
	done := make(chan bool, 1)
	guarded(done, func() { l.post(-1) })
	enter(name, "sleep", "0x0")
	for {
		time.Sleep(time.Hour)
		sink++
	}
}
