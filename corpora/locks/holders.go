// Healthy: locks that are held for long by the living, with waiters. The lock's words are those of an orphan.

package main

import (
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

const threeRest = " waiters-names=waiter1,waiter2,waiter3"

func waiters(f func(name string)) {
	n := atomic.LoadInt32(&entered)
	for _, name := range []string{"waiter1", "waiter2", "waiter3"} {
		go f(name)
	}
	settle(n + 3)
}

func held(name string, mu *sync.Mutex, in unsafe.Pointer, rest string) {
	mutexObject(name, mu, 1|3<<3, in, rest)
	healthy()
}

//go:noinline
func holdDefer(l *ledger) {
	l.mu.Lock()
	defer l.mu.Unlock()
	enter("holder", "sleep", mu(l))
	time.Sleep(time.Hour)
	l.total++
}

//go:noinline
func holdPlain(l *ledger) {
	l.mu.Lock()
	enter("holder", "sleep", mu(l))
	time.Sleep(time.Hour)
	l.total++
	l.mu.Unlock()
}

//go:noinline
func holdGlobalDefer() {
	stockMu.Lock()
	defer stockMu.Unlock()
	enter("holder", "sleep", hex(unsafe.Pointer(&stockMu)))
	time.Sleep(time.Hour)
	stock++
}

//go:noinline
func holdGlobalPlain() {
	stockMu.Lock()
	enter("holder", "sleep", hex(unsafe.Pointer(&stockMu)))
	time.Sleep(time.Hour)
	stock++
	stockMu.Unlock()
}

//go:noinline
func slowly() {
	enter("holder", "sleep", "0x0")
	time.Sleep(time.Hour)
}

//go:noinline
func (l *ledger) postSlowly() { // the sleeper is two frames below the holder
	l.mu.Lock()
	slowly()
	l.total++
	l.mu.Unlock()
}

//go:noinline
func holdClosure(l *ledger) { // unlocked by a deferred closure that does more
	l.mu.Lock()
	defer func() {
		l.total++
		l.mu.Unlock()
	}()
	enter("holder", "sleep", mu(l))
	time.Sleep(time.Hour)
}

//go:noinline
func holdLoop(ls []*ledger) { // records in the heap, one per round
	for _, l := range ls {
		l.mu.Lock()
		defer l.mu.Unlock()
	}
	enter("holder", "sleep", mu(ls[0]))
	time.Sleep(time.Hour)
}

// lockFor locks and hands back the function that unlocks: defer l.lockFor()()
//
//go:noinline
func (l *ledger) lockFor() func() {
	l.mu.Lock()
	return func() { l.mu.Unlock() }
}

//go:noinline
func holdReturned(l *ledger) {
	defer l.lockFor()()
	enter("holder", "sleep", mu(l))
	time.Sleep(time.Hour)
	l.total++
}

type guard struct{ l sync.Locker }

//go:noinline
func (g *guard) release() { g.l.Unlock() }

//go:noinline
func holdGuard(l *ledger) { // through an interface, in a guard object
	g := &guard{&l.mu}
	g.l.Lock()
	enter("holder", "sleep", mu(l))
	time.Sleep(time.Hour)
	g.release()
}

type embedded struct {
	name string
	sync.Mutex
	n int
}

var theEmbedded = &embedded{name: "embedded"}

//go:noinline
func holdEmbedded(e *embedded, work func(*embedded)) { // through promoted methods, in a callback
	e.Lock()
	defer e.Unlock()
	work(e)
}

//go:noinline
func holdSyscall(l *ledger, fd int) {
	var b [8]byte
	l.mu.Lock()
	enter("holder", "syscall", mu(l))
	n, _ := syscall.Read(fd, b[:])
	l.total += int64(n)
	l.mu.Unlock()
}

//go:noinline
func holdSyscallDefer(l *ledger, fd int) {
	var b [8]byte
	l.mu.Lock()
	defer l.mu.Unlock()
	enter("holder", "syscall", mu(l))
	n, _ := syscall.Read(fd, b[:])
	l.total += int64(n)
}

//go:noinline
func holdNet(l *ledger, c net.Conn) {
	var b [8]byte
	l.mu.Lock()
	enter("holder", "IO wait", mu(l))
	n, _ := c.Read(b[:])
	l.total += int64(n)
	l.mu.Unlock()
}

//go:noinline
func holdNetDefer(l *ledger, c net.Conn) {
	var b [8]byte
	l.mu.Lock()
	defer l.mu.Unlock()
	enter("holder", "IO wait", mu(l))
	n, _ := c.Read(b[:])
	l.total += int64(n)
}

//go:noinline
func holdChan(l *ledger, c chan int64) {
	l.mu.Lock()
	enter("holder", "chan receive", mu(l))
	l.total += <-c
	l.mu.Unlock()
}

//go:noinline
func sendLater(c chan int64) {
	enter("sender", "sleep", chanAddr(c))
	time.Sleep(time.Hour)
	c <- 1
}

//go:noinline
func holdSelect(l *ledger, c chan int64, t *time.Timer) {
	l.mu.Lock()
	enter("holder", "select", mu(l))
	select {
	case v := <-c:
		l.total += v
	case <-t.C:
	}
	l.mu.Unlock()
}

//go:noinline
func holdBusy(l *ledger, n *uint64) {
	l.mu.Lock()
	enter("holder", "running | runnable", mu(l))
	for atomic.AddUint64(n, 1) < 1<<62 {
	}
	l.mu.Unlock()
}

var spins uint64

// pair is a connected couple of sockets on the netpoller.
func pair() (net.Conn, net.Conn) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	a, err := net.Dial("tcp", ln.Addr().String())
	must(err)
	b, err := ln.Accept()
	must(err)
	must(ln.Close())
	return a, b
}

var keepConns []net.Conn

func init() {
	field := func(mode, basis string, hold func(l *ledger)) {
		add(mode, func() {
			go hold(theLedger)
			settle(1)
			waiters(func(name string) { posterDeferred(name, theLedger, 1) })
			held("theLedger.mu", &theLedger.mu, unsafe.Pointer(theLedger), "holder=holder basis="+basis+threeRest)
		})
	}
	global := func(mode, basis string, hold func()) {
		add(mode, func() {
			go hold()
			settle(1)
			waiters(func(name string) { taker(name, 1) })
			held("stockMu", &stockMu, nil, "holder=holder basis="+basis+threeRest)
		})
	}
	field("holder_defer", "pending-defer", holdDefer)
	field("holder_plain", "frame", holdPlain)
	global("holder_global_defer", "pending-defer", holdGlobalDefer)
	global("holder_global_plain", "frame", holdGlobalPlain)
	field("holder_below", "frame", (*ledger).postSlowly)
	field("holder_closure", "pending-defer", holdClosure)
	field("holder_loop", "pending-defer", func(l *ledger) { holdLoop([]*ledger{l, {magic: 2}}) })
	field("holder_returned", "pending-defer", holdReturned)
	field("holder_guard", "frame", holdGuard)
	add("holder_embedded", func() {
		go holdEmbedded(theEmbedded, func(*embedded) { slowly() })
		settle(1)
		waiters(func(name string) {
			enter(name, "sync.Mutex.Lock | semacquire", hex(unsafe.Pointer(&theEmbedded.Mutex)))
			holdEmbedded(theEmbedded, func(e *embedded) { e.n++ })
		})
		held("theEmbedded.Mutex", &theEmbedded.Mutex, unsafe.Pointer(theEmbedded), "holder=holder basis=pending-defer"+threeRest)
	})
	pipe := func() int {
		var p [2]int
		must(syscall.Pipe(p[:]))
		return p[0]
	}
	conn := func() net.Conn {
		a, b := pair()
		keepConns = append(keepConns, a, b)
		return a
	}
	field("holder_syscall", "frame", func(l *ledger) { holdSyscall(l, pipe()) })
	field("holder_syscall_defer", "pending-defer", func(l *ledger) { holdSyscallDefer(l, pipe()) })
	field("holder_net", "frame", func(l *ledger) { holdNet(l, conn()) })
	field("holder_net_defer", "pending-defer", func(l *ledger) { holdNetDefer(l, conn()) })
	add("holder_chan", func() {
		c := make(chan int64)
		go sendLater(c)
		settle(1)
		go holdChan(theLedger, c)
		settle(2)
		waiters(func(name string) { posterDeferred(name, theLedger, 1) })
		held("theLedger.mu", &theLedger.mu, unsafe.Pointer(theLedger), "holder=holder basis=frame"+threeRest)
	})
	field("holder_select", "frame", func(l *ledger) { holdSelect(l, make(chan int64), time.NewTimer(time.Hour)) })
	field("holder_busy", "frame", func(l *ledger) { holdBusy(l, &spins) })
	// The process dies inside a critical section: the dying goroutine itself is the holder.
	add("holder_dies", func() {
		ready := make(chan bool)
		go dieHolding(theLedger, ready)
		settle(1)
		waiters(func(name string) { posterDeferred(name, theLedger, 1) })
		held("theLedger.mu", &theLedger.mu, unsafe.Pointer(theLedger), "holder=culprit basis=pending-defer"+threeRest)
		last = func() {
			ready <- true
			for {
				time.Sleep(time.Second)
			}
		}
	})
}

//go:noinline
func dieHolding(l *ledger, ready chan bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	enter("culprit", "running, in abort", mu(l))
	<-ready
	abort()
	l.total++
}
