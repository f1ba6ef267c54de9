// Go and C together: modes, truth.txt, and the way to die. One planted fault or its healthy twin per mode; see README.md
// of corpora for truth.txt. With "-hang" after the mode's name it says READY and sleeps.
package main

/*
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>
static __attribute__((noipa, unused)) void c_abort_here(void) {
	syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGABRT);
	for (;;)
		;
}
*/
import "C"

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

var (
	truthMu  sync.Mutex
	truthBuf []byte
	truth    *os.File
	entered  int32
	sink     int64
	modes    = map[string]func(){}
	anchors  []interface{} // what must stay reachable, with its dynamic type
	stackBuf [1 << 20]byte
	last     func()
)

func add(name string, f func()) { modes[name] = f }

func truthf(format string, args ...interface{}) {
	truthMu.Lock()
	truthBuf = append(truthBuf, fmt.Sprintf(format, args...)...)
	truthBuf = append(truthBuf, '\n')
	truthMu.Unlock()
}

func hex(p unsafe.Pointer) string { return fmt.Sprintf("0x%x", uintptr(p)) }

func gid() (id int) {
	var b [64]byte
	fmt.Sscanf(string(b[:runtime.Stack(b[:], false)]), "goroutine %d ", &id)
	return id
}

// enter tells who the calling goroutine is and what it is about to do.
//
//go:noinline
func enter(name, want, object string) {
	pc, file, line, _ := runtime.Caller(1)
	truthf("goroutine id=%d name=%s tid=%d want=%q object=%s in=%s at=%s:%d", gid(), name, syscall.Gettid(), want, object, runtime.FuncForPC(pc).Name(), file, line)
	atomic.AddInt32(&entered, 1)
}

func object(name, kind string, p unsafe.Pointer, format string, args ...interface{}) {
	truthf("object name=%s type=%q addr=%s %s", name, kind, hex(p), fmt.Sprintf(format, args...))
}

func planted(kind, subject, rest string) {
	truthf("expect finding=%s subject=%s %s", kind, subject, rest)
}

func healthy() { truthf("expect findings-at-warning=0") }

func fail(format string, args ...interface{}) {
	fmt.Fprintf(os.Stderr, "not as planted: "+format+"\n", args...)
	os.Exit(3)
}

func until(what string, f func() bool) {
	for i := 0; !f(); i++ {
		if i > 10000 {
			fail("%s did not happen", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func settle(n int32) {
	until(fmt.Sprint(n, " goroutines"), func() bool { return atomic.LoadInt32(&entered) >= n })
	time.Sleep(60 * time.Millisecond)
}

func writeTruth() {
	n := runtime.Stack(stackBuf[:], true)
	truthf("stacks-begin (runtime.Stack, all goroutines)\n%s\nstacks-end", stackBuf[:n])
	if _, err := truth.Write(truthBuf); err != nil {
		fail("%v", err)
	}
	for i := range truthBuf {
		truthBuf[i] = 0
	}
	truthBuf = nil
	for i := range stackBuf[:n] {
		stackBuf[i] = 0
	}
}

//go:noinline
func wipeStack() int {
	var a [2048]int
	for i := range a {
		a[i] = i & 1
	}
	return a[sink&2047]
}

// elsewhere runs f in a goroutine that is over afterwards.
//
//go:noinline
func elsewhere(f func()) {
	done := make(chan bool)
	go func() {
		f()
		done <- true
	}()
	<-done
	time.Sleep(2 * time.Millisecond)
}

//go:noinline
func collect() {
	sink += int64(wipeStack())
	for i := 0; i < 3; i++ {
		runtime.GC()
	}
}

func main() {
	mode := ""
	if len(os.Args) > 1 {
		mode = os.Args[1]
	}
	hang := strings.HasSuffix(mode, "-hang")
	f := modes[strings.TrimSuffix(mode, "-hang")]
	if f == nil {
		fmt.Fprintln(os.Stderr, "usage: cgo MODE or MODE-hang; modes:")
		for m := range modes {
			fmt.Fprintln(os.Stderr, "  "+m)
		}
		os.Exit(2)
	}
	path := os.Getenv("PROBE_TRUTH")
	if path == "" {
		path = "truth.txt"
	}
	var err error
	if truth, err = os.Create(path); err != nil {
		fail("%v", err)
	}
	runtime.LockOSThread()
	truthf("probe mode=%s go=%s os=%s arch=%s pid=%d main-tid=%d main-goroutine=%d", mode, runtime.Version(), runtime.GOOS, runtime.GOARCH, syscall.Getpid(), syscall.Gettid(), gid())
	f()
	sink += int64(wipeStack())
	writeTruth()
	if hang {
		os.Stdout.WriteString("READY\n")
		for {
			time.Sleep(time.Hour)
		}
	}
	if last != nil {
		last()
	}
	C.c_abort_here()
}
