// A Go program and its signals: it sends one to itself, or has handlers that run while it is well.
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
	case "recovers":
		for {
			recovers()
		}
	default:
		time.Sleep(20 * time.Millisecond)
		number, _ := strconv.Atoi(os.Args[1])
		_ = syscall.Kill(os.Getpid(), syscall.Signal(number))
		time.Sleep(time.Minute)
	}
}
