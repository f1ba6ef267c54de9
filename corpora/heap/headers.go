// Slice, string and interface headers that contradict themselves or their objects; and odd but legal ones.

package main

import (
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"unsafe"
)

type frame struct {
	magic uint64
	name  [16]byte
	body  []byte
	title string
	any   interface{}
	text  fmt.Stringer
	tail  uint64
}

var (
	theFrame  *frame
	keepSlice [][]byte
	keepStrs  []string
	keepAny   []interface{}
	keepInts  = &threeInts{0xc000001000, 1 << 40, 3}
	staticArr [64]byte
	region    []byte
)

type threeInts struct{ a, b, c uint64 } // looks like a slice header, is none

type label string

func (l label) String() string { return string(l) }

//go:noinline
func newFrame() {
	theFrame = &frame{magic: 0x4652414d45303031, body: make([]byte, 100, 256), title: strings.Repeat("title", 8), any: &item{magic: itemMagic}, text: label("text"), tail: 1}
	copy(theFrame.name[:], "frame-one")
	keep(theFrame)
}

type sliceHeader struct {
	data     unsafe.Pointer
	len, cap int
}

type wordPair struct{ first, second unsafe.Pointer }

func bodyHeader(f *frame) *sliceHeader { return (*sliceHeader)(unsafe.Pointer(&f.body)) }

//go:noinline
func sum(b []byte) (t int64) {
	for i := 0; i < len(b); i++ {
		t += int64(b[i])
	}
	return t
}

func noteFrame(rest string) { object("theFrame", "main.frame", unsafe.Pointer(theFrame), "%s", rest) }

// overrun: a 16-byte name is filled with 32 bytes, as memcpy in C does; the copy carried a plausible pointer.
//
//go:noinline
func overrun(f *frame) {
	h := bodyHeader(f)
	for i := range f.name {
		f.name[i] = 0x7f
	}
	h.len = 0x7f7f7f7f
}

func init() {
	hold := func(mode, kind, field, what string, f func(*frame)) {
		add(mode, func() {
			newFrame()
			quiet()
			f(theFrame)
			noteFrame("field=" + field + " damage=\"" + what + "\"")
			planted(kind, "theFrame", "field="+field+" "+what)
		})
	}
	hold("slice_len", "go.slice.bad", "body", "len 0x7f7f7f7f, cap 256", overrun)
	hold("slice_cap", "go.slice.bad", "body", "len 100, cap 1 MiB, the object has 256 bytes", func(f *frame) { bodyHeader(f).cap = 1 << 20 })
	hold("slice_negative", "go.slice.bad", "body", "len -1", func(f *frame) { bodyHeader(f).len = -1 })
	add("slice_crash", func() {
		newFrame()
		overrun(theFrame)
		noteFrame("field=body damage=\"len 0x7f7f7f7f, cap 256\"")
		truthf("expect crash=signal or go-panic: fault at the end of a heap mapping, function=main.sum")
		planted("go.slice.bad", "theFrame", "field=body; main.sum reads until the arena ends")
		fatal("culprit", func() { sink += sum(theFrame.body) })
	})
	unmapped := func(mode string, crash bool) {
		add(mode, func() {
			newFrame()
			quiet()
			region = mmap(64 << 10)
			theFrame.body = region[4096:8192]
			must(syscall.Munmap(region))
			region = nil
			noteFrame("field=body damage=\"its data is unmapped\"")
			planted("go.slice.bad", "theFrame", "field=body, data unmapped")
			if crash {
				truthf("expect crash=go-panic or signal SIGSEGV, function=main.sum")
				fatal("culprit", func() { sink += sum(theFrame.body) })
			}
		})
	}
	unmapped("slice_unmapped", false)
	unmapped("slice_unmapped_crash", true)
	hold("string_len", "go.string.bad", "title", "len 1 MiB, the object has 48 bytes", func(f *frame) {
		*(*int)(unsafe.Pointer(uintptr(unsafe.Pointer(&f.title)) + 8)) = 1 << 20
	})
	hold("string_unmapped", "go.string.bad", "title", "data at 0x7", func(f *frame) {
		*(*uintptr)(unsafe.Pointer(&f.title)) = 7
	})
	hold("iface_type", "go.interface.bad", "any", "its type word is 0x4141414141414141", func(f *frame) {
		*(*uintptr)(unsafe.Pointer(&f.any)) = 0x4141414141414141
	})
	hold("iface_heap_type", "go.interface.bad", "any", "its type word points at heap data that is no type", func(f *frame) {
		*(*unsafe.Pointer)(unsafe.Pointer(&f.any)) = unsafe.Pointer(&f.body[8])
	})
	hold("iface_itab", "go.interface.bad", "text", "its itab word is 0x4242424242424240", func(f *frame) {
		*(*uintptr)(unsafe.Pointer(&f.text)) = 0x4242424242424240
	})
	add("headers_right", func() {
		newFrame()
		region = mmap(64 << 10)
		b := make([]byte, 256)
		keepSlice = append(keepSlice, b[10:20], b[10:20:30], b[256:], b[:0], nil, []byte{}, make([]byte, 0, 10), staticArr[:], staticArr[64:], region, region[4096:5000], region[65536:],
			(*[1 << 20]byte)(unsafe.Pointer(&b[0]))[:200:256])
		s := strings.Repeat("abcdef", 20)
		keepStrs = append(keepStrs, s, s[5:9], s[120:], "", "static", *(*string)(unsafe.Pointer(&b)), s[60:60], string(b[:3]), string([]byte{'x'}))
		var nilErr error
		var nilItem *item
		keepAny = append(keepAny, nil, 0, 255, 256, -1, "", "x", 2.5, true, struct{}{}, [0]int{}, nilErr, nilItem, b, s, label("l"), fmt.Stringer(label("m")), keepInts, func() {}, make(chan int), theFrame)
		// Types made at run time lie in the heap.
		st := reflect.StructOf([]reflect.StructField{{Name: "A", Type: reflect.TypeOf(0)}, {Name: "B", Type: reflect.TypeOf("")}})
		keepAny = append(keepAny, reflect.New(st).Interface(), reflect.New(st).Elem().Interface(), reflect.MakeSlice(reflect.SliceOf(st), 3, 5).Interface(),
			reflect.MakeMap(reflect.MapOf(reflect.TypeOf(""), st)).Interface(), reflect.Zero(reflect.ArrayOf(5, st)).Interface(),
			reflect.MakeFunc(reflect.FuncOf([]reflect.Type{st}, nil, false), func([]reflect.Value) []reflect.Value { return nil }).Interface())
		runtime.GC()
		noteFrame("")
		object("keepInts", "main.threeInts", unsafe.Pointer(keepInts), "three integers that look like a slice header")
		healthy()
	})
}
