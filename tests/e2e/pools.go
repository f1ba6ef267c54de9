// Clients of a pool, each of whom gives back what it gets: pools HOW. Dies by its own SIGABRT when all of them wait.
package main

import (
	"os"
	"sync"
	"syscall"
	"time"
)

const clients = 100 // more than a waiter gets edges

type pool struct{ tokens chan int }

type client struct {
	mu sync.Mutex
	n  int
}

//go:noinline
func (c *client) work(p *pool, held chan<- bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	held <- true
	c.n = <-p.tokens
	p.tokens <- c.n
}

// Has a token, and gives it back.
//
//go:noinline
func (p *pool) serve(token int) {
	time.Sleep(time.Hour)
	p.tokens <- token
}

// Has a token, too, but asks for a client's lock first.
//
//go:noinline
func (p *pool) inspect(c *client, token int) {
	c.mu.Lock()
	c.mu.Unlock()
	p.tokens <- token
}

func main() {
	p := &pool{tokens: make(chan int, 3)}
	all := make([]client, clients)
	held := make(chan bool)
	for i := range all {
		go all[i].work(p, held)
		<-held
	}
	go p.inspect(&all[0], 1)
	if os.Args[1] == "busy" {
		go p.serve(2)
		go p.serve(3)
	}
	time.Sleep(500 * time.Millisecond)
	syscall.Kill(syscall.Getpid(), syscall.SIGABRT)
	time.Sleep(time.Minute)
}
