// The border: C that keeps Go pointers, Go that keeps freed C memory, and the wrong allocator's free.

package main

/*
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>
struct session { uint64_t magic; uint64_t *counter; uint64_t pad[6]; };
struct registry { uint64_t magic; void *session; };
static struct session *g_session;
static struct registry *g_registry;
static void c_register(uintptr_t p) { g_session = (struct session *)p; }
static void c_register_heap(uintptr_t p) {
	g_registry = calloc(1, sizeof *g_registry);
	g_registry->magic = 0x5245474953303031;
	g_registry->session = (void *)p;
}
static void *c_where(void) { return &g_session; }
static void *c_registry(void) { return g_registry; }
static __attribute__((noipa)) uint64_t c_callback(void) { return ++*g_session->counter; }
static uint64_t *c_counter(void) { return calloc(1, 8); }
static __attribute__((noipa)) void c_hold(uintptr_t p, int fd) { // keeps it on the C stack while the call goes on
	struct session *volatile s = (struct session *)p;
	char b;
	if (read(fd, &b, 1) == 1)
		s->pad[0]++;
}
static __attribute__((noipa)) void c_scribble(uint64_t *p) { // as a next pointer it decodes to an address that is not aligned, wherever the heap lies
	*p = 0x4141414141414100 | ((((uintptr_t)p >> 12) & 0xff) ^ 8);
}
static __attribute__((noipa)) void *c_take(size_t n) { return malloc(n); }
static __attribute__((noipa)) void c_drop(void *p) { free(p); }
static __attribute__((noipa)) void c_drop_word(uintptr_t p) { free((void *)p); }
*/
import "C"

import (
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

type session struct { // only C memory inside: the cgo check accepts it
	magic   uint64
	counter uintptr
	pad     [6]uint64
}

var (
	keepSession *session
	spray       [][]uint64
	chunk       unsafe.Pointer
	chunks      [8]unsafe.Pointer
	buffer      = struct {
		magic uint64
		data  unsafe.Pointer
	}{magic: 0x4255464645523031}
)

//go:noinline
func newSession() *session {
	return &session{magic: 0x5345535346303031, counter: uintptr(unsafe.Pointer(C.c_counter()))}
}

//go:noinline
func register(held, inHeap bool) {
	s := newSession()
	if inHeap {
		C.c_register_heap(C.uintptr_t(uintptr(unsafe.Pointer(s))))
		object("g_registry", "struct registry", C.c_registry(), "field=session value=%s", hex(unsafe.Pointer(s)))
	} else {
		C.c_register(C.uintptr_t(uintptr(unsafe.Pointer(s))))
		object("g_session", "struct session *", C.c_where(), "symbol=g_session value=%s", hex(unsafe.Pointer(s)))
	}
	if held {
		keepSession = s
	}
}

func neighbours() { // of the same P, so that the span stays in use
	for i := 0; i < 100; i++ {
		anchors = append(anchors, &session{magic: uint64(i)})
	}
}

func init() {
	outlived := func(mode string, held, inHeap bool) {
		add(mode, func() {
			elsewhere(func() {
				neighbours()
				register(held, inHeap)
				neighbours()
			})
			collect()
			subject := "g_session"
			if inHeap {
				subject = "g_registry"
			}
			if held {
				healthy()
			} else {
				planted("cgo.pointer.outlived", subject, "the Go object is freed")
			}
		})
	}
	outlived("outlived_data", false, false)
	outlived("outlived_heap", false, true)
	outlived("outlived_kept", true, false)
	outlived("outlived_kept_heap", true, true)
	add("outlived_crash", func() {
		spray = make([][]uint64, 0, 20000)
		elsewhere(func() {
			neighbours()
			register(false, false)
			neighbours()
		})
		collect()
		for i := 0; i < cap(spray); i++ { // the freed slot's class: 64 bytes without pointers
			b := make([]uint64, 8)
			for j := range b {
				b[j] = 0x4141414141410000 + uint64(i)
			}
			spray = append(spray, b)
		}
		planted("cgo.pointer.outlived", "g_session", "the slot was used again; c_callback dies of it")
		truthf("expect crash=signal SIGSEGV function=c_callback")
		last = func() {
			sink += int64(C.c_callback())
			fail("the slot was not used again")
		}
	})
	add("call_in_progress", func() { // a Go pointer on the C stack of a call that goes on: allowed
		var p [2]int
		if err := syscall.Pipe(p[:]); err != nil {
			fail("%v", err)
		}
		go func() {
			s := newSession()
			enter("caller", "syscall, in C read", hex(unsafe.Pointer(s)))
			C.c_hold(C.uintptr_t(uintptr(unsafe.Pointer(s))), C.int(p[0]))
			runtime.KeepAlive(s)
		}()
		settle(1)
		collect()
		healthy()
	})
	add("c_freed_written", func() { // C.free, then a write through the Go pointer: the free list is broken; a later malloc dies
		chunk = C.c_take(48)
		chunks[0] = C.c_take(48)
		object("chunk", "malloc", chunk, "size=48 freed, then its first eight bytes overwritten with 0x41414141414141xx")
		object("buffer", "struct", unsafe.Pointer(&buffer), "field=data value=%s", hex(chunk))
		buffer.data = chunk
		anchors = append(anchors, &buffer)
		planted("native.heap.corrupt", "chunk", "malloc(): unaligned tcache chunk detected")
		last = func() {
			C.c_drop(chunks[0])
			C.c_drop(chunk)
			C.c_scribble((*C.uint64_t)(chunk))
			for i := 0; i < 4; i++ {
				chunks[i] = C.c_take(48)
			}
			fail("malloc survived")
		}
	})
	add("c_free_go", func() { // free() of a Go object
		two := make([]session, 2) // what would be the chunk's size word lies in the first one and is zero
		s := &two[1]
		keepSession = s
		object("session", "main.session", unsafe.Pointer(s), "given to free()")
		planted("native.heap.bad-free", "session", "free(): invalid pointer")
		last = func() {
			C.c_drop_word(C.uintptr_t(uintptr(unsafe.Pointer(keepSession))))
			fail("free survived")
		}
	})
	add("c_free_right", func() { // C memory taken, freed, and forgotten
		for i := range chunks {
			chunks[i] = C.c_take(C.size_t(40 + 8*i))
		}
		for i := range chunks {
			if i%2 == 0 {
				C.c_drop(chunks[i])
				chunks[i] = nil
			}
		}
		text := C.CString("a C string that Go frees")
		C.free(unsafe.Pointer(text))
		text = nil
		healthy()
	})
	add("cgo_idle", func() { // goroutines in C, in Sleep and on channels; nothing wrong
		var p [2]int
		if err := syscall.Pipe(p[:]); err != nil {
			fail("%v", err)
		}
		for i := 0; i < 4; i++ {
			go func() {
				enter("in_c", "syscall, in C read", "0x0")
				C.c_hold(0, C.int(p[0]))
			}()
		}
		go func() {
			enter("sleeper", "sleep", "0x0")
			time.Sleep(time.Hour)
		}()
		settle(5)
		healthy()
	})
}
