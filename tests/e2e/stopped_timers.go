// Channels of timers that do not run: nobody sends to them again, unless somebody holds the timer and may reset it.
//
//go:debug asynctimerchan=0
package main

import (
	"os"
	"runtime"
	"syscall"
	"time"
)

type job struct{ late *time.Timer }

//go:noinline
func stopped() {
	t := time.NewTimer(time.Hour)
	t.Stop()
	<-t.C
}

//go:noinline
func fired() {
	t := time.NewTimer(time.Millisecond)
	<-t.C
	<-t.C
}

//go:noinline
func tickerStopped() {
	t := time.NewTicker(time.Hour)
	t.Stop()
	for range t.C {
	}
}

//go:noinline
func stoppedOrNever(never chan int) {
	t := time.NewTimer(time.Hour)
	t.Stop()
	select {
	case <-t.C:
	case <-never:
	}
}

//go:noinline
func (j *job) wait() { <-j.late.C }

// The healthy ones: who sleeps will start the timer again; the others run.
//
//go:noinline
func (j *job) restart() {
	time.Sleep(time.Hour)
	j.late.Reset(time.Second)
}

//go:noinline
func runs() {
	t := time.NewTimer(time.Hour)
	defer t.Stop()
	<-t.C
}

//go:noinline
func ticks() {
	for range time.NewTicker(3 * time.Millisecond).C {
	}
}

func main() {
	j := &job{time.NewTimer(time.Hour)}
	j.late.Stop()
	go j.wait()
	go j.restart()
	go runs()
	go ticks()
	if len(os.Args) > 1 && os.Args[1] == "leaks" {
		go stopped()
		go fired()
		go tickerStopped()
		go stoppedOrNever(make(chan int))
	}
	time.Sleep(100 * time.Millisecond)
	runtime.GC()
	syscall.Kill(os.Getpid(), syscall.SIGABRT)
	time.Sleep(time.Hour)
}
