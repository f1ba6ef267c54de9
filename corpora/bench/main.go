// The benchmark's process: many blocked goroutines and a large heap of known make-up, nothing wrong with it.
//
//	bench -goroutines 100000 -objects 15000000 -map 600000
//
// Of the goroutines, -share percent wait in Mutex.Lock, spread over -locks mutexes that one sleeping goroutine holds;
// the others wait in a channel receive. truth.txt says what was built, and how long a forced collection of this very
// heap took. It dies by SIGABRT's default action: the runtime's own handler would print 100,000 stacks first.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// Per ten objects: four nodes, three payloads, two labels, one record.
type node struct {
	next, peer *node
	payload    []byte
	id         int64
	label      *label
}

type label struct {
	text string
	n    int64
}

type record struct {
	owner *node
	tags  [4]string
	vals  [8]int64
	any   interface{}
}

type lockRow struct {
	mu sync.Mutex
	n  int64
}

var (
	lists       []*node
	recordChain *record
	byName      = map[string]*node{}
	rows        []*lockRow
	words       []chan int64
	blocked     int64
)

//go:noinline
func wantLock(r *lockRow) {
	atomic.AddInt64(&blocked, 1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n++
}

//go:noinline
func wantWord(c chan int64, depth int) int64 {
	if depth > 0 {
		return wantWord(c, depth-1) + 1
	}
	atomic.AddInt64(&blocked, 1)
	return <-c
}

//go:noinline
func holdAll(ready chan bool) { // holds every lock, and will feed every channel
	for _, r := range rows {
		r.mu.Lock()
	}
	ready <- true
	time.Sleep(time.Hour)
	for _, r := range rows {
		r.mu.Unlock()
	}
	for _, c := range words {
		close(c)
	}
}

var seed = uint64(1)

func rnd(n int) int {
	seed = seed*6364136223846793005 + 1442695040888963407
	return int(seed>>33) % n
}

// grow adds objects until there are n; every list is a chain, peers lead anywhere.
func grow(n int) (count int) {
	recent := make([]*node, 4096)
	lists = make([]*node, 1024)
	for count < n {
		l := &lists[rnd(len(lists))]
		for i := 0; i < 4; i++ {
			x := &node{next: *l, peer: recent[rnd(len(recent))], id: int64(count)}
			*l = x
			recent[rnd(len(recent))] = x
			if i < 3 {
				x.payload = make([]byte, 24+rnd(120))
			}
			if i < 2 {
				x.label = &label{text: "label", n: int64(i)}
			}
		}
		recordChain = &record{owner: *l, any: recordChain}
		count += 10
	}
	return count
}

func main() {
	goroutines := flag.Int("goroutines", 1000, "")
	objects := flag.Int("objects", 10000, "")
	entries := flag.Int("map", 0, "entries of one map")
	locks := flag.Int("locks", 100, "")
	share := flag.Int("share", 50, "percent of the goroutines that wait for locks")
	flag.Parse()
	debug.SetGCPercent(400)
	t0 := time.Now()
	count := grow(*objects)
	for i, x := 0, lists[0]; i < *entries; i++ {
		byName["entry-"+strconv.Itoa(i)] = x
		if x = x.next; x == nil {
			x = lists[i%len(lists)]
		}
	}
	for i := 0; i < *locks; i++ {
		rows = append(rows, &lockRow{})
	}
	ready := make(chan bool)
	nl := *goroutines * *share / 100
	for i := 0; i < 64; i++ {
		words = append(words, make(chan int64))
	}
	go holdAll(ready)
	<-ready
	for i := 0; i < nl; i++ {
		go wantLock(rows[i%len(rows)])
	}
	for i := nl; i < *goroutines; i++ {
		go wantWord(words[i%len(words)], i%8)
	}
	for atomic.LoadInt64(&blocked) < int64(*goroutines) {
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(500 * time.Millisecond)
	debug.SetGCPercent(-1)
	runtime.GC()
	t1 := time.Now()
	runtime.GC()
	gc := time.Since(t1)
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	f, err := os.Create("truth.txt")
	if err != nil {
		panic(err)
	}
	fmt.Fprintf(f, "probe mode=bench go=%s pid=%d build-seconds=%.1f\n", runtime.Version(), os.Getpid(), t1.Sub(t0).Seconds())
	fmt.Fprintf(f, "content goroutines=%d in-lock=%d in-receive=%d locks=%d objects-built=%d map-entries=%d\n", *goroutines, nl, *goroutines-nl, *locks, count, *entries)
	fmt.Fprintf(f, "gc-forced-ms=%.1f (runtime.GC of this heap, GOMAXPROCS=%d)\n", float64(gc.Microseconds())/1000, runtime.GOMAXPROCS(0))
	fmt.Fprintf(f, "memstats.HeapAlloc=%d\nmemstats.HeapObjects=%d\nmemstats.HeapInuse=%d\nmemstats.StackInuse=%d\n", m.HeapAlloc, m.HeapObjects, m.HeapInuse, m.StackInuse)
	fmt.Fprintf(f, "expect findings-at-warning=0\n")
	f.Close()
	var action [4]uintptr // handler SIG_DFL
	syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(syscall.SIGABRT), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
	syscall.RawSyscall(syscall.SYS_TGKILL, uintptr(syscall.Getpid()), uintptr(syscall.Gettid()), uintptr(syscall.SIGABRT))
	for {
	}
}
