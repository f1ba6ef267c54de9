// Mode waits, the goroutines: each blocks in another way.

package main

import (
	"context"
	"net"
	"reflect"
	"runtime"
	"runtime/pprof"
	"sort"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// Mode waits

//go:noinline
func waitRecv() {
	enter("chan.recv", "chan receive", chanAddr(keep.recv))
	sink += <-keep.recv
}

//go:noinline
func waitRecvBuf() {
	enter("chan.recv.buffered", "chan receive", chanAddr(keep.recvBuf))
	v, ok := <-keep.recvBuf
	if ok {
		sink += v
	}
}

//go:noinline
func waitRange() {
	enter("chan.range", "chan receive", chanAddr(keep.recv))
	for v := range keep.recv {
		sink += v
	}
}

//go:noinline
func waitSend(v int) {
	enter("chan.send", "chan send", chanAddr(keep.send))
	keep.send <- v
}

//go:noinline
func waitSendFull(v int) {
	enter("chan.send.full", "chan send", chanAddr(keep.sendFull))
	keep.sendFull <- v
}

//go:noinline
func waitNilRecv() {
	var ch chan int
	enter("chan.nil.recv", "chan receive (nil chan)", "0x0")
	<-ch
}

//go:noinline
func waitNilSend() {
	var ch chan int
	enter("chan.nil.send", "chan send (nil chan)", "0x0")
	ch <- 1
}

//go:noinline
func waitSelect() {
	enter("select.three", "select", chanAddr(keep.sel1)+","+chanAddr(keep.sel2)+","+chanAddr(keep.sel3))
	select {
	case v := <-keep.sel1:
		sink += v
	case keep.sel2 <- 7:
		sink++
	case v, ok := <-keep.sel3:
		if ok {
			sink -= v
		}
	}
}

//go:noinline
func waitSelectTimer() {
	t := time.NewTimer(time.Hour)
	defer t.Stop()
	enter("select.timer", "select", chanAddr(keep.sel1)+","+hex(*(*unsafe.Pointer)(unsafe.Pointer(&t.C))))
	select {
	case <-t.C:
	case v := <-keep.sel1:
		sink += v
	}
}

//go:noinline
func waitSelectEmpty() {
	enter("select.empty", "select (no cases)", "0x0")
	select {}
}

//go:noinline
func waitSleep() {
	enter("sleep", "sleep", "0x0")
	time.Sleep(time.Hour)
}

//go:noinline
func waitTimer() {
	enter("timer", "chan receive", hex(*(*unsafe.Pointer)(unsafe.Pointer(&keep.timer.C))))
	<-keep.timer.C
}

//go:noinline
func waitTicker() {
	enter("ticker", "chan receive", hex(*(*unsafe.Pointer)(unsafe.Pointer(&keep.ticker.C))))
	for range keep.ticker.C {
		sink++
	}
}

//go:noinline
func holdMutex(c *counter, ready chan bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	enter("mutex.holder", "chan receive", hex(unsafe.Pointer(&c.mu)))
	ready <- true
	<-keep.hold
	c.n++
}

//go:noinline
func waitMutex(c *counter) {
	enter("mutex.waiter", "sync.Mutex.Lock | semacquire", hex(unsafe.Pointer(&c.mu)))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
}

//go:noinline
func holdRead(c *counter, ready chan bool) {
	c.rw.RLock()
	defer c.rw.RUnlock()
	enter("rwmutex.read.holder", "chan receive", hex(unsafe.Pointer(&c.rw)))
	ready <- true
	<-keep.hold
}

//go:noinline
func holdWrite(c *counter, ready chan bool) {
	c.rw.Lock()
	defer c.rw.Unlock()
	enter("rwmutex.write.holder", "chan receive", hex(unsafe.Pointer(&c.rw)))
	ready <- true
	<-keep.hold
}

//go:noinline
func waitRead(c *counter, name string) {
	enter(name, "sync.RWMutex.RLock | semacquire", hex(unsafe.Pointer(&c.rw)))
	c.rw.RLock()
	defer c.rw.RUnlock()
	sink += int(c.n)
}

//go:noinline
func waitWrite(c *counter, name, reason string) {
	enter(name, reason+" | semacquire", hex(unsafe.Pointer(&c.rw)))
	c.rw.Lock()
	defer c.rw.Unlock()
	c.n++
}

//go:noinline
func wgWorker() {
	defer keep.wg.Done()
	enter("waitgroup.worker", "chan receive", chanAddr(keep.hold))
	<-keep.hold
}

//go:noinline
func waitGroup() {
	enter("waitgroup.wait", "sync.WaitGroup.Wait | semacquire", hex(unsafe.Pointer(keep.wg)))
	keep.wg.Wait()
}

//go:noinline
func waitCond(c *counter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	enter("cond.wait", "sync.Cond.Wait", hex(unsafe.Pointer(keep.c)))
	for c.n == 0 {
		keep.c.Wait()
	}
}

//go:noinline
func onceFirst(ready chan bool) {
	keep.onceV.Do(func() {
		enter("once.first", "chan receive", hex(unsafe.Pointer(keep.onceV)))
		ready <- true
		<-keep.once
	})
}

//go:noinline
func onceSecond() {
	enter("once.second", "sync.Mutex.Lock | semacquire", hex(unsafe.Pointer(keep.onceV)))
	keep.onceV.Do(func() { sink++ })
}

//go:noinline
func waitSyscall() {
	var b [8]byte
	enter("syscall.read", "syscall", "fd="+strconv.Itoa(keep.pipe[0]))
	n, _ := syscall.Read(keep.pipe[0], b[:])
	sink += n
}

//go:noinline
func waitLocked() {
	runtime.LockOSThread()
	enter("locked.thread", "chan receive, locked to thread", "tid="+strconv.Itoa(syscall.Gettid()))
	<-keep.hold
}

//go:noinline
func waitAccept() {
	enter("net.accept", "IO wait", keep.ln.Addr().Network())
	for {
		c, err := keep.ln.Accept()
		if err != nil {
			return
		}
		keep.conns = append(keep.conns, c)
	}
}

//go:noinline
func waitConnRead(c net.Conn) {
	var b [64]byte
	enter("net.read", "IO wait", "0x0")
	n, _ := c.Read(b[:])
	sink += n
}

//go:noinline
func waitConnWrite(c net.Conn) {
	b := make([]byte, 1<<16)
	enter("net.write", "IO wait", hex(unsafe.Pointer(&b[0])))
	for {
		if _, err := c.Write(b); err != nil {
			return
		}
	}
}

//go:noinline
func waitUDP() {
	b := make([]byte, 512)
	enter("net.udp", "IO wait", hex(unsafe.Pointer(&b[0])))
	n, _, _ := keep.udp.ReadFrom(b)
	sink += n
}

//go:noinline
func waitOSPipe() {
	var b [16]byte
	enter("os.pipe.read", "IO wait", "0x0")
	n, _ := keep.osr.Read(b[:])
	sink += n
}

func inlA(ch chan int, n int) int { return inlB(ch, n+1) + 1 }
func inlB(ch chan int, n int) int { return inlC(ch, n*2) + 2 }
func inlC(ch chan int, n int) int { return inlD(ch, n+3) + 3 }
func inlD(ch chan int, n int) int { return inlE(ch, n) + 4 }
func inlE(ch chan int, n int) int { return <-ch + n }

//go:noinline
func waitInlined() {
	enter("inlined", "chan receive", chanAddr(keep.misc))
	sink += inlA(keep.misc, 1)
}

//go:noinline
func deep(n int, pad [16]int64) int {
	if n == 0 {
		enter("deep", "chan receive", chanAddr(keep.misc))
		return <-keep.misc
	}
	pad[n%16] = int64(n)
	return deep(n-1, pad) + int(pad[n%16])
}

//go:noinline
func waitDeep() { sink += deep(300, [16]int64{}) }

//go:noinline
func waitVariadic(pre string, vs ...interface{}) {
	enter("variadic", "chan receive", chanAddr(keep.misc))
	<-keep.misc
	sink += len(pre) + len(vs)
}

//go:noinline
func waitReflect(a int, s string) int {
	enter("reflect.call", "chan receive", chanAddr(keep.misc))
	return a + len(s) + <-keep.misc
}

//go:noinline
func startReflect() {
	reflect.ValueOf(waitReflect).Call([]reflect.Value{reflect.ValueOf(5), reflect.ValueOf("five")})
}

//go:noinline
func startMakeFunc() {
	f := reflect.MakeFunc(reflect.TypeOf(func(int) int { return 0 }), func(in []reflect.Value) []reflect.Value {
		enter("reflect.makefunc", "chan receive", chanAddr(keep.misc))
		<-keep.misc
		return in
	}).Interface().(func(int) int)
	sink += f(3)
}

//go:noinline
func startSort() {
	v := []int{3, 1, 2}
	first := true
	sort.Slice(v, func(i, j int) bool {
		if first {
			first = false
			enter("sort.callback", "chan receive", chanAddr(keep.misc))
			<-keep.misc
		}
		return v[i] < v[j]
	})
}

//go:noinline
func startLabels() {
	pprof.Do(context.Background(), pprof.Labels("tenant", "blue", "shard", "7"), func(ctx context.Context) {
		enter("pprof.labels tenant=blue shard=7", "chan receive", chanAddr(keep.misc))
		<-keep.misc
	})
}

func makeCounter(step int) func(chan int) func() int {
	total := 100
	return func(ch chan int) func() int {
		total += step
		return func() int {
			enter("closure.twice", "chan receive", chanAddr(ch))
			total += <-ch
			return total
		}
	}
}

//go:noinline
func busyPlain(n *uint64) {
	enter("busy.plain", "running | runnable (pre-empted at any instruction)", hex(unsafe.Pointer(n)))
	for {
		*n++
	}
}

//go:noinline
func busyCalls(n *uint64) {
	enter("busy.calls", "running | runnable", hex(unsafe.Pointer(n)))
	for {
		busyStep(n)
	}
}

//go:noinline
func busyStep(n *uint64) { atomic.AddUint64(n, 1) }

//go:noinline
func neverRan() { sink += <-keep.never }

// extraWaits is filled by the files for newer language versions.
var extraWaits []func()
