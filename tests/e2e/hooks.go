// Who gives back what others wait for is called by the standard library, as a function that the program gave it; or
// does so in one of many cases of a switch, by a defer.
package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

func end() {
	time.Sleep(200 * time.Millisecond)
	syscall.Kill(os.Getpid(), syscall.SIGABRT)
	time.Sleep(time.Minute)
}

// A connection that was cut off in the middle of a request's body sleeps for half a second; then its server's ConnState
// counts it down.
func connection() {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })
	server := httptest.NewServer(http.MaxBytesHandler(handler, 100))
	if answer, err := http.Post(server.URL, "text/plain", strings.NewReader(strings.Repeat("a", 5000))); err == nil {
		answer.Body.Close()
	}
	go end()
	server.Close()
}

type book struct {
	group sync.WaitGroup
	pages map[string]int
	state int
}

//go:noinline
func (b *book) turn(page string, to int) {
	switch b.state {
	case 0:
		b.pages[page] = to
	case 1:
		if at, ok := b.pages[page]; ok && at != 2 {
			b.pages[page] = to
		}
	case 2:
		if b.pages[page] == 3 {
			b.pages[page] = 1
		}
	case 3:
		if _, ok := b.pages[page]; ok {
			delete(b.pages, page)
			defer b.group.Done()
		}
	}
	if to > 100 {
		println(to)
	}
}

//go:noinline
func (b *book) read() {
	time.Sleep(time.Hour)
	b.turn("x", len(os.Args))
}

type request struct {
	group sync.WaitGroup
	done  bool
}

//go:noinline
func serve(all []*request) {
	for _, r := range all {
		r.done = true
		r.group.Done()
	}
}

// It collects requests and starts a goroutine for them: the next lie in the channel's buffer, where nobody looks.
//
//go:noinline
func (q *queue) collect() {
	for {
		select {
		case q.turn <- true:
			all := q.all
			q.all = nil
			go func() {
				serve(all)
				<-q.turn
			}()
		case r := <-q.next:
			q.all = append(q.all, r)
		}
		time.Sleep(time.Hour)
	}
}

type queue struct {
	turn chan bool
	next chan *request
	all  []*request
}

func main() {
	switch os.Args[1] {
	case "connection":
		connection()
	case "queue":
		q := &queue{turn: make(chan bool, 1), next: make(chan *request, 8)}
		go q.collect()
		time.Sleep(50 * time.Millisecond)
		r := &request{}
		r.group.Add(1)
		q.next <- r
		go end()
		r.group.Wait()
	case "switch":
		b := &book{pages: map[string]int{"x": 1}, state: 3}
		b.group.Add(1)
		go b.read()
		go end()
		b.group.Wait()
	}
}
