// What machine code that is no Go's keeps of the call that led to it: the frame pointer and sp to go back with, in
// uintptrs. Here a function of Go's writes them, from where its argument on the stack lies.
package main

import (
	"os"
	"syscall"
	"time"
	"unsafe"
)

type context struct {
	code   uint64
	fp, sp uintptr
	exit   uintptr
}

type variables struct {
	code         uint64
	first, later uintptr
	exit         uintptr
}

type onStack struct{ words [16]uintptr } // too long for registers

// Arguments on the stack begin at the caller's sp; the call puts its return address below, and rbp below that.
//
//go:noinline
func enter(c *context, argument onStack) uintptr {
	sp := uintptr(unsafe.Pointer(&argument))
	c.fp = sp - 16
	c.sp = sp - 56
	return argument.words[len(os.Args)]
}

//go:noinline
func keep(v *variables, at int) int {
	var first, later [4]int
	first[at], later[at] = at, at+1
	v.first = uintptr(unsafe.Pointer(&first))
	v.later = uintptr(unsafe.Pointer(&later))
	return first[at-1] + later[at]
}

var (
	contexts []*context
	kept     []*variables
	done     = make(chan bool)
)

func main() {
	go func() {
		switch os.Args[1] {
		case "context":
			c := &context{code: 1}
			contexts = append(contexts, c)
			enter(c, onStack{})
		case "variables":
			v := &variables{code: 1}
			kept = append(kept, v)
			keep(v, len(os.Args)-1)
		}
		<-done
	}()
	time.Sleep(200 * time.Millisecond)
	syscall.Kill(os.Getpid(), syscall.SIGABRT)
	time.Sleep(time.Minute)
	close(done)
}
