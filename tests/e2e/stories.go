// Waits that hang together, each with a healthy twin: `stories NAME bad|good`. The modes of `hangs` block the whole
// program, as a test that hangs does under the alarm of its time limit; somebody outside ends it.
package main

import (
	"flag"
	"fmt"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

type stock struct {
	mu    sync.Mutex
	items map[string]int
}

//go:noinline
func (s *stock) count(key string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.items[key]
}

//go:noinline
func receiveOrder(orders chan int, done chan struct{}) {
	defer close(done)
	<-orders
}

//go:noinline
func awaitOrder(done chan struct{}) { <-done }

// Not among the smallest objects, of which several share a block that the allocator still has in hand.
type pair struct {
	one, two sync.Mutex
	wg       sync.WaitGroup
	names    []string
}

//go:noinline
func holdBoth(first, second *sync.Mutex, wg *sync.WaitGroup) {
	defer wg.Done()
	first.Lock()
	defer first.Unlock()
	time.Sleep(20 * time.Millisecond)
	second.Lock()
	second.Unlock()
}

//go:noinline
func gather(wg *sync.WaitGroup) { wg.Wait() }

//go:noinline
func runAll(jobs []func(), early bool) {
	var wg sync.WaitGroup
	wg.Add(len(jobs))
	for _, job := range jobs {
		go func(job func()) {
			defer wg.Done()
			job()
		}(job)
		if early {
			wg.Wait()
		}
	}
	wg.Wait()
}

//go:noinline
func expire(s *stock, dropped bool) {
	s.mu.Lock()
	if dropped {
		return
	}
	s.mu.Unlock()
}

//go:noinline
func awaitThen(done chan struct{}, calls chan func(), s *stock) {
	<-done
	call := <-calls
	call()
	s.items = nil
}

//go:noinline
func refill(results chan int) {
	inventory.mu.Lock()
	defer inventory.mu.Unlock()
	results <- 1
}

type gate struct {
	mu   sync.Mutex
	cond *sync.Cond
	open bool
}

//go:noinline
func (g *gate) pass() {
	g.mu.Lock()
	for !g.open {
		g.cond.Wait()
	}
	g.mu.Unlock()
}

type keyedLocks struct {
	sync.RWMutex
	of map[string]*sync.Mutex
}

//go:noinline
func (k *keyedLocks) lock(key string) {
	k.Lock()
	if k.of[key] == nil {
		k.of[key] = &sync.Mutex{}
	}
	k.of[key].Lock()
	k.Unlock()
}

//go:noinline
func (k *keyedLocks) unlock(key string) {
	k.RLock()
	defer k.RUnlock()
	k.of[key].Unlock()
}

var (
	inventory = &stock{items: map[string]int{}}
	locks     = &keyedLocks{of: map[string]*sync.Mutex{}}
	doors     = map[int]*gate{}
	kept      []interface{}
)

// Alive, and will do it.
func later(f func()) {
	go func() {
		time.Sleep(time.Hour)
		f()
	}()
}

var modes = map[string]func(bad bool){
	// Who waits for the end of one that is blocked forever.
	"behind-channel": func(bad bool) {
		orders, done := make(chan int), make(chan struct{})
		go receiveOrder(orders, done)
		go awaitOrder(done)
		if !bad {
			later(func() { orders <- 1 })
		}
	},
	// Two lock the other way round; a third waits for both.
	"behind-circle": func(bad bool) {
		p := &pair{names: []string{"one", "two"}}
		one, two, wg := &p.one, &p.two, &p.wg
		wg.Add(2)
		go holdBoth(one, two, wg)
		if bad {
			go holdBoth(two, one, wg)
		} else {
			later(wg.Done)
			two.Lock()
			later(two.Unlock)
		}
		go gather(wg)
	},
	// Wait stands in the loop that starts the workers.
	"wait-in-loop": func(bad bool) {
		work := func() {}
		if !bad {
			work = func() { time.Sleep(time.Hour) }
		}
		go runAll([]func(){work, work}, bad)
	},
	// A callback returns without Unlock. Who may call anything at all waits for one who waits for the lock.
	"callback-keeps": func(bad bool) {
		s, done := &stock{items: map[string]int{}}, make(chan struct{})
		time.AfterFunc(time.Millisecond, func() { expire(s, true) })
		time.Sleep(10 * time.Millisecond)
		go func() {
			s.count("a")
			close(done)
		}()
		go awaitThen(done, make(chan func(), 1), s)
		if !bad {
			later(func() { close(done) })
		}
	},
	// A lock that everybody can reach, held by one who is blocked forever.
	"leaked-holder": func(bad bool) {
		results := make(chan int)
		go refill(results)
		time.Sleep(10 * time.Millisecond)
		go inventory.count("a")
		if !bad {
			later(func() { <-results })
		}
	},
	// The lock of a condition, never given back: its waiter waits for it.
	"cond-relock": func(bad bool) {
		g := &gate{}
		g.cond = sync.NewCond(&g.mu)
		go g.pass()
		time.Sleep(10 * time.Millisecond)
		g.mu.Lock()
		g.open = true
		g.cond.Signal()
		if !bad {
			later(g.mu.Unlock)
		}
	},
}

var hangs = map[string]func(bad bool){
	// A condition that is found by way of a package variable, and nobody left to signal it.
	"nobody-signals": func(bad bool) {
		g := &gate{}
		g.cond = sync.NewCond(&g.mu)
		doors[0] = g
		done := make(chan struct{})
		go func() {
			g.pass()
			close(done)
		}()
		if !bad {
			later(g.cond.Broadcast)
		}
		<-done
	},
	// unlock needs the lock that lock has taken and keeps while it waits.
	"keyed-locks": func(bad bool) {
		locks.lock("a")
		done := make(chan struct{})
		go func() {
			locks.lock("a")
			close(done)
		}()
		time.Sleep(10 * time.Millisecond)
		if !bad {
			later(func() {})
		}
		locks.unlock("a")
		<-done
	},
	// All wait, but one for a ticker. As up to Go 1.22 nothing in the channel says so, by GODEBUG=asynctimerchan=1.
	"ticks": func(bool) {
		stop := make(chan struct{})
		ticker := time.NewTicker(20 * time.Millisecond)
		go func() {
			for {
				select {
				case <-ticker.C:
				case <-stop:
					return
				}
			}
		}()
		<-stop
	},
	// No hang: package testing panics again with what it has recovered.
	"closed": func(bool) {
		c := make(chan int, 1)
		close(c)
		publish(c)
	},
}

//go:noinline
func publish(c chan int) { c <- 1 }

func hang(name string, bad bool) {
	testing.Init()
	pid := fmt.Sprint(syscall.Getpid())
	os.Args = os.Args[:1]
	flag.Set("test.timeout", "10m")
	syscall.ForkExec("/bin/sh", []string{"sh", "-c", "sleep 0.5; kill -ABRT " + pid}, &syscall.ProcAttr{})
	testing.Main(func(string, string) (bool, error) { return true, nil },
		[]testing.InternalTest{{Name: name, F: func(*testing.T) { hangs[name](bad) }}}, nil, nil)
	time.Sleep(time.Hour)
}

func main() {
	name, bad := os.Args[1], os.Args[2] == "bad"
	switch {
	case hangs[name] != nil:
		hang(name, bad)
	case name == "deadlock": // and the runtime says so
		orders, done := make(chan int), make(chan struct{})
		go receiveOrder(orders, done)
		awaitOrder(done)
	default:
		go func() { modes[name](bad) }() // its frames are to be gone
		time.Sleep(200 * time.Millisecond)
		syscall.Kill(syscall.Getpid(), syscall.SIGABRT)
		time.Sleep(time.Hour)
	}
	fmt.Println(kept)
}
