// Mode heap: fills a heap whose every container and count is known.

package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// Mode heap

type node struct {
	id      int64
	next    *node
	payload string
}

type tree struct {
	left, right *tree
	key         int32
	val         interface{}
}

type pairKey struct {
	a int32
	b string
}

type record struct {
	id    int64
	name  string
	tags  []string
	peer  *record
	attrs map[string]int
	any   interface{}
	err   error
	fn    func(int) int
	ch    chan string
	arr   [3]*node
}

type noscan struct{ a, b, c, d int64 }

var (
	staticRec               = record{id: 1, name: "static record", tags: []string{"alpha", "beta", "gamma"}, peer: &record{id: 2, name: "static peer"}, arr: [3]*node{{id: 90}, nil, {id: 92}}}
	staticSlice             = []string{"zero", "one", "two", "three"}
	staticInts              = [...]int{2, 3, 5, 7, 11, 13}
	staticMap               = map[string]int{"one": 1, "two": 2, "three": 3}
	staticIface interface{} = valueError{"static"}
	staticErr   error       = &codedError{17, "static error"}
	staticFunc              = func(n int) int { return n * 2 }
	staticStr               = "a static string in read-only data"
	staticNil   map[int]bool
	staticZero  [256]byte
)

type heapRoots struct {
	mapNil       map[string]int
	mapEmpty     map[string]int
	mapSmall     map[string]int
	mapEight     map[int]string
	mapMid       map[int64]struct{}
	mapBig       map[int]int
	mapStr       map[string]string
	mapPtr       map[uint32]*node
	mapArrKey    map[[2]string]int
	mapStructKey map[pairKey][]byte
	mapAny       map[interface{}]int
	mapToAny     map[string]interface{}
	mapBigElem   map[string][200]byte
	mapBigKey    map[[150]byte]int
	mapFloat     map[float64]bool
	mapBool      map[bool]int
	mapByte      map[uint8]uint16
	mapDeleted   map[int]int
	mapGrowing   map[int]int
	mapSameSize  map[int]int
	mapOfMaps    map[string]map[int]string

	list      *node
	ring      *node
	root      *tree
	recs      []*record
	recVals   []record
	noscans   []*noscan
	ints      []int
	intsSub   []int
	strs      []string
	bytesCap  []byte
	nilSlice  []int
	zeroSlice []int
	matrix    [][]int
	anys      []interface{}
	errs      []error
	strHeap   string
	strSub    string
	strEmpty  string
	strBad    string
	ptrPtr    **node
	array     *[5]string
	chInts    chan int
	chPtrs    chan *node
	chStrs    chan string
	chClosed  chan string
	chRotated chan int
	chZero    chan struct{}
	funcs     []func(int) int
	method    func(int64)
	bigNoscan []byte
	bigScan   []*node
	mediums   [][]byte
	classes   []interface{}
	syncMap   sync.Map
	pool      sync.Pool
	final     *finalised
	timer     *time.Timer
	ctx       context.Context
	atomicV   atomic.Value
	builder   strings.Builder
	self      *heapRoots
}

var roots heapRoots

type class24 struct {
	p    *node
	a, b int64
}
type class48 struct {
	p [2]*node
	a [4]int64
}
type class1k struct {
	p [64]*node
	a [64]int64
}
type class8k struct {
	p [512]*node
	a [512]int64
}

func mapPtr(m interface{}) unsafe.Pointer { return unsafe.Pointer(reflect.ValueOf(m).Pointer()) }

func classicWord(m interface{}, off uintptr) uintptr {
	return *(*uintptr)(unsafe.Pointer(uintptr(mapPtr(m)) + off))
}

func fillHeap(r *heapRoots) {
	r.self = r
	r.mapEmpty = map[string]int{}
	r.mapSmall = map[string]int{"red": 1, "green": 2, "blue": 3}
	r.mapEight = map[int]string{}
	for i := 0; i < 8; i++ {
		r.mapEight[i] = "v" + strconv.Itoa(i)
	}
	r.mapMid = map[int64]struct{}{}
	for i := int64(0); i < 100; i++ {
		r.mapMid[i*i] = struct{}{}
	}
	r.mapBig = make(map[int]int)
	for i := 0; i < 20000; i++ {
		r.mapBig[i] = i * 3
	}
	r.mapStr = make(map[string]string, 300)
	for i := 0; i < 300; i++ {
		r.mapStr["key-"+strconv.Itoa(i)] = "value-" + strconv.Itoa(i)
	}
	r.mapPtr = map[uint32]*node{}
	for i := uint32(0); i < 50; i++ {
		r.mapPtr[i] = &node{id: int64(5000 + i), payload: "in map"}
	}
	r.mapArrKey = map[[2]string]int{{"a", "b"}: 1, {"c", "d"}: 2}
	r.mapStructKey = map[pairKey][]byte{}
	for i := int32(0); i < 30; i++ {
		r.mapStructKey[pairKey{i, "k" + strconv.Itoa(int(i))}] = []byte{byte(i), byte(i + 1)}
	}
	r.mapAny = map[interface{}]int{1: 1, "two": 2, 3.0: 3, pairKey{4, "four"}: 4, true: 5}
	r.mapToAny = map[string]interface{}{"int": 1000, "small": 7, "str": "text", "nil": nil, "slice": []int{1, 2}, "err": &codedError{1, "x"}, "val": valueError{"v"}, "map": map[string]int{"deep": 1}}
	r.mapBigElem = map[string][200]byte{"big": {1, 2, 3}, "big2": {4, 5, 6}}
	r.mapBigKey = map[[150]byte]int{{1}: 1, {2}: 2, {3}: 3}
	r.mapFloat = map[float64]bool{1.5: true, -2.25: false}
	r.mapBool = map[bool]int{true: 1, false: 0}
	r.mapByte = map[uint8]uint16{}
	for i := 0; i < 256; i++ {
		r.mapByte[uint8(i)] = uint16(i * 256)
	}
	r.mapDeleted = map[int]int{}
	for i := 0; i < 1000; i++ {
		r.mapDeleted[i] = i
	}
	for i := 0; i < 1000; i++ {
		if i%10 != 0 {
			delete(r.mapDeleted, i)
		}
	}
	r.mapOfMaps = map[string]map[int]string{"a": {1: "one"}, "b": {2: "two", 3: "three"}, "nil": nil}
	r.mapGrowing = map[int]int{}
	growing := "no (tables of this Go version grow in one step)"
	if minor() < 24 {
		for i := 0; ; i++ {
			r.mapGrowing[i] = -i
			if i > 3000 && classicWord(r.mapGrowing, 24) != 0 {
				growing = "yes"
				break
			}
		}
	} else {
		for i := 0; i < 3500; i++ {
			r.mapGrowing[i] = -i
		}
	}
	truthf("map mapGrowing growth-in-progress=%s", growing)
	r.mapSameSize = map[int]int{}
	same := "no"
	if minor() < 24 {
		lo, hi := 0, 0
		for hi < 3000000 {
			for len(r.mapSameSize) < 800 {
				r.mapSameSize[hi] = hi
				hi++
				if classicWord(r.mapSameSize, 24) != 0 && classicWord(r.mapSameSize, 8)&8 != 0 {
					same = "yes"
				}
				if same == "yes" {
					break
				}
			}
			if same == "yes" {
				break
			}
			for len(r.mapSameSize) > 200 {
				delete(r.mapSameSize, lo)
				lo++
			}
		}
	} else {
		for i := 0; i < 800; i++ {
			r.mapSameSize[i] = i
		}
	}
	truthf("map mapSameSize same-size-growth-in-progress=%s", same)

	for i := 0; i < 1000; i++ {
		r.list = &node{id: int64(i), next: r.list, payload: "node-" + strconv.Itoa(i)}
	}
	first := &node{id: 7000}
	r.ring = first
	for i := 1; i < 5; i++ {
		r.ring = &node{id: int64(7000 + i), next: r.ring}
	}
	first.next = r.ring
	r.root = makeTree(0, 127)
	for i := 0; i < 200; i++ {
		rec := &record{id: int64(i), name: "rec-" + strconv.Itoa(i), tags: []string{"t" + strconv.Itoa(i)}}
		if i > 0 {
			rec.peer = r.recs[i-1]
		}
		r.recs = append(r.recs, rec)
	}
	r.recs[0].attrs = r.mapSmall
	r.recs[0].any = r.recs[1]
	r.recs[0].err = staticErr
	r.recs[0].fn = staticFunc
	r.recs[0].ch = make(chan string, 3)
	r.recVals = make([]record, 10, 16)
	for i := range r.recVals {
		r.recVals[i] = record{id: int64(900 + i), name: "val", peer: r.recs[i]}
	}
	for i := int64(0); i < 500; i++ {
		r.noscans = append(r.noscans, &noscan{i, i + 1, i + 2, i + 3})
	}
	r.ints = make([]int, 100, 128)
	for i := range r.ints {
		r.ints[i] = i * i
	}
	r.intsSub = r.ints[10:20:30]
	for i := 0; i < 20; i++ {
		r.strs = append(r.strs, strings.Repeat("s", i))
	}
	r.bytesCap = append(make([]byte, 0, 1000), "hello bytes"...)
	r.zeroSlice = []int{}
	for i := 0; i < 5; i++ {
		r.matrix = append(r.matrix, make([]int, i))
	}
	one := 1
	r.anys = []interface{}{nil, 0, 255, 256, -1, "string", 2.5, true, &one, first, *first, []int{1}, map[string]int{"x": 1}, valueError{"v"}, [3]int{1, 2, 3}, struct{}{}, staticFunc, r.mapSmall, complex(1, 2), uint8(9), 'x'}
	r.errs = []error{nil, staticErr, valueError{"e"}, errors.New("new"), fmt.Errorf("wrap: %w", staticErr)}
	r.strHeap = strings.Repeat("heap-", 10)
	r.strSub = r.strHeap[5:9]
	r.strBad = string([]byte{'b', 0xff, 0xfe, 'd'})
	r.ptrPtr = &r.list
	r.array = &[5]string{"v", "w", "x", "y", "z"}
	r.chInts = make(chan int, 8)
	for i := 0; i < 5; i++ {
		r.chInts <- 40 + i
	}
	r.chPtrs = make(chan *node, 4)
	r.chPtrs <- &node{id: 8001, payload: "in channel"}
	r.chPtrs <- &node{id: 8002, payload: "in channel"}
	r.chStrs = make(chan string, 2)
	r.chStrs <- "queued"
	r.chClosed = make(chan string, 3)
	r.chClosed <- "left over"
	close(r.chClosed)
	r.chRotated = make(chan int, 4)
	for i := 0; i < 6; i++ {
		r.chRotated <- i
		if i < 3 {
			<-r.chRotated
		}
	}
	r.chZero = make(chan struct{}, 10)
	r.chZero <- struct{}{}
	for i := 0; i < 4; i++ {
		i, total := i, 1000
		r.funcs = append(r.funcs, func(n int) int { total += n * i; return total })
	}
	c := &counter{name: "bound receiver"}
	r.method = c.add
	r.bigNoscan = make([]byte, 1<<20)
	copy(r.bigNoscan, "large noscan object")
	r.bigScan = make([]*node, 30000)
	r.bigScan[0], r.bigScan[29999] = first, first
	for i := 0; i < 4; i++ {
		r.mediums = append(r.mediums, make([]byte, 33000+i*9000))
	}
	for n := 8; n <= 32768; n *= 2 {
		r.classes = append(r.classes, make([]byte, n), make([]*node, n/8))
	}
	for i := 0; i < 10; i++ {
		r.classes = append(r.classes, &class24{p: first}, &class48{}, &class1k{}, &class8k{}, new(int), new(int32), new([3]byte))
	}
	for i := 0; i < 40; i++ {
		r.syncMap.Store("sk"+strconv.Itoa(i), i)
	}
	for i := 0; i < 40; i += 4 {
		r.syncMap.Delete("sk" + strconv.Itoa(i))
	}
	r.syncMap.Load("sk1")
	r.final = &finalised{id: 77, buf: make([]byte, 10)}
	runtime.SetFinalizer(r.final, func(*finalised) { sink++ })
	r.timer = time.NewTimer(time.Hour)
	r.ctx = context.WithValue(context.Background(), pairKey{1, "ctx"}, "context value")
	r.atomicV.Store(&codedError{99, "atomic"})
	r.builder.WriteString("built")
}

func makeTree(lo, hi int32) *tree {
	if lo >= hi {
		return nil
	}
	mid := (lo + hi) / 2
	t := &tree{key: mid, left: makeTree(lo, mid), right: makeTree(mid+1, hi)}
	if mid%2 == 0 {
		t.val = mid
	} else {
		t.val = "odd"
	}
	return t
}
