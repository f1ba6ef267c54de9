// Healthy: a small server at rest, two hundred goroutines in mixed waits.

package main

import (
	"net"
	"sync"
	"time"
)

type service struct {
	mu    sync.RWMutex
	seen  map[string]int64
	queue chan *request
	quit  chan struct{}
	pool  sync.Pool
	wg    sync.WaitGroup
}

var theService = &service{seen: map[string]int64{}, queue: make(chan *request, 8), quit: make(chan struct{}), pool: sync.Pool{New: func() interface{} { return new(buffer) }}}

//go:noinline
func (s *service) work(name string) {
	defer s.wg.Done()
	enter(name, "select", "0x0")
	for {
		select {
		case r := <-s.queue:
			b := s.pool.Get().(*buffer)
			s.mu.Lock()
			s.seen[name]++
			n := s.seen[name]
			s.mu.Unlock()
			s.pool.Put(b)
			r.reply <- n
		case <-s.quit:
			return
		}
	}
}

//go:noinline
func (s *service) serve(c net.Conn) { // one byte in, one byte out
	defer c.Close()
	var b [1]byte
	for {
		if _, err := c.Read(b[:]); err != nil {
			return
		}
		q := &request{1, make(chan int64, 1)}
		s.queue <- q
		b[0] = byte(<-q.reply)
		if _, err := c.Write(b[:]); err != nil {
			return
		}
	}
}

//go:noinline
func (s *service) accept(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go s.serve(c)
	}
}

func init() {
	add("server", func() {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		must(err)
		go theService.accept(ln)
		for i := 0; i < 150; i++ {
			theService.wg.Add(1)
			go theService.work("worker" + itoa(i))
		}
		for i := 0; i < 50; i++ {
			go sleepThen("sleeper"+itoa(i), func() { close(theService.quit) })
		}
		settle(200)
		var clients sync.WaitGroup
		for i := 0; i < 10; i++ {
			c, err := net.Dial("tcp", ln.Addr().String())
			must(err)
			keep(c) // stays connected: its peer waits for the next byte
			clients.Add(1)
			go func() {
				defer clients.Done()
				var b [1]byte
				for j := 0; j < 20; j++ {
					if _, err := c.Write(b[:]); err != nil {
						fail("%v", err)
					}
					if _, err := c.Read(b[:]); err != nil {
						fail("%v", err)
					}
				}
			}()
		}
		clients.Wait()
		time.Sleep(50 * time.Millisecond)
		collect()
		healthy()
	})
}
