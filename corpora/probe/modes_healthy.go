// Mode healthy: a small server at rest. Nothing in it is wrong.

package main

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// Mode healthy: a small server at rest. Nothing in it is wrong.

type request struct {
	id    int
	reply chan string
}

type server struct {
	mu    sync.RWMutex
	hits  map[string]int
	queue chan request
	quit  chan struct{}
	wg    sync.WaitGroup
	slow  sync.Mutex
	pool  sync.Pool
	cache sync.Map
}

//go:noinline
func (s *server) work(id int) {
	defer s.wg.Done()
	enter("worker", "select", hex(unsafe.Pointer(s)))
	for {
		select {
		case r := <-s.queue:
			b := s.pool.Get().(*[]byte)
			*b = strconv.AppendInt((*b)[:0], int64(r.id), 10)
			s.mu.Lock()
			s.hits["worker"+strconv.Itoa(id)]++
			s.mu.Unlock()
			s.cache.Store(r.id, id)
			r.reply <- string(*b)
			s.pool.Put(b)
		case <-s.quit:
			return
		}
	}
}

//go:noinline
func (s *server) slowHolder() {
	s.slow.Lock()
	defer s.slow.Unlock()
	enter("slow.holder", "sleep, holds server.slow, will unlock", hex(unsafe.Pointer(&s.slow)))
	time.Sleep(time.Hour)
}

//go:noinline
func (s *server) slowWaiter() {
	enter("slow.waiter", "sync.Mutex.Lock | semacquire", hex(unsafe.Pointer(&s.slow)))
	s.slow.Lock()
	defer s.slow.Unlock()
	sink++
}

//go:noinline
func (s *server) accept(ln net.Listener) {
	enter("accept", "IO wait", "0x0")
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		c.Close()
	}
}

//go:noinline
func (s *server) tick(t *time.Ticker) {
	defer t.Stop()
	enter("ticker", "select", hex(unsafe.Pointer(s)))
	for {
		select {
		case <-t.C:
			s.mu.RLock()
			sink += len(s.hits)
			s.mu.RUnlock()
		case <-s.quit:
			return
		}
	}
}

var srv = &server{hits: map[string]int{}, queue: make(chan request), quit: make(chan struct{}), pool: sync.Pool{New: func() interface{} { b := make([]byte, 0, 64); return &b }}}

func modeHealthy() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	n := int32(0)
	for i := 0; i < 40; i++ {
		srv.wg.Add(1)
		n++
		go srv.work(i)
	}
	n += 2
	go srv.accept(ln)
	go srv.tick(time.NewTicker(time.Hour))
	n++
	go srv.slowHolder()
	settle(n)
	n += 3
	for i := 0; i < 3; i++ {
		go srv.slowWaiter()
	}
	for i := 0; i < 500; i++ {
		r := request{i, make(chan string)}
		srv.queue <- r
		sink += len(<-r.reply)
	}
	settle(n)
	runtime.GC()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	object("srv", "main.server", unsafe.Pointer(srv), "workers=40 requests=500 hits=%d", len(srv.hits))
	object("srv.slow", "sync.Mutex", unsafe.Pointer(&srv.slow), "locked waiters=3 holder=slow.holder (alive, deferred Unlock)")
	truthf("expect crash=requested findings-at-warning=0")
	writeTruth(true)
	fmt.Println("READY", syscall.Getpid())
	<-stop
	close(srv.quit)
	srv.wg.Wait()
}
