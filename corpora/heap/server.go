// Healthy: a small server at rest, two hundred goroutines in mixed waits.

package main

import (
	"io/ioutil"
	"net"
	"net/http"
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

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := &request{1, make(chan int64, 1)}
	s.queue <- q
	_, _ = w.Write([]byte{byte('0' + <-q.reply%10)})
}

func init() {
	add("server", func() {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		must(err)
		srv := &http.Server{Handler: theService}
		go func() { _ = srv.Serve(ln) }()
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
			clients.Add(1)
			go func() {
				defer clients.Done()
				for j := 0; j < 20; j++ {
					resp, err := http.Get("http://" + ln.Addr().String() + "/x")
					must(err)
					_, _ = ioutil.ReadAll(resp.Body)
					resp.Body.Close()
				}
			}()
		}
		clients.Wait()
		keep(srv)
		time.Sleep(50 * time.Millisecond)
		collect()
		healthy()
	})
}
