// One goroutine holds a lock and gives it back after a while; three others wait for it.
package main

import (
	"os"
	"sync"
	"sync/atomic"
	"time"
)

type service struct {
	mu sync.Mutex
	rw sync.RWMutex
	wg sync.WaitGroup
	n  int

	held  chan bool
	wants int32
}

// A debugger may stop the world for as long as it likes: only from here on is time counted.
func (s *service) wait_for_all() {
	close(s.held)
	for atomic.LoadInt32(&s.wants) < 3 {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(time.Second)
}

//go:noinline
func give(s *service, what string) {
	switch what {
	case "mutex":
		s.mu.Lock()
		s.wait_for_all()
		s.mu.Unlock()
	case "writer":
		s.rw.Lock()
		s.wait_for_all()
		s.rw.Unlock()
	case "reader":
		s.rw.RLock()
		s.wait_for_all()
		s.rw.RUnlock()
	case "group":
		s.wait_for_all()
		s.wg.Done()
	}
	time.Sleep(time.Hour)
}

//go:noinline
func want(s *service, what string) {
	<-s.held
	atomic.AddInt32(&s.wants, 1)
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
	s := &service{held: make(chan bool)}
	s.wg.Add(1)
	go give(s, os.Args[1])
	for i := 0; i < 2; i++ {
		go want(s, os.Args[1])
	}
	want(s, os.Args[1])
	time.Sleep(time.Hour)
}
