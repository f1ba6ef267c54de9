// Goroutines that nobody can wake, and those that somebody can.

package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
	"unsafe"
)

type request struct {
	id    int64
	reply chan int64
}

func chanAddr(c chan int64) string { return hex(*(*unsafe.Pointer)(unsafe.Pointer(&c))) }

//go:noinline
func recvFrom(name string, c chan int64) {
	enter(name, "chan receive", chanAddr(c))
	sink += <-c
}

//go:noinline
func sendTo(name string, c chan int64) {
	enter(name, "chan send", chanAddr(c))
	c <- 1
}

//go:noinline
func selectOn(name string, a, b chan int64) {
	enter(name, "select", chanAddr(a)+","+chanAddr(b))
	select {
	case v := <-a:
		sink += v
	case b <- 2:
	}
}

// askAndLeave is the classic: a worker answers on an unbuffered channel that its caller has given up.
//
//go:noinline
func askAndLeave(name string, gaveUp chan bool) {
	c := make(chan int64)
	go func() {
		<-gaveUp
		sendTo(name, c)
	}()
	select {
	case v := <-c:
		sink += v
	default:
	}
}

//go:noinline
func sleepThen(name string, f func()) {
	enter(name, "sleep", "0x0")
	time.Sleep(time.Hour)
	f()
}

var (
	globalChan  = make(chan int64)
	globalQueue = make(chan *request, 4)
	stopSignals = make(chan os.Signal, 1)
	keepCancel  context.CancelFunc
)

type owner struct{ c chan int64 }

func init() {
	leak := func(mode string, n int32, names string, f func()) {
		add(mode, func() {
			elsewhere(f)
			settle(n)
			collect()
			planted("go.goroutine.leaked", "goroutines", "names="+names)
		})
	}
	leak("leak_recv", 3, "leaked1,leaked2,leaked3", func() {
		for _, n := range []string{"leaked1", "leaked2", "leaked3"} {
			go recvFrom(n, make(chan int64))
		}
	})
	leak("leak_send", 3, "leaked1,leaked2,leaked3", func() {
		gaveUp := make(chan bool)
		for _, n := range []string{"leaked1", "leaked2", "leaked3"} {
			askAndLeave(n, gaveUp)
		}
		close(gaveUp)
	})
	leak("leak_select", 2, "leaked1,leaked2", func() {
		a, b := make(chan int64), make(chan int64)
		go selectOn("leaked1", a, make(chan int64))
		go selectOn("leaked2", make(chan int64), b)
	})
	leak("leak_chain", 3, "leaked1,leaked2,leaked3", func() { // each would wake the next; nobody wakes the first
		a, b, c := make(chan int64), make(chan int64), make(chan int64)
		go func() { recvFrom("leaked1", a); b <- 1 }()
		go func() { recvFrom("leaked2", b); c <- 1 }()
		go func() { recvFrom("leaked3", c) }()
	})
	leak("leak_nil", 1, "leaked1", func() { go recvFrom("leaked1", nil) })
	add("leak_none", func() {
		go recvFrom("by_global", globalChan)
		own := &owner{make(chan int64)}
		go recvFrom("by_sleeper", own.c)
		go sleepThen("sleeper", func() { own.c <- 1 })
		timed := make(chan int64)
		go recvFrom("by_timer", timed)
		time.AfterFunc(time.Hour, func() { timed <- 1 })
		reply := make(chan int64)
		go recvFrom("by_queued_request", reply)
		globalQueue <- &request{1, reply}
		ctx, cancel := context.WithCancel(context.Background())
		keepCancel = cancel
		go func() {
			enter("by_context", "chan receive", "0x0")
			<-ctx.Done()
		}()
		go func() {
			enter("by_after", "chan receive", "0x0")
			<-time.After(time.Hour)
		}()
		ctx2, cancel2 := context.WithTimeout(context.Background(), time.Hour)
		_ = cancel2
		go func() {
			enter("by_timeout", "chan receive", "0x0")
			<-ctx2.Done()
		}()
		signal.Notify(stopSignals, syscall.SIGUSR1)
		go func() {
			enter("by_signal", "chan receive", "0x0")
			<-stopSignals
		}()
		// a chain that ends at a living sleeper
		a, b := make(chan int64), make(chan int64)
		go func() { recvFrom("chain1", a); b <- 1 }()
		go func() { recvFrom("chain2", b) }()
		go sleepThen("chain_sleeper", func() { a <- 1 })
		own = nil // captured by reference: the sleeper has lost the channel too, and by_sleeper is a leak
		settle(12)
		collect()
		healthy()
	})
}
