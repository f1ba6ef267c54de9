// One goroutine holds a lock and gives it back after a while; three others wait for it.
package main

import (
	"os"
	"sync"
	"time"
)

type service struct {
	mu sync.Mutex
	rw sync.RWMutex
	wg sync.WaitGroup
	n  int
}

//go:noinline
func give(s *service, what string) {
	const while = 2 * time.Second
	switch what {
	case "mutex":
		s.mu.Lock()
		time.Sleep(while)
		s.mu.Unlock()
	case "writer":
		s.rw.Lock()
		time.Sleep(while)
		s.rw.Unlock()
	case "reader":
		s.rw.RLock()
		time.Sleep(while)
		s.rw.RUnlock()
	case "group":
		time.Sleep(while)
		s.wg.Done()
	}
	time.Sleep(time.Hour)
}

//go:noinline
func want(s *service, what string) {
	time.Sleep(100 * time.Millisecond)
	switch what {
	case "mutex":
		s.mu.Lock()
		s.n++
		s.mu.Unlock()
	case "writer", "reader":
		s.rw.Lock()
		s.n++
		s.rw.Unlock()
	case "group":
		s.wg.Wait()
	}
}

func main() {
	s := &service{}
	s.wg.Add(1)
	go give(s, os.Args[1])
	for i := 0; i < 2; i++ {
		go want(s, os.Args[1])
	}
	want(s, os.Args[1])
	time.Sleep(time.Hour)
}
