// Compiled into locks and heap: modes, truth.txt, goroutine and object notes, and the way to die.
//
// A mode registers itself with add. Its function builds the state and returns, so that no frame of the main goroutine
// keeps what it built; then the truth is written and the process sends SIGABRT to its own thread. With "-hang" after
// the mode's name it says READY and sleeps instead, for gcore or a signal from outside. All of it is text before it is
// kept, so that the truth adds no integer copies of addresses to the core.

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

var (
	truthMu  sync.Mutex
	truthBuf []byte
	truthFd  int
	entered  int32
	stackBuf [1 << 20]byte
	sink     int64
	modes    = map[string]func(){}
	last     func() // runs after the truth is written, just before the end
)

func add(name string, f func()) { modes[name] = f }

func truthf(format string, args ...interface{}) {
	truthMu.Lock()
	truthBuf = append(truthBuf, fmt.Sprintf(format, args...)...)
	truthBuf = append(truthBuf, '\n')
	truthMu.Unlock()
}

// writeTruth writes what was collected, and runtime.Stack of every goroutine, and forgets it.
func writeTruth() {
	n := runtime.Stack(stackBuf[:], true)
	truthf("stacks-begin (runtime.Stack, all goroutines)")
	truthMu.Lock()
	truthBuf = append(truthBuf, stackBuf[:n]...)
	truthMu.Unlock()
	truthf("stacks-end")
	for i := range stackBuf[:n] {
		stackBuf[i] = 0
	}
	truthMu.Lock()
	b := truthBuf
	truthBuf = nil
	truthMu.Unlock()
	flush(b)
	for i := range b {
		b[i] = 0
	}
}

func flush(b []byte) {
	for len(b) > 0 {
		n, err := syscall.Write(truthFd, b)
		must(err)
		b = b[n:]
	}
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

func object(name, kind string, p unsafe.Pointer, format string, args ...interface{}) {
	truthf("object name=%s type=%q addr=%s %s", name, kind, hex(p), fmt.Sprintf(format, args...))
}

// must: the planted state is not there; no core, and a loud end.
func must(err error) {
	if err != nil {
		fail("%v", err)
	}
}

func fail(format string, args ...interface{}) {
	fmt.Fprintf(os.Stderr, "not as planted: "+format+"\n", args...)
	os.Exit(3)
}

// until waits for a state that others bring about.
func until(what string, f func() bool) {
	for i := 0; !f(); i++ {
		if i > 10000 {
			fail("%s did not happen", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// settle waits until n goroutines have said what they do, and then until they do it.
func settle(n int32) {
	until(fmt.Sprint(n, " goroutines"), func() bool { return atomic.LoadInt32(&entered) >= n })
	time.Sleep(40 * time.Millisecond)
}

// abort sends SIGABRT to the calling thread.
//
//go:noinline
func abort() {
	syscall.RawSyscall(syscall.SYS_TGKILL, uintptr(syscall.Getpid()), uintptr(syscall.Gettid()), uintptr(syscall.SIGABRT))
	for {
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

func main() {
	mode := ""
	if len(os.Args) > 1 {
		mode = os.Args[1]
	}
	hang := strings.HasSuffix(mode, "-hang")
	f := modes[strings.TrimSuffix(mode, "-hang")]
	if f == nil {
		fmt.Fprintln(os.Stderr, "usage: PROGRAM MODE or MODE-hang; modes:")
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
	truthFd, err = syscall.Open(path, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_TRUNC|syscall.O_CLOEXEC, 0644)
	must(err)
	runtime.LockOSThread()
	runtime.GOMAXPROCS(2)
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
	abort()
}
