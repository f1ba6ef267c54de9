// Maps: freed, raced, corrupt; and healthy ones of many shapes. Classic tables up to Go 1.23, Swiss tables from 1.24 on.

package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"
	"unsafe"
)

type entry struct {
	id  int64
	buf [40]byte
}

// offsets of the map header's fields that the plants write
var swiss = minor() >= 24

const (
	classicFlags   = 8 // uint8; 4 = hashWriting
	classicB       = 9
	classicBuckets = 16
	swissDirPtr    = 16
	swissDirLen    = 24
	swissDepth     = 32
	swissWriting   = 34
)

var (
	table    = map[string]*entry{}
	intTable = map[int]int{}
	keepMap  map[string]*int
	spray    [][]uint64
	fire     int32
)

func mapAddr(m map[string]*entry) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&m)) }

func noteTable(rest string) {
	object("table", "map[string]*main.entry", mapAddr(table), "len=%d field=%s %s", len(table), hex(unsafe.Pointer(&table)), rest)
}

func fill(n int) {
	for i := 0; i < n; i++ {
		table["key-"+strconv.Itoa(10000+i)] = &entry{id: int64(i)}
	}
}

//go:noinline
func smallMap() map[string]*int {
	m := map[string]*int{}
	for i := 0; i < 100; i++ {
		v := i
		m["key-"+strconv.Itoa(i)] = &v
	}
	return m
}

// hideMap makes others before and after it, which die with it, so that whole pages become free.
//
//go:noinline
func hideMap(held bool) {
	for i := 0; i < 6; i++ {
		sink += int64(len(smallMap()))
	}
	m := smallMap()
	for i := 0; i < 6; i++ {
		sink += int64(len(smallMap()))
	}
	theHolder.where = *(*uintptr)(unsafe.Pointer(&m))
	if held {
		keepMap = m
	}
}

//go:noinline
func walk(m map[string]*int) (t int) {
	for _, v := range m {
		t += *v
	}
	return t
}

//go:noinline
func scan(m map[string]*entry) (t int64) {
	for _, v := range m {
		t += v.id
	}
	return t
}

//go:noinline
func parkInRange(m map[string]*entry, at int) {
	n := 0
	for k, v := range m {
		if n++; n == at {
			enter("iterating", "chan receive", "0x0")
			sink += <-liveWord + int64(len(k)) + v.id
		}
	}
}

//go:noinline
func churnInRange(m map[string]*entry, at int) { // delete and insert in the range, with growth, then park
	n := 0
	for k, v := range m {
		delete(m, k)
		m["x"+k] = &entry{id: v.id}
		m["y"+k] = &entry{id: v.id}
		if n++; n == at {
			runtime.GC()
			enter("iterating", "chan receive", "0x0")
			sink += <-liveWord + v.id
		}
	}
}

//go:noinline
func writeLoop(name string, m map[int]int) {
	enter(name, "running | runnable", "0x0")
	for atomic.LoadInt32(&fire) == 0 {
	}
	for i := 0; ; i++ {
		m[i&1023] = i
	}
}

//go:noinline
func rangeLoop(name string, m map[int]int) {
	enter(name, "running | runnable", "0x0")
	for atomic.LoadInt32(&fire) == 0 {
	}
	for {
		for k := range m {
			sink += int64(k)
		}
	}
}

//go:noinline
func readLoop(name string, m map[int]int) {
	enter(name, "running | runnable", "0x0")
	for atomic.LoadInt32(&fire) == 0 {
	}
	for i := 0; ; i++ {
		sink += int64(m[i&1023])
	}
}

func race(mode, message string, f ...func(string, map[int]int)) {
	add(mode, func() {
		runtime.GOMAXPROCS(4)
		for i := 0; i < 1024; i++ {
			intTable[i] = i
		}
		object("intTable", "map[int]int", *(*unsafe.Pointer)(unsafe.Pointer(&intTable)), "len=1024 field=%s", hex(unsafe.Pointer(&intTable)))
		truthf("expect crash=go-fatal message=%q", message)
		planted("go.map.concurrent-access", "intTable", "")
		for i, g := range f {
			go g("racer"+strconv.Itoa(i), intTable)
		}
		settle(int32(len(f)))
		writeTruth()
		atomic.StoreInt32(&fire, 1)
		for {
			time.Sleep(time.Second)
		}
	})
}

func poke8(p unsafe.Pointer, off uintptr, v uint8) { *(*uint8)(unsafe.Pointer(uintptr(p) + off)) = v }

// firstTable: the table that entry 0 of a Swiss map's directory names. Its groups start at groups.data.
func firstTable(m unsafe.Pointer) unsafe.Pointer {
	return **(**unsafe.Pointer)(unsafe.Pointer(uintptr(m) + swissDirPtr))
}

func init() {
	hidden := func(mode string, held bool) {
		add(mode, func() {
			quiet()
			elsewhere(func() { hideMap(held) })
			collect()
			noteHolder("into=a map[string]*int")
			if held {
				healthy()
			} else {
				planted("go.map.freed", "theHolder", "field=where")
			}
		})
	}
	hidden("map_freed", false)
	hidden("map_kept", true)
	add("map_freed_crash", func() { // its pages are used again, and then it is ranged over
		quiet()
		elsewhere(func() { hideMap(false) })
		collect()
		spray = make([][]uint64, 0, 4096)
		for i := 0; i < cap(spray); i++ {
			n := 1024
			if i >= 512 {
				n = 1 << uint(i%8+4)
			}
			b := make([]uint64, n)
			for j := range b {
				b[j] = 0x0807060504030201
			}
			spray = append(spray, b)
		}
		noteHolder("into=a map[string]*int")
		truthf("expect crash=signal, go-panic or go-fatal (its writing flag is garbage) in main.walk or below")
		planted("go.map.freed", "theHolder", "field=where; main.walk ranges over it")
		fatal("walker", func() {
			h := theHolder.where
			sink += int64(walk(*(*map[string]*int)(unsafe.Pointer(&h))))
			fail("the walk survived")
		})
	})
	race("race_writes", "concurrent map writes", writeLoop, writeLoop, writeLoop)
	race("race_range", "concurrent map iteration and map write", rangeLoop, writeLoop)
	race("race_read", "concurrent map read and map write", readLoop, writeLoop)
	add("map_flag_stuck", func() { // as a stray byte, or a writer that died, leaves it: then a range finds it
		fill(200)
		m := mapAddr(table)
		if swiss {
			poke8(m, swissWriting, 1)
		} else {
			poke8(m, classicFlags, 4)
		}
		noteTable("flag=writing, no writer")
		truthf("expect crash=go-fatal message=%q", "concurrent map iteration and map write")
		planted("go.map.concurrent-access", "table", "no writer on this map: the flag is stuck")
		fatal("culprit", func() { sink += scan(table) })
	})
	corrupt := func(mode, what string, f func(m unsafe.Pointer)) {
		add(mode, func() {
			quiet()
			fill(500)
			f(mapAddr(table))
			object("table", "map[string]*main.entry", mapAddr(table), "field=%s damage=%q", hex(unsafe.Pointer(&table)), what)
			planted("go.map.corrupt", "table", what)
		})
	}
	corrupt("map_bad_count", "count is 9000 too high", func(m unsafe.Pointer) { *(*uint64)(m) += 9000 })
	corrupt("map_bad_cell", "control bytes of the first bucket or group say empty, its cells are full", func(m unsafe.Pointer) {
		if swiss {
			groups := *(*unsafe.Pointer)(unsafe.Pointer(uintptr(firstTable(m)) + 16))
			*(*uint64)(groups) = 0x8080808080808080
			return
		}
		b := *(*unsafe.Pointer)(unsafe.Pointer(uintptr(m) + classicBuckets))
		for i := uintptr(0); i < 64; i++ { // the first bucket with eight cells in use gets emptyRest in front
			t := unsafe.Pointer(uintptr(b) + i*(8+8*16+8*8+8))
			full := true
			for j := uintptr(0); j < 8; j++ {
				full = full && *(*uint8)(unsafe.Pointer(uintptr(t) + j)) >= 5
			}
			if full {
				poke8(t, 0, 0)
				return
			}
		}
		fail("no full bucket")
	})
	corrupt("map_bad_size", "the directory or bucket array is smaller than the header says", func(m unsafe.Pointer) {
		if swiss {
			poke8(m, swissDepth, 40) // and the directory keeps its length
			return
		}
		poke8(m, classicB, 40)
	})

	// Healthy
	add("map_iterating", func() { // iterator flags stay set after a range: normal
		go feeder()
		fill(500)
		go parkInRange(table, 17)
		settle(2)
		collect()
		noteTable("")
		healthy()
	})
	add("map_delete_range", func() { // delete, insert, growth and collection inside a range: all legal; old arrays stay with the iterator
		go feeder()
		fill(500)
		go churnInRange(table, 400)
		settle(2)
		collect()
		noteTable("")
		healthy()
	})
	add("map_one_writer", func() { // aborted while its only writer writes: the flag may be set
		for i := 0; i < 1024; i++ {
			intTable[i] = i
		}
		go writeLoop("writer", intTable)
		settle(1)
		object("intTable", "map[int]int", *(*unsafe.Pointer)(unsafe.Pointer(&intTable)), "field=%s", hex(unsafe.Pointer(&intTable)))
		healthy()
		last = func() {
			atomic.StoreInt32(&fire, 1)
			time.Sleep(3 * time.Millisecond)
		}
	})
	add("map_shapes", func() { // growing, shrunk, deleted, tombstones, big keys and values, nested
		for i := 0; i < 20000; i++ {
			intTable[i] = i
		}
		for i := 0; i < 20000; i++ {
			if i%7 != 0 {
				delete(intTable, i)
			}
		}
		fill(3000)
		for i := 0; i < 3000; i += 2 {
			delete(table, "key-"+strconv.Itoa(10000+i))
		}
		growing := map[int]int{}
		for i := 0; i < 3500; i++ {
			growing[i] = -i
		}
		same := map[int]int{}
		for hi, lo := 0, 0; hi < 30000; {
			for len(same) < 800 {
				same[hi] = hi
				hi++
			}
			for len(same) > 200 {
				delete(same, lo)
				lo++
			}
		}
		nested := map[string]map[int][]string{}
		for i := 0; i < 50; i++ {
			nested[strconv.Itoa(i)] = map[int][]string{i: {"a", "b"}, -i: nil}
		}
		keep(growing, same, nested, map[[150]byte]int{{1}: 1}, map[string][200]byte{"x": {2}}, map[interface{}]int{1: 1, "s": 2, 2.5: 3},
			map[struct{}]bool{{}: true}, map[string]struct{}{"a": {}, "b": {}}, make(map[int]int), map[string]int(nil), make(map[int]int, 5000))
		debug.FreeOSMemory()
		noteTable("")
		truthf("content intTable multiples of 7 below 20000; table odd keys below 3000; %s", fmt.Sprint(len(growing), " ", len(same), " ", len(nested)))
		healthy()
	})
}

// A range that was left by break: what its iterator knew stays in the frame, and its map may go.

//go:noinline
func leaveRange(name string, c chan int64) {
	m := someMap()
	n := 0
	for k, v := range m {
		if n++; n == 2 {
			sink += int64(len(k) + *v)
			break
		}
	}
	m = nil
	enter(name, "chan receive", chanAddr(c))
	sink += <-c
}

//go:noinline
func someMap() map[string]*int {
	m := map[string]*int{}
	for i := 0; i < 200; i++ {
		m["left"+itoa(i)] = new(int)
	}
	return m
}

func init() {
	add("map_range_left", func() {
		for _, n := range []string{"left1", "left2", "left3"} {
			go leaveRange(n, globalChan)
		}
		settle(3)
		collect()
		healthy()
	})
}
