// Words that may be pointers lead to objects that the collection which ended just now has left unmarked: garbage.
package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

type item struct {
	next  *item
	value [3]int
}

var kept []*item
var over, given, stop atomic.Bool
var words [8]uintptr

//go:noinline
func spin(words [8]uintptr) uintptr {
	for !over.Load() {
	}
	for i := range words {
		words[i] ^= 1 << 60
	}
	given.Store(true)
	for !stop.Load() {
		for i := range words {
			words[i] ^= words[0] & 1
		}
	}
	return words[3]
}

//go:noinline
func leave() {
	for i := range 3_000_000 {
		o := &item{value: [3]int{i}}
		if i%375_000 == 0 {
			words[i/375_000] = uintptr(unsafe.Pointer(o)) ^ 1<<60
		} else if i%10_000 == 0 {
			kept = append(kept, o)
		}
	}
}

// Without stopping the world: the sweeper would run next.
func collections() uint64 {
	sample := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

func main() {
	runtime.GOMAXPROCS(2)
	debug.SetGCPercent(-1)
	leave()
	for _, word := range words {
		fmt.Printf("%#x\n", word^1<<60)
	}
	go spin(words)
	time.Sleep(50 * time.Millisecond)
	before := collections()
	debug.SetGCPercent(10)
	for collections() == before {
		kept = append(kept, &item{})
	}
	over.Store(true)
	for !given.Load() {
	}
	syscall.Kill(os.Getpid(), syscall.SIGABRT)
	time.Sleep(time.Minute)
}
