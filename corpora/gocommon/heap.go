// Compiled into heap: helpers to hide, free and describe objects.

package main

import (
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
	"unsafe"
)

// anchors keeps what must stay reachable, with its dynamic type: a stripped binary still knows these types.
var anchors []interface{}

func keep(v ...interface{}) { anchors = append(anchors, v...) }

// elsewhere runs f in a goroutine of its own, so that no frame of the caller ever held what f held.
//
//go:noinline
func elsewhere(f func()) {
	done := make(chan bool)
	go func() {
		f()
		done <- true
	}()
	<-done
	time.Sleep(2 * time.Millisecond)
}

// collect frees all that is unreachable, and sweeps it.
//
//go:noinline
func collect() {
	sink += int64(wipeStack())
	for i := 0; i < 3; i++ {
		runtime.GC()
	}
}

// quiet: from here on only explicit collections.
func quiet() { debug.SetGCPercent(-1) }

func minor() int {
	v := strings.TrimPrefix(runtime.Version(), "go1.")
	i := 0
	for i < len(v) && v[i] >= '0' && v[i] <= '9' {
		i++
	}
	n, _ := strconv.Atoi(v[:i])
	return n
}

func planted(kind, subject, rest string) {
	truthf("expect finding=%s subject=%s %s", kind, subject, rest)
}

func healthy() { truthf("expect findings-at-warning=0") }

//go:noinline
func word(p unsafe.Pointer, off uintptr) uintptr {
	return *(*uintptr)(unsafe.Pointer(uintptr(p) + off))
}

func itoa(i int) string { return strconv.Itoa(i) }

// fatal writes the truth and then runs f, which ends the process.
func fatal(name string, f func()) {
	go func() {
		enter(name, "dies", "0x0")
		writeTruth()
		f()
	}()
	for {
		time.Sleep(time.Second)
	}
}
