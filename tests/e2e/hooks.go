// Who gives back what others wait for is called by the standard library, as a function that the program gave it; or
// does so in one of many cases of a switch, by a defer; or is a method that will be called through an interface.
package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
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

type account struct {
	mu   sync.Mutex
	left int
}

// What takes the lock gives this to its caller, who ends it.
type transaction struct{ on *account }

func (t *transaction) Close() error {
	t.on.mu.Unlock()
	return nil
}

// Its method takes the lock, too: that is no way to give it back.
type teller struct{ on *account }

func (t *teller) Close() error {
	t.on.mu.Lock()
	defer t.on.mu.Unlock()
	t.on.left++
	return nil
}

type vault struct {
	sync.Mutex
	left int
}

var (
	pending = make(chan io.Closer, 1)
	kept    = map[string]any{}
	opened  sync.Locker
	kind    struct{}
)

// Calls through interfaces, without which the linker leaves the methods out.
//
//go:noinline
func later(ctx context.Context) {
	time.Sleep(time.Hour)
	(<-pending).Close()
	ctx.Value(kind).(io.Closer).Close()
	opened.Unlock()
}

// Taken by a function that is given mu.Lock and does nothing else with locks, given back here.
type guarded struct{ mu sync.RWMutex }

//go:noinline
func take(lock func()) {
	if len(os.Args) > 9 {
		println("never")
	}
	lock()
}

func (g *guarded) Lock()    { take(g.mu.Lock) }
func (g *guarded) RLock()   { take(g.mu.RLock) }
func (g *guarded) Unlock()  { g.mu.Unlock() }
func (g *guarded) RUnlock() { g.mu.RUnlock() }

var first, second, third guarded

func write() {
	first.Lock()
	defer first.Unlock()
	func() {
		second.Lock()
		defer second.Unlock()
		func() { third.RLock(); defer third.RUnlock(); time.Sleep(5 * time.Millisecond) }()
	}()
}

func read() {
	first.RLock()
	defer first.RUnlock()
	func() {
		second.Lock()
		defer second.Unlock()
		func() { third.Lock(); defer third.Unlock(); time.Sleep(5 * time.Millisecond) }()
	}()
}

func main() {
	go later(context.Background())
	switch os.Args[1] {
	case "values":
		for range 10 {
			go func() {
				for {
					write()
				}
			}()
			go func() {
				for {
					read()
				}
			}()
		}
		end()
	case "cleanup":
		r := &request{}
		r.group.Add(1)
		resource := &[100]int{}
		runtime.AddCleanup(resource, func(r *request) { r.group.Done() }, r)
		go end()
		r.group.Wait()
		runtime.KeepAlive(resource)
	case "queued":
		a := &account{}
		a.mu.Lock()
		pending <- &transaction{a}
		go end()
		a.mu.Lock()
	case "context":
		a := &account{}
		a.mu.Lock()
		go later(context.WithValue(context.Background(), kind, &transaction{a}))
		go end()
		a.mu.Lock()
	case "teller":
		a := &account{}
		a.mu.Lock()
		pending <- &teller{a}
		go end()
		a.mu.Lock()
	case "ended":
		a := &account{}
		t := &transaction{a}
		a.mu.Lock()
		t.Close()
		a.mu.Lock()
		go end()
		a.mu.Lock()
		runtime.KeepAlive(t)
	case "embedded":
		v := &vault{}
		kept["vault"] = v
		v.Lock()
		go end()
		v.Lock()
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
