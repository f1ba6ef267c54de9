// A goroutine inside sync.Map's CompareAndDelete, which holds the lock of a node while it compares keys for seconds:
// equal ones, gigabytes in all, of texts that lie apart. It gives the lock back without a defer. Others wait for it.
package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

type key [80000]string

const numbers = 64

func filled(text string) *key {
	k := new(key)
	for i := range k {
		k[i] = text
	}
	return k
}

var steps atomic.Int64

// Of all nodes; none of these makes a node, which would compare keys under a lock too.
func churn(m *sync.Map) {
	for i := 0; ; i++ {
		m.CompareAndSwap(i%numbers, 0, 0)
		steps.Add(1)
		time.Sleep(20 * time.Microsecond) // it leaves garbage
	}
}

func main() {
	runtime.GOMAXPROCS(4)  // nobody interrupts the comparison
	debug.SetGCPercent(-1) // a collection would wait for the comparison, and everybody else for the collection
	m := new(sync.Map)
	text := strings.Repeat("x", 1<<20)
	m.Store(*filled(text), 1)
	for i := 0; i < numbers; i++ {
		m.Store(i, 0)
	}
	other := filled(strings.Clone(text))
	go func() {
		m.CompareAndDelete(*other, 1)
		os.Exit(0) // too fast for us: no core
	}()
	go churn(m)
	for still, before := 0, int64(0); still < 3; { // nothing moves: the lock is held, and asked for
		time.Sleep(50 * time.Millisecond)
		now := steps.Load()
		if still++; now != before || now == 0 {
			still = 0
		}
		before = now
	}
	syscall.Kill(os.Getpid(), syscall.SIGABRT)
	time.Sleep(time.Minute)
}
