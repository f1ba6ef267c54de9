// Mode heap: garbage, and the words about all of it.

package main

import (
	"reflect"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"unsafe"
)

type garbage struct {
	id   int64
	next *garbage
	pad  [2]int64
}

//go:noinline
func makeGarbage() {
	keep.any = make([]interface{}, 0, 4)
	var g *garbage
	for i := int64(0); i < 300; i++ {
		g = &garbage{id: i, next: g}
	}
	n := 0
	for x := g; x != nil && n < 5; x = x.next {
		truthf("freed type=main.garbage addr=%s (unreachable before the collections that precede memstats; not allocated again)", hex(unsafe.Pointer(x)))
		n++
	}
	for i := 0; i < 2000; i++ {
		keep.any = append(keep.any[:0], make([]byte, 100+i%400))
	}
	keep.any = nil
}

//go:noinline
func wipeStack() int {
	var a [4096]int
	for i := range a {
		a[i] = i & 1
	}
	return a[sink&4095]
}

func describeHeap(r *heapRoots) {
	m := func(name string, v interface{}) {
		object(name, reflect.TypeOf(v).String(), mapPtr(v), "len=%d", reflect.ValueOf(v).Len())
	}
	rv := reflect.ValueOf(r).Elem()
	for i := 0; i < rv.NumField(); i++ {
		f := rv.Field(i)
		name := "roots." + rv.Type().Field(i).Name
		at := unsafe.Pointer(f.UnsafeAddr())
		switch f.Kind() {
		case reflect.Map:
			object(name, f.Type().String(), unsafe.Pointer(f.Pointer()), "len=%d field=%s", f.Len(), hex(at))
		case reflect.Slice:
			object(name, f.Type().String(), unsafe.Pointer(f.Pointer()), "len=%d cap=%d field=%s", f.Len(), f.Cap(), hex(at))
		case reflect.Chan:
			object(name, f.Type().String(), unsafe.Pointer(f.Pointer()), "len=%d cap=%d field=%s", f.Len(), f.Cap(), hex(at))
		case reflect.Ptr, reflect.Func:
			object(name, f.Type().String(), unsafe.Pointer(f.Pointer()), "field=%s", hex(at))
		case reflect.String:
			object(name, "string", *(*unsafe.Pointer)(at), "len=%d value=%q field=%s", f.Len(), f.String(), hex(at))
		default:
			object(name, f.Type().String(), at, "by value")
		}
	}
	m("staticMap", staticMap)
	object("staticRec", "main.record", unsafe.Pointer(&staticRec), "id=1 tags=alpha,beta,gamma peer=%s", hex(unsafe.Pointer(staticRec.peer)))
	object("staticSlice", "[]string", unsafe.Pointer(&staticSlice), "data=%s len=4", hex(unsafe.Pointer(&staticSlice[0])))
	object("staticInts", "[6]int", unsafe.Pointer(&staticInts), "2,3,5,7,11,13")
	object("staticIface", "interface{}", unsafe.Pointer(&staticIface), "main.valueError{static}")
	object("staticErr", "error", unsafe.Pointer(&staticErr), "*main.codedError{17}")
	object("staticFunc", "func(int)int", unsafe.Pointer(&staticFunc), "")
	object("staticStr", "string", unsafe.Pointer(&staticStr), "data=%s len=%d", hex(*(*unsafe.Pointer)(unsafe.Pointer(&staticStr))), len(staticStr))
	object("staticNil", "map[int]bool", unsafe.Pointer(&staticNil), "nil")
	object("staticZero", "[256]byte", unsafe.Pointer(&staticZero), "zero")
	object("roots", "main.heapRoots", unsafe.Pointer(&roots), "package variable")
	truthf("live type=main.node count=%d size=%d (list 1000, ring 5, mapPtr 50, chPtrs 2, boxed copy in anys 1; two more are static)", 1000+5+50+2+1, unsafe.Sizeof(node{}))
	truthf("live type=main.tree count=127 size=%d", unsafe.Sizeof(tree{}))
	truthf("live type=main.record count=200 size=%d, and one array of 16 records (10 in use), and one static", unsafe.Sizeof(record{}))
	truthf("live type=main.noscan count=500 size=%d", unsafe.Sizeof(noscan{}))
	truthf("live type=main.class24 main.class48 main.class1k main.class8k count=10 each")
	truthf("live type=main.garbage count=0 size=%d", unsafe.Sizeof(garbage{}))
	truthf("content mapSmall red=1 green=2 blue=3; mapEight i=\"v<i>\" 0..7; mapBig i=3*i 0..19999; mapStr key-<i>=value-<i> 0..299; mapGrowing i=-i; mapDeleted multiples of 10 below 1000; mapByte i=256*i")
	truthf("content chInts 40,41,42,43,44; chPtrs node 8001,8002; chStrs queued; chClosed closed with \"left over\"; chRotated 3,4,5; list ids 999..0; ring ids 7004..7000; syncMap 30 entries sk<i>, i%%4!=0")
}

var mstats runtime.MemStats

func modeHeap() {
	fillHeap(&roots)
	describeHeap(&roots)
	debug.SetGCPercent(-1) // from here on only the collections below: what is freed stays free
	makeGarbage()
	sink += wipeStack()
	truthf("thread main-tid=%d", syscall.Gettid())
	site("abort.caller")
	truthf("memstats follow: runtime.ReadMemStats after two runtime.GC, nothing was allocated between it and the signal")
	writeTruth(true)
	truthBuf = nil
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&mstats)
	b := lastLine[:0]
	num := func(name string, v uint64) {
		b = append(b, name...)
		b = append(b, '=')
		b = strconv.AppendUint(b, v, 10)
		b = append(b, '\n')
	}
	num("memstats.HeapAlloc", mstats.HeapAlloc)
	num("memstats.HeapObjects", mstats.HeapObjects)
	num("memstats.Mallocs", mstats.Mallocs)
	num("memstats.Frees", mstats.Frees)
	num("memstats.TotalAlloc", mstats.TotalAlloc)
	num("memstats.HeapSys", mstats.HeapSys)
	num("memstats.HeapIdle", mstats.HeapIdle)
	num("memstats.HeapInuse", mstats.HeapInuse)
	num("memstats.HeapReleased", mstats.HeapReleased)
	num("memstats.StackInuse", mstats.StackInuse)
	num("memstats.MSpanInuse", mstats.MSpanInuse)
	num("memstats.MCacheInuse", mstats.MCacheInuse)
	num("memstats.NumGC", uint64(mstats.NumGC))
	for i := range mstats.BySize {
		c := &mstats.BySize[i]
		if c.Mallocs != 0 {
			b = append(b, "memstats.BySize size="...)
			b = strconv.AppendUint(b, uint64(c.Size), 10)
			b = append(b, " live="...)
			b = strconv.AppendUint(b, c.Mallocs-c.Frees, 10)
			b = append(b, " mallocs="...)
			b = strconv.AppendUint(b, c.Mallocs, 10)
			b = append(b, '\n')
		}
	}
	syscall.Write(truthFd, b)
	abort()
}
