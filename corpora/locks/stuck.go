// Stuck for other reasons than a lock that is lost: holders that wait for ever, gangs of which nobody comes home, a
// program that is asleep altogether, a panic whose value cannot be printed. And kept_by_runtime: objects that only
// the runtime's own records lead to, for the types that an analyser gives them.

package main

import (
	"runtime"
	"sync"
	"unsafe"
)

//go:noinline
func holdParked(l *ledger) {
	l.mu.Lock()
	defer l.mu.Unlock()
	enter("holder", "select (no cases)", "0x0")
	select {}
}

//go:noinline
func holdForNil(l *ledger, never chan int64) {
	l.mu.Lock()
	enter("holder", "chan receive (nil chan)", "0x0")
	l.total += <-never
	l.mu.Unlock()
}

// gang is an errgroup, written out: who gathers waits for workers that nobody listens to.
type gang struct {
	wg      sync.WaitGroup
	results chan int64
}

//go:noinline
func (g *gang) work(name string, n int64) {
	defer g.wg.Done()
	enter(name, "chan send", hex(*(*unsafe.Pointer)(unsafe.Pointer(&g.results))))
	g.results <- n
}

//go:noinline
func (g *gang) gather() {
	enter("gatherer", "sync.WaitGroup.Wait | semacquire", hex(unsafe.Pointer(&g.wg)))
	g.wg.Wait()
	close(g.results)
}

//go:noinline
func fork(workers ...string) {
	g := &gang{results: make(chan int64)}
	g.wg.Add(len(workers))
	for i, name := range workers {
		go g.work(name, int64(i))
	}
	go g.gather()
}

//go:noinline
func awaitNews(c chan int64) { sink += <-c }

// brokenError is an error that cannot say what it is.
type brokenError struct{ cause *ledger }

//go:noinline
func (e *brokenError) Error() string { return string(rune(e.cause.total)) }

type (
	parcel struct {
		weight int64
		next   *parcel
	}
	crate struct { // has a finalizer, and is kept by what it keeps
		lid  *lid
		mark int64
	}
	lid struct {
		of    *crate
		color int64
	}
	strap struct { // has a finalizer, and only itself
		self *strap
		mark int64
	}
	pebble struct {
		grams int64
		next  *pebble
	}
)

var (
	beach   interface{} // a large map, by its dynamic type alone
	parcels = make(chan parcel)
)

//go:noinline
func sendParcel(c chan parcel) {
	p := &parcel{weight: 7, next: &parcel{weight: 8}}
	object("parcel", "main.parcel", unsafe.Pointer(p.next), "")
	enter("sender", "chan send", "0x0")
	c <- *p
}

//go:noinline
func sealCrate() {
	c := &crate{lid: &lid{}, mark: 9}
	c.lid.of = c
	runtime.SetFinalizer(c, func(c *crate) { sink += c.mark })
	object("crate", "main.crate", unsafe.Pointer(c), "")
	object("lid", "main.lid", unsafe.Pointer(c.lid), "")
}

//go:noinline
func dropStrap() {
	s := &strap{mark: 10}
	s.self = s
	runtime.SetFinalizer(s, func(s *strap) { sink += s.mark })
	object("strap", "main.strap", unsafe.Pointer(s), "garbage")
}

//go:noinline
func fillBeach() {
	m := map[int64]*pebble{}
	for i := int64(0); i < 3000; i++ {
		m[i] = &pebble{grams: i}
	}
	for _, i := range []int64{0, 1500, 2999} {
		object("pebble", "main.pebble", unsafe.Pointer(m[i]), "")
	}
	beach = m
}

func init() {
	stuck := func(mode string, hold func(l *ledger)) {
		add(mode, func() {
			go hold(theLedger)
			settle(1)
			waiters(func(name string) { posterDeferred(name, theLedger, 1) })
			mutexObject("theLedger.mu", &theLedger.mu, 1|3<<3, unsafe.Pointer(theLedger), "holder=holder"+threeRest)
			planted("go.mutex.orphaned", "theLedger.mu", "its holder will never come to its Unlock")
		})
	}
	stuck("holder_parked", holdParked)
	stuck("holder_nil", func(l *ledger) { holdForNil(l, nil) })
	add("leak_group", func() {
		fork("worker1", "worker2")
		settle(3)
		planted("go.goroutine.leaked", "goroutines", "names=worker1,worker2,gatherer")
	})
	add("asleep", func() {
		c := make(chan int64)
		go func() {
			enter("listener", "chan receive", "0x0")
			awaitNews(c)
		}()
		settle(1)
		truthf("expect finding=crash.fatal message=%q function=main.awaitNews", "all goroutines are asleep - deadlock!")
		last = func() { awaitNews(c) }
	})
	add("panic_print", func() {
		truthf("expect finding=crash.fatal message=%q function=main.(*brokenError).Error", "panic while printing panic value")
		dies("culprit", func() { panic(&brokenError{}) })
	})
	add("kept_by_runtime", func() {
		go sendParcel(parcels)
		settle(1)
		inGone(sealCrate)
		fillBeach()
		runtime.GC()
		inGone(dropStrap)
		healthy()
	})
}
