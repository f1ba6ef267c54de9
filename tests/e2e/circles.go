// Two goroutines in a circle over a lock and a channel, and who may break it: nobody, a sleeper that will send to a
// channel out of a table, a select that stands in the same channel, calls what only data names, and sends there.
package main

import (
	"os"
	"sync"
	"syscall"
	"time"
)

type server interface{ serve() }
type sender struct{ c chan int }

func (s *sender) serve() { s.c <- 1 }

var (
	table   = map[string]chan int{}
	servers = map[string]server{}
	sum     int
)

//go:noinline
func holder(mu *sync.Mutex, c chan int) {
	mu.Lock()
	sum += <-c
	mu.Unlock()
}

//go:noinline
func giver(mu *sync.Mutex, c chan int) {
	mu.Lock()
	c <- 1
	mu.Unlock()
}

//go:noinline
func sleeper() {
	time.Sleep(time.Hour)
	table["c"] <- 1
}

//go:noinline
func selects(c chan int) {
	late := time.NewTimer(time.Hour)
	select {
	case v := <-c:
		sum += v
	case <-late.C:
	}
	servers["c"].serve()
}

func main() {
	mu, c := new(sync.Mutex), make(chan int)
	table["c"], servers["c"] = c, &sender{c}
	go holder(mu, c)
	time.Sleep(100 * time.Millisecond)
	go giver(mu, c)
	switch os.Args[1] {
	case "sleeper":
		go sleeper()
	case "selects":
		go selects(c)
	}
	time.Sleep(200 * time.Millisecond)
	syscall.Kill(os.Getpid(), syscall.SIGABRT)
	time.Sleep(time.Minute)
}
