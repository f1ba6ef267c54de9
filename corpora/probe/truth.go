// What the probe says about itself: truth.txt, goroutine notes, object notes, and the ways to die.

package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// Truth: text only, so that no integer copies of addresses stay in memory.

var (
	truthMu  sync.Mutex
	truthBuf []byte
	truthFd  int
	entered  int32
	stackBuf [1 << 20]byte
	lastLine [1 << 14]byte
	sink     int
)

func truthf(format string, args ...interface{}) {
	truthMu.Lock()
	truthBuf = append(truthBuf, fmt.Sprintf(format, args...)...)
	truthBuf = append(truthBuf, '\n')
	truthMu.Unlock()
}

// writeTruth writes what was collected. With stacks it adds runtime.Stack of every goroutine.
func writeTruth(stacks bool) {
	if stacks {
		n := runtime.Stack(stackBuf[:], true)
		truthf("stacks-begin (runtime.Stack, all goroutines)")
		truthMu.Lock()
		truthBuf = append(truthBuf, stackBuf[:n]...)
		truthMu.Unlock()
		truthf("stacks-end")
		for i := range stackBuf[:n] {
			stackBuf[i] = 0
		}
	}
	truthMu.Lock()
	b := truthBuf
	truthMu.Unlock()
	for len(b) > 0 {
		n, err := syscall.Write(truthFd, b)
		if err != nil {
			panic(err)
		}
		b = b[n:]
	}
	truthMu.Lock()
	truthBuf = truthBuf[:0]
	truthMu.Unlock()
}

func hex(p unsafe.Pointer) string { return "0x" + strconv.FormatUint(uint64(uintptr(p)), 16) }

// gid reads the goroutine's id out of its own stack text.
func gid() int {
	var b [64]byte
	n := runtime.Stack(b[:], false)
	s := strings.TrimPrefix(string(b[:n]), "goroutine ")
	id, _ := strconv.Atoi(s[:strings.IndexByte(s, ' ')])
	return id
}

// enter tells who the calling goroutine is and what it is about to do.
//
//go:noinline
func enter(name, want, object string) {
	pc, file, line, _ := runtime.Caller(1)
	truthf("goroutine id=%d name=%s want=%q object=%s in=%s at=%s:%d", gid(), name, want, object, runtime.FuncForPC(pc).Name(), file, line)
	atomic.AddInt32(&entered, 1)
}

// site notes a source line: the line after the call.
//
//go:noinline
func site(name string) {
	pc, file, line, _ := runtime.Caller(1)
	truthf("site name=%s in=%s at=%s:%d", name, runtime.FuncForPC(pc).Name(), file, line+1)
}

func object(name, kind string, p unsafe.Pointer, format string, args ...interface{}) {
	truthf("object name=%s type=%q addr=%s %s", name, kind, hex(p), fmt.Sprintf(format, args...))
}

func settle(n int32) {
	for i := 0; atomic.LoadInt32(&entered) < n; i++ {
		if i > 5000 {
			fmt.Fprintln(os.Stderr, "probe: only", atomic.LoadInt32(&entered), "of", n, "goroutines started")
			os.Exit(3)
		}
		time.Sleep(time.Millisecond)
	}
	time.Sleep(150 * time.Millisecond)
}

// raw: die by the kernel's default action, so that no thread of the core stands in a signal handler.
var raw bool

// abort sends SIGABRT to the calling thread.
//
//go:noinline
func abort() {
	if raw {
		var action [4]uintptr // handler SIG_DFL, flags, restorer, mask
		syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(syscall.SIGABRT), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
	}
	syscall.RawSyscall(syscall.SYS_TGKILL, uintptr(syscall.Getpid()), uintptr(syscall.Gettid()), uintptr(syscall.SIGABRT))
	for {
	}
}

func minor() int {
	v := strings.TrimPrefix(runtime.Version(), "go1.")
	i := 0
	for i < len(v) && v[i] >= '0' && v[i] <= '9' {
		i++
	}
	n, _ := strconv.Atoi(v[:i])
	return n
}

//go:noinline
func finish(stacks bool, last func()) {
	writeTruth(stacks)
	if last != nil {
		last()
	}
	abort()
}
