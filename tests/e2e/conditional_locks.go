// Locks that are taken and given back under a condition which the code asks twice: on some of its paths a lock is given
// back that it has not taken.
package main

import (
	"os"
	"sync"
	"syscall"
	"time"
)

//go:noinline
func enabled() bool { return os.Getpid() > 0 }

type guard struct{ mu sync.Mutex }

//go:noinline
func (g *guard) lock() {
	if enabled() {
		g.mu.Lock()
	}
}

//go:noinline
func (g *guard) unlock() {
	if enabled() {
		g.mu.Unlock()
	}
}

var a, b guard
var table sync.RWMutex

// It waits for a, and will take b and give it back.
//
//go:noinline
func both() {
	a.lock()
	b.lock()
	b.unlock()
	a.unlock()
}

// It holds a and waits for b.
//
//go:noinline
func inner() {
	a.mu.Lock()
	defer a.mu.Unlock()
	time.Sleep(50 * time.Millisecond)
	b.mu.Lock()
	defer b.mu.Unlock()
}

// It holds b and sleeps.
//
//go:noinline
func sleeper() {
	b.mu.Lock()
	defer b.mu.Unlock()
	time.Sleep(time.Hour)
}

// It holds b and waits for a.
//
//go:noinline
func crossed() {
	b.mu.Lock()
	time.Sleep(50 * time.Millisecond)
	a.mu.Lock()
	a.mu.Unlock()
	if enabled() {
		b.mu.Unlock()
	}
}

//go:noinline
func change() {
	if enabled() {
		table.Lock()
	}
	time.Sleep(time.Millisecond)
	table.Unlock()
}

//go:noinline
func look() {
	if enabled() {
		table.RLock()
	}
	time.Sleep(time.Millisecond)
	table.RUnlock()
}

//go:noinline
func repeat(rounds int, what func()) {
	for i := 0; i < rounds; i++ {
		what()
	}
}

//go:noinline
func reader() {
	table.RLock()
	defer table.RUnlock()
	time.Sleep(time.Hour)
}

func main() {
	switch os.Args[1] {
	case "waits": // healthy: the sleeper will wake up
		go sleeper()
		time.Sleep(50 * time.Millisecond)
		go inner()
		time.Sleep(20 * time.Millisecond)
		for range 3 {
			go both()
		}
	case "readers":
		go reader()
		time.Sleep(20 * time.Millisecond)
		for range 3 {
			go repeat(len(os.Args)+5, change)
		}
		time.Sleep(50 * time.Millisecond)
		for range 3 {
			go repeat(len(os.Args)+5, look)
		}
	case "writers":
		go reader()
		time.Sleep(20 * time.Millisecond)
		for range 3 {
			go repeat(len(os.Args)+5, change)
		}
	case "crossed":
		go inner()
		go crossed()
	}
	time.Sleep(300 * time.Millisecond)
	syscall.Kill(os.Getpid(), syscall.SIGABRT)
	time.Sleep(time.Minute)
}
