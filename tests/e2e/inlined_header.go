// A Go program with an impossible slice header in a function's variable, while code that is inlined into the function runs.
package main

import (
	"os"
	"syscall"
	"time"
	"unsafe"
)

var broken = make([]int, 3)

//go:noinline
func die(total int) int {
	_ = syscall.Kill(os.Getpid(), syscall.SIGABRT)
	time.Sleep(time.Minute)
	return total
}

func settle(total int) int { return die(total) + 1 }

//go:noinline
func book(total int) int {
	rows := broken
	total += settle(total)
	return total + len(rows) + cap(rows) + *(*int)(unsafe.Pointer(unsafe.SliceData(rows)))
}

func main() {
	(*[3]int)(unsafe.Pointer(&broken))[1] = -5
	os.Exit(book(7))
}
