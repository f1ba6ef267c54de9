// A Go program that sends a signal to itself, or is well and has odd moments: handlers run, stacks move.
package main

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

var nobody *struct{ name [2]string }

func recovers() (length int) {
	defer func() { _ = recover() }()
	return len(nobody.name[1])
}

type box struct {
	before [3]int
	data   []byte
}

var boxes []box

//go:noinline
func deep(n int, above *int) int {
	here := n + *above
	if n == 0 {
		return here
	}
	return deep(n-1, &here) + *above
}

func main() {
	runtime.GOMAXPROCS(4)
	for i := 0; i < 3; i++ { // the runtime sends SIGQUIT to threads that run
		go func() {
			for {
			}
		}()
	}
	switch os.Args[1] {
	case "children":
		for {
			_ = exec.Command("/bin/true").Run()
		}
	case "timer":
		for {
			c := make(chan int)
			time.AfterFunc(50*time.Millisecond, func() { c <- 1 })
			go func() { <-c }()
			time.Sleep(100 * time.Millisecond)
		}
	case "recovers":
		for {
			recovers()
		}
	case "stores":
		go func() {
			for {
				runtime.GC()
			}
		}()
		payload := make([]byte, 100)
		for {
			boxes = make([]box, 5000)
			for i := range boxes {
				boxes[i].data = payload[:1+i%99]
			}
		}
	case "deep":
		for n := 0; ; n++ {
			done := make(chan int)
			go func() { done <- deep(n%5000, &n) }()
			<-done
		}
	default:
		time.Sleep(20 * time.Millisecond)
		number, _ := strconv.Atoi(os.Args[1])
		_ = syscall.Kill(os.Getpid(), syscall.Signal(number))
		time.Sleep(time.Minute)
	}
}
