// What nothing keeps but words of a frame that was stopped anywhere, which may be no pointers; and slices over memory
// that was unmapped, in objects that wait to be used again.
package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

const mask = 1 << 60

// So large that the allocator notes its type.
type holder struct {
	name  string
	at    uintptr
	extra any
	rest  [100]int
}

var started, stop atomic.Bool
var sink any
var sinks []*[40]int
var bytes *[8]byte
var held *holder

//go:noinline
func spin(words [4]uintptr) uintptr {
	for i := range words {
		words[i] ^= mask
	}
	started.Store(true)
	for !stop.Load() {
		for i := range words {
			words[i] ^= words[3] & 1
		}
	}
	return words[0] + words[1] + words[2]
}

//go:noinline
func keep(h *holder, m map[int]int) int {
	started.Store(true)
	n := 0
	for !stop.Load() {
		n++
	}
	return n + len(h.name) + len(m)
}

// The type is there, the value is not yet.
//
//go:noinline
func store(h *holder, text string) int {
	value := any(text)
	words := *(*[2]unsafe.Pointer)(unsafe.Pointer(&value))
	*(*uintptr)(unsafe.Pointer(&h.extra)) = uintptr(words[0])
	started.Store(true)
	for !stop.Load() {
	}
	h.extra = value
	return len(h.name)
}

// The same while the collector marks: between the type and the value stands the write barrier, which empties its buffer.
//
//go:noinline
func put(h *holder, value any) {
	h.extra = value
}

// Its argument lies where the caller keeps room for the registers of what it calls.
//
//go:noinline
func spill(n *[40]int) int {
	sink = n
	runtime.Gosched()
	sink = nil
	return n[3]
}

//go:noinline
func enter(n *[40]int) bool {
	return n == nil
}

//go:noinline
func pass() bool {
	spill(new([40]int))
	runtime.GC()
	runtime.GC()
	return enter(nil)
}

// A []byte of its own behind another tiny object, and before its address the descriptor of []string.
//
//go:noinline
func header() (words [4]uintptr) {
	var text []byte
	for uintptr(unsafe.Pointer(unsafe.SliceData(text)))%16 != 8 {
		bytes = new([8]byte)
		text = append(make([]byte, 0, 8), "abc"[:2+len(os.Args)/3]...)
		sink = &text
	}
	strings := any([]string(nil))
	words = [4]uintptr{0, *(*uintptr)(unsafe.Pointer(&strings)) ^ mask, uintptr(unsafe.Pointer(sink.(*[]byte))) ^ mask}
	sink = nil
	return words
}

//go:noinline
func freed() uintptr {
	n := new([40]int)
	sink = n
	u := uintptr(unsafe.Pointer(n))
	sink = nil
	return u
}

type decoder struct {
	input []byte
	table *[40]int
}

var (
	idle   = make(chan *decoder, 4)
	pool   sync.Pool
	last   *decoder
	mapped = map[string][]byte{}
)

// By the system call alone: package syscall keeps its record of the mapping.
//
//go:noinline
func unmapped() []byte {
	page, err := syscall.Mmap(-1, 0, 1<<20, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		panic(err)
	}
	syscall.Syscall(syscall.SYS_MUNMAP, uintptr(unsafe.Pointer(&page[0])), uintptr(len(page)), 0)
	return page
}

func main() {
	runtime.GOMAXPROCS(2)
	debug.SetGCPercent(-1)
	switch os.Args[1] {
	case "header":
		words := header()
		go spin(words)
	case "uintptr":
		h := &holder{name: os.Args[1], at: freed()}
		runtime.GC()
		runtime.GC()
		go keep(h, nil)
	case "torn":
		held = &holder{name: os.Args[0]}
		go store(held, os.Args[0])
	case "barrier":
		held = &holder{}
		list := []*holder{held}
		for range 20000 {
			list = append(list, &holder{extra: list[len(list)/2]})
		}
		sink = list
		go func() {
			for {
				runtime.GC()
			}
		}()
		for value := any(list); ; {
			put(held, nil)
			put(held, nil) // three: the buffer does not fill at the same store every time
			put(held, value)
		}
	case "entry":
		var others [5]*[40]int // keep the span
		for i := range others {
			others[i] = new([40]int)
		}
		sinks = others[:]
		for pass() {
		}
	case "map":
		m := map[int]int{}
		for i := range 200 {
			m[i] = i
		}
		*(*uint64)(*(*unsafe.Pointer)(unsafe.Pointer(&m))) = 77
		go keep(&holder{}, m)
	}
	switch os.Args[1] {
	case "record":
		unmapped()
		started.Store(true)
	case "queued":
		idle <- &decoder{unmapped()[100:200], new([40]int)}
		started.Store(true)
	case "pooled":
		pool.Put(&decoder{unmapped()[100:200], new([40]int)})
		started.Store(true)
	case "queued-in-use":
		last = &decoder{unmapped()[100:200], new([40]int)}
		idle <- last
		started.Store(true)
	case "in-map":
		mapped["page"] = unmapped()
		started.Store(true)
	}
	for !started.Load() {
	}
	time.Sleep(10 * time.Millisecond)
	syscall.Kill(os.Getpid(), syscall.SIGABRT)
	time.Sleep(time.Minute)
}
