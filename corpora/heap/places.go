// Headers in variables of frames, and map iterators in heap objects: impossible ones, and legal ones beside what dead
// variables left behind. And words that only look as if they led to freed objects.

package main

import (
	"reflect"
	"strconv"
	"strings"
	"unsafe"
)

// madeWords: the header that was made last, as words. Who made it knows them; whoever holds it must not take its address, or it
// would be no plain variable any more.
var madeWords []uintptr

//go:noinline
func makeSlice(bad bool) []byte {
	f := &frame{body: make([]byte, 100, 256)}
	h := bodyHeader(f)
	if bad {
		h.len = 0x7f7f7f7f
	}
	madeWords = []uintptr{uintptr(h.data), uintptr(h.len), uintptr(h.cap)}
	return f.body
}

//go:noinline
func makeString(bad bool) string {
	f := &frame{title: strings.Repeat("title", 8)}
	words := (*[2]uintptr)(unsafe.Pointer(&f.title))
	if bad {
		words[1] = 1 << 20
	}
	madeWords = []uintptr{words[0], words[1]}
	return f.title
}

//go:noinline
func makeIface(bad bool) interface{} {
	f := &frame{any: &item{magic: itemMagic}}
	words := (*[2]uintptr)(unsafe.Pointer(&f.any))
	if bad {
		words[0] = 0x4141414141414141
	}
	madeWords = []uintptr{words[0], words[1]}
	return f.any
}

// noteOnStack tells where on the caller's stack the words of the last header stand: in its variable, and perhaps in a copy that
// the compiler made on the way there.
//
//go:noinline
func noteOnStack(name, kind string) {
	var here uintptr
	base, n := uintptr(unsafe.Pointer(&here)), 0
	for at := base; at < base+4096 && n < 4; at += 8 {
		same := true
		for i, w := range madeWords {
			same = same && *(*uintptr)(unsafe.Pointer(at + uintptr(i)*8)) == w
		}
		if same {
			n++
			truthf("object name=%s%d type=%q addr=0x%x data=0x%x", name, n, kind, at, madeWords[len(madeWords)%2])
		}
	}
	if n == 0 {
		fail("the header is not on the stack")
	}
	for ; n < 4; n++ {
		truthf("object name=%s%d type=%q addr=0x0", name, n+1, kind)
	}
}

//go:noinline
func parkWithSlice() {
	body := makeSlice(true)
	noteOnStack("body", "[]uint8")
	enter("owner", "chan receive", "0x0")
	sink += <-liveWord + int64(body[0])
}

//go:noinline
func parkWithString() {
	title := makeString(true)
	noteOnStack("title", "string")
	enter("owner", "chan receive", "0x0")
	sink += <-liveWord + int64(title[0])
}

//go:noinline
func parkWithIface() {
	any := makeIface(true)
	noteOnStack("any", "interface {}")
	enter("owner", "chan receive", "0x0")
	sink += <-liveWord
	if any == nil {
		sink++
	}
}

//go:noinline
func parkWithRight() { // what the variables of the first three lines hold is nobody's when the goroutine waits
	deadBody, deadTitle, deadAny := makeSlice(true), makeString(true), makeIface(true)
	sink += int64(len(deadBody) + len(deadTitle))
	if deadAny == nil {
		sink++
	}
	body, title, any := makeSlice(false), makeString(false), makeIface(false)
	empty, rest := body[:0], body[100:100:100]
	enter("owner", "chan receive", "0x0")
	sink += <-liveWord + int64(body[0]) + int64(title[0]) + int64(len(empty)+len(rest))
	if any == nil {
		sink++
	}
}

var (
	theIterator *reflect.MapIter
	iterators   []*reflect.MapIter
)

//go:noinline
func iterate(n, steps int) (*reflect.MapIter, map[string]*entry) {
	m := map[string]*entry{}
	for i := 0; i < n; i++ {
		m["key-"+strconv.Itoa(i)] = &entry{id: int64(i)}
	}
	it := reflect.ValueOf(m).MapRange()
	for i := 0; i < steps; i++ {
		it.Next()
	}
	return it, m
}

// window: a range of memory as integers; its end may be where the next object begins, or where one was.
type window struct {
	magic      uint64
	begin, end uintptr
}

var (
	theWindow = &window{magic: 0x57494e444f573031}
	keepTiny  *uint32
)

//go:noinline
func makeNeighbours() {
	var last *item
	var found bool
	for i := 0; i < 600; i++ { // one item in three dies, right behind one that lives
		it := &item{magic: itemMagic, pad: [6]uint64{uint64(i)}}
		if i%3 != 2 {
			keepItems = append(keepItems, it)
			last = it
			continue
		}
		if end := uintptr(unsafe.Pointer(last)) + unsafe.Sizeof(item{}); end == uintptr(unsafe.Pointer(it)) && i > 300 {
			theWindow.begin, theWindow.end = uintptr(unsafe.Pointer(last)), end
			found = true
		}
	}
	if !found {
		fail("no neighbours")
	}
}

// makeTiny: four values share a block of 16 bytes; one keeps the block, an integer names another.
//
//go:noinline
func makeTiny() {
	var four [4]*uint32
	for i := range four {
		four[i] = new(uint32)
		*four[i] = uint32(i)
	}
	keepTiny = four[1]
	for _, p := range four {
		if at := uintptr(unsafe.Pointer(p)); at != uintptr(unsafe.Pointer(keepTiny)) && at/16 == uintptr(unsafe.Pointer(keepTiny))/16 && at%8 == 0 {
			theHolder.where = at
		}
	}
	if theHolder.where == 0 {
		fail("no shared block")
	}
}

// parkOnLeftOvers: the items are dead when the goroutine waits, and then freed; their addresses still stand in its frame.
//
//go:noinline
func parkOnLeftOvers() {
	a, b := &item{magic: itemMagic}, &item{magic: itemMagic, pad: [6]uint64{2}}
	keepSome(a, b)
	sink += int64(a.pad[0] + b.pad[0])
	enter("owner", "chan receive", "0x0")
	sink += <-liveWord
}

//go:noinline
func keepSome(a, b *item) {
	keepItem = a
	sink += int64(b.magic & 1)
	keepItem = nil
}

func init() {
	parked := func(mode, kind, name, what string, f func()) {
		add(mode, func() {
			quiet()
			go feeder()
			go func() {
				sink += int64(deep(200)) // the stack has grown: nothing moves when the goroutine tells where its variable is
				f()
			}()
			settle(2)
			if kind == "" {
				healthy()
			} else {
				planted(kind, name+"1", what)
			}
		})
	}
	parked("stack_slice", "go.slice.bad", "body", "len 0x7f7f7f7f, cap 256", parkWithSlice)
	parked("stack_string", "go.string.bad", "title", "len 1 MiB, the object has 48 bytes", parkWithString)
	parked("stack_iface", "go.interface.bad", "any", "its type word is 0x4141414141414141", parkWithIface)
	parked("stack_headers", "", "", "", parkWithRight)
	add("one_past", func() {
		elsewhere(makeNeighbours)
		collect()
		keep(theWindow)
		object("theWindow", "main.window", unsafe.Pointer(theWindow), "field=end value=0x%x, one past a live item", theWindow.end)
		healthy()
	})
	add("left_over", func() {
		go feeder()
		elsewhere(makeTiny)
		go func() {
			sink += int64(deep(20))
			parkOnLeftOvers()
		}()
		settle(2)
		collect()
		noteHolder("into=a tiny block that another value keeps")
		healthy()
	})
	add("iterator_bad", func() { // nobody but the iterator holds the map
		quiet()
		elsewhere(func() {
			it, m := iterate(5, 2)
			theIterator = it
			*(*uint64)(mapAddr(m)) += 900
			object("iterated", "map[string]*main.entry", mapAddr(m), "damage=%q", "count is 900 too high")
		})
		keep(theIterator)
		planted("go.map.corrupt", "iterated", "count is 900 too high; only a reflect.MapIter holds the map")
	})
	add("iterator_right", func() {
		elsewhere(func() {
			for _, n := range []int{0, 1, 5, 8, 9, 100, 3000} {
				for _, steps := range []int{0, 1, n, n + 1} { // not begun, in the middle, at the last cell, at the end
					if steps > n+1 {
						continue
					}
					it, m := iterate(n, steps)
					iterators = append(iterators, it)
					for i := 0; i < 2*n && steps > 0; i++ { // grown since, and shrunk
						m["more-"+strconv.Itoa(i)] = &entry{}
					}
					for i := 0; i < n; i += 2 {
						delete(m, "key-"+strconv.Itoa(i))
					}
				}
			}
		})
		keep(iterators)
		collect()
		truthf("iterators %d", len(iterators))
		healthy()
	})
}
