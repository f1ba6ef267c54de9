// Locks that are the first field of what a package variable is, or leads to; whoever took them is gone.
package main

import (
	"sync"
	"syscall"
	"time"
)

type cache struct {
	mu sync.Mutex
	n  int
}

var (
	totals cache
	stats  = &cache{n: 1}
	bare   sync.Mutex
)

func main() {
	for _, mu := range []*sync.Mutex{&totals.mu, &stats.mu, &bare} {
		mu.Lock()
		go mu.Lock()
	}
	time.Sleep(300 * time.Millisecond)
	syscall.Kill(syscall.Getpid(), syscall.SIGABRT)
	time.Sleep(time.Minute)
}
