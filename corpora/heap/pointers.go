// Pointers to what is freed, to what the collector cannot see, and doubles in a pool.

package main

import (
	"math/rand"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

type item struct {
	magic uint64
	next  *item
	pad   [6]uint64
}

type shelf struct {
	magic uint64
	item  *item
}

const itemMagic = 0x4954454d30303031

var (
	theShelf  *shelf // in mmap memory
	keepItem  *item
	keepItems []*item
	heapShelf = &shelf{magic: 0x5348454c46303031}
	blob      = &blobHolder{magic: 0x424c4f4248303031}
	keepBlob  []byte
	someFile  []byte
)

// Sixteen of them: the collector lets a stale pointer pass when its old span has become a stack meanwhile.
type blobHolder struct {
	magic uint64
	data  [16]unsafe.Pointer
}

//go:noinline
func mmap(n int) []byte {
	b, err := syscall.Mmap(-1, 0, n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	must(err)
	return b
}

// makeItems allocates some of them, so that the span stays in use when one of them is freed.
//
//go:noinline
func makeItems(use func(*item)) {
	for i := 0; i < 200; i++ {
		keepItems = append(keepItems, &item{magic: itemMagic, pad: [6]uint64{uint64(i)}})
	}
	use(&item{magic: itemMagic, pad: [6]uint64{4711}})
	for i := 0; i < 200; i++ {
		keepItems = append(keepItems, &item{magic: itemMagic, pad: [6]uint64{uint64(i)}})
	}
}

//go:noinline
func makeBlob(held bool) {
	b := make([]byte, 8<<20)
	b[0] = 1
	if held {
		keepBlob = b
	}
	theHolder.where = uintptr(unsafe.Pointer(&b[4<<20])) // its first pages are taken again soon
}

func noteShelf(s *shelf, name, rest string) {
	object(name, "main.shelf", unsafe.Pointer(s), "field=item value=%s %s", hex(unsafe.Pointer(s.item)), rest)
}

type buffer struct {
	magic uint64
	b     [56]byte
}

var (
	buffers  = sync.Pool{New: func() interface{} { return &buffer{magic: 0x4255464645523031} }}
	keepBufs [8]*buffer
)

func init() {
	keep(heapShelf, blob)
	freed := func(mode string, held bool) {
		add(mode, func() {
			elsewhere(func() {
				makeItems(func(it *item) {
					theHolder.where = uintptr(unsafe.Pointer(it))
					if held {
						keepItem = it
					}
				})
			})
			collect()
			quiet()
			noteHolder("into=main.item, " + map[bool]string{true: "kept by keepItem", false: "a free slot"}[held])
			if held {
				healthy()
			} else {
				planted("go.pointer.freed", "theHolder", "field=where state=free-slot")
			}
		})
	}
	freed("freed_slot", false)
	freed("kept_slot", true)
	add("freed_pointer", func() { // the integer became a typed pointer again, after the object was freed
		elsewhere(func() { makeItems(func(it *item) { theHolder.where = uintptr(unsafe.Pointer(it)) ^ 0x5555 }) })
		collect()
		quiet()
		heapShelf.item = (*item)(unsafe.Pointer(theHolder.where ^ 0x5555))
		theHolder.where = 0
		noteShelf(heapShelf, "heapShelf", "into=a free slot")
		planted("go.pointer.freed", "heapShelf", "field=item state=free-slot")
	})
	page := func(mode string, held bool) {
		add(mode, func() {
			elsewhere(func() { makeBlob(held) })
			collect()
			debug.FreeOSMemory()
			quiet()
			noteHolder("into=the middle of an 8 MiB []byte")
			if held {
				healthy()
			} else {
				planted("go.pointer.freed", "theHolder", "field=where state=free-page")
			}
		})
	}
	page("freed_page", false)
	page("kept_page", true)
	bad := func(mode string, held bool) {
		add(mode, func() {
			quiet()                // else a collection between two of them gives the second one the first one's pages
			var hidden [16]uintptr // not addresses as they stand
			elsewhere(func() {
				for i := range hidden {
					makeBlob(held)
					hidden[i] = theHolder.where ^ 0x5555
					keep(keepBlob)
				}
			})
			collect()
			debug.FreeOSMemory()
			theHolder.where = 0
			if !held {
				truthf("expect crash=go-fatal message=%q", "found bad pointer in Go heap (incorrect use of unsafe or cgo?)")
				planted("go.pointer.bad", "blob", "field=data, one of 16")
			} else {
				healthy()
			}
			object("blob", "main.blobHolder", unsafe.Pointer(blob), "field=data, 16 pointers into blocks of 8 MiB")
			last = func() {
				for i := range hidden {
					blob.data[i] = unsafe.Pointer(hidden[i] ^ 0x5555)
				}
				runtime.GC()
				if !held {
					fail("the collector let them pass")
				}
			}
		})
	}
	bad("bad_pointer", false)
	bad("good_pointer", true)

	// In mmap memory: the compiler emits write barriers for the store, but nobody scans the slot.
	off := func(mode string, held, gc bool) {
		add(mode, func() {
			quiet()
			theShelf = (*shelf)(unsafe.Pointer(&mmap(4096)[64]))
			theShelf.magic = 0x5348454c46303032
			keep(theShelf)
			elsewhere(func() {
				makeItems(func(it *item) {
					theShelf.item = it
					if held {
						keepItem = it
					}
				})
			})
			sink += int64(wipeStack())
			if gc {
				collect()
			}
			noteShelf(theShelf, "theShelf", "")
			switch {
			case held:
				healthy()
			case gc:
				planted("go.pointer.freed", "theShelf", "field=item state=free-slot")
			default:
				planted("go.pointer.offheap-only", "theShelf", "field=item, the object is still allocated")
			}
		})
	}
	off("offheap_only", false, false)
	off("offheap_freed", false, true)
	off("offheap_kept", true, true)
	add("offheap_noise", func() { // mmap memory full of random bytes
		someFile = mmap(1 << 20)
		r := rand.New(rand.NewSource(1))
		r.Read(someFile)
		collect()
		healthy()
	})

	pool := func(mode string, f func()) {
		add(mode, func() {
			f()
			object("buffers", "sync.Pool", unsafe.Pointer(&buffers), "package variable main.buffers")
		})
	}
	pool("pool_double", func() {
		x, y := buffers.Get().(*buffer), buffers.Get().(*buffer)
		buffers.Put(x)
		buffers.Put(x)
		keepBufs[0] = y
		object("x", "main.buffer", unsafe.Pointer(x), "put twice")
		planted("go.pool.duplicate", "buffers", "object=x")
	})
	pool("pool_double_apart", func() { // twice, with others between
		x := buffers.Get().(*buffer)
		buffers.Put(buffers.New())
		buffers.Put(x)
		buffers.Put(buffers.New())
		buffers.Put(x)
		object("x", "main.buffer", unsafe.Pointer(x), "put twice")
		planted("go.pool.duplicate", "buffers", "object=x")
	})
	pool("pool_right", func() {
		x, y := buffers.Get().(*buffer), buffers.Get().(*buffer)
		buffers.Put(x)
		buffers.Put(y)
		for i := 0; i < 40; i++ { // slots that were used and emptied keep stale values outside [tail, head)
			keepBufs[i%8] = buffers.Get().(*buffer)
			if i%8 == 7 {
				for j := range keepBufs {
					buffers.Put(keepBufs[j])
					keepBufs[j] = nil
				}
			}
		}
		healthy()
	})
	pool("pool_victim", func() { // one collection: what was in the pool is in its victim now, and new ones in front
		for i := 0; i < 4; i++ {
			buffers.Put(buffers.New())
		}
		for i := 0; i < 4; i++ {
			go func() {
				for j := 0; j < 3; j++ {
					buffers.Put(buffers.New())
				}
				enter("putter", "sleep", "0x0")
				time.Sleep(time.Hour)
			}()
		}
		settle(4)
		runtime.GC()
		buffers.Put(buffers.New())
		buffers.Put(buffers.New())
		healthy()
	})
}
