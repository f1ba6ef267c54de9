// Mode waits, the goroutines that block with pending defers: open-coded, records, in loops, in panics.

package main

import (
	"runtime"
	"strconv"
	"unsafe"
)

// Deferred functions, one goroutine each. want says how the defers are kept; source order is oldest first.

//go:noinline
func note(n int) { sink += n }

type big struct {
	a [10]int64
	s string
}

//go:noinline
func noteBig(b big, s string, v []int, e error) {
	if e != nil {
		sink += int(b.a[3]) + len(s) + len(v)
	}
}

//go:noinline
func (c *counter) Close() error { c.n = -1; return nil }

type closer interface{ Close() error }

//go:noinline
func deferOpen(c *counter, third bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	x := 42
	defer func() { sink += x + int(c.n) }()
	if third {
		defer note(3)
	}
	enter("defer.open pending="+strconv.Itoa(2+btoi(third)), "chan receive; open-coded: (*Mutex).Unlock, closure{x,c}, note(3) only if pending=3", hex(unsafe.Pointer(c)))
	<-keep.misc
	x++
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

//go:noinline
func deferEight() {
	defer note(1)
	defer note(2)
	defer note(3)
	defer note(4)
	defer note(5)
	defer note(6)
	defer note(7)
	defer note(8)
	enter("defer.eight pending=8", "chan receive; open-coded: note(1)..note(8)", "0x0")
	<-keep.misc
}

//go:noinline
func deferNine() {
	defer note(1)
	defer note(2)
	defer note(3)
	defer note(4)
	defer note(5)
	defer note(6)
	defer note(7)
	defer note(8)
	defer note(9)
	enter("defer.nine pending=9", "chan receive; records on the stack: note(1)..note(9)", "0x0")
	<-keep.misc
}

//go:noinline
func deferLoop(n int) {
	for i := 0; i < n; i++ {
		defer note(i)
	}
	enter("defer.loop pending="+strconv.Itoa(n), "chan receive; records on the heap: note(0)..note(n-1)", "0x0")
	<-keep.misc
}

//go:noinline
func deferMixed(n int) {
	defer note(1000)
	for i := 0; i < n; i++ {
		defer note(i)
	}
	defer note(2000)
	enter("defer.mixed pending="+strconv.Itoa(n+2), "chan receive; records: note(1000), note(0)..note(n-1), note(2000)", "0x0")
	<-keep.misc
}

//go:noinline
func deferMethods(c *counter, k closer, m map[string]int) {
	f := c.add
	done := make(chan int)
	defer c.add(5)
	defer k.Close()
	defer f(6)
	defer close(done)
	defer delete(m, "gone")
	defer recover()
	enter("defer.methods pending=6", "chan receive; open-coded: (*counter).add(5), interface Close, method value add(6), close, delete, recover", hex(unsafe.Pointer(c)))
	<-keep.misc
}

//go:noinline
func deferArgs(e error) {
	b := big{s: "big-argument"}
	b.a[3] = 33
	v := []int{1, 2, 3}
	defer noteBig(b, "second", v, e)
	enter("defer.args pending=1", "chan receive; open-coded: noteBig(big, string, []int, error)", hex(unsafe.Pointer(&v[0])))
	<-keep.misc
}

//go:noinline
func deferNested() {
	defer note(11)
	deferNestedInner()
	sink++
}

//go:noinline
func deferNestedInner() {
	for i := 0; i < 2; i++ {
		defer note(20 + i)
	}
	deferNestedLeaf()
	sink++
}

//go:noinline
func deferNestedLeaf() {
	defer note(31)
	defer note(32)
	enter("defer.nested pending=5", "chan receive; leaf open-coded note(31) note(32); inner records note(20) note(21); outer open-coded note(11)", "0x0")
	<-keep.misc
}

//go:noinline
func deferRunning() {
	defer note(1)
	defer func() {
		enter("defer.running", "chan receive inside a deferred closure after a normal return; note(1) is still to run", "0x0")
		<-keep.misc
	}()
	sink++
}

//go:noinline
func deferInPanic() {
	defer func() { recover() }()
	defer func() {
		enter("defer.panicking", "chan receive inside a deferred closure; panic value string \"panicking now\", not recovered", "0x0")
		<-keep.misc
	}()
	panic("panicking now")
}

//go:noinline
func deferRecovered() {
	defer func() {
		r := recover()
		enter("defer.recovered", "chan receive inside a deferred closure after recover() of *codedError{71}", "0x0")
		<-keep.misc
		keep.any = append(keep.any, r)
	}()
	panic(&codedError{71, "recovered, still on the chain"})
}

//go:noinline
func deferDouble() {
	defer func() { recover() }()
	defer func() {
		enter("defer.double", "chan receive inside a deferred closure; two panics on the chain: int 2 (newest), string \"one\" (aborted by it)", "0x0")
		<-keep.misc
	}()
	defer func() { panic(2) }()
	panic("one")
}

//go:noinline
func deferGoexit() {
	defer func() {
		enter("defer.goexit", "chan receive inside a deferred closure run by runtime.Goexit", "0x0")
		<-keep.misc
	}()
	runtime.Goexit()
}
