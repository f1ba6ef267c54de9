// Faults that a stranger to the detectors planted, each with a healthy twin: `strangers NAME bad|good`.
package main

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

type ledger struct {
	mu   sync.Mutex
	rows []int
}

//go:noinline
func (l *ledger) add(row int) {
	l.mu.Lock()
	l.rows = append(l.rows, row)
	l.mu.Unlock()
}

func (l *ledger) acquire() func() {
	l.mu.Lock()
	return l.mu.Unlock
}

type task struct{ done func() }

type order struct {
	id   int
	next *order
	pad  [1500]byte // a size that nothing else asks for soon
}

type slot struct {
	seq   uint64
	order *order
}

type ringBuffer struct {
	head  uint64
	slots [32]slot
}

type service struct {
	name string
	ring *ringBuffer
}

type handle struct {
	name string
	at   uintptr
}

type sensor struct {
	name  string
	value interface{}
}

var (
	ring    *ringBuffer
	server  *service
	kept    []interface{}
	counts  map[uint32]string
	buffer  uintptr
	sensors []*sensor
	table   struct{ at [32]uintptr }
	tagged  handle
	links   *link
)

// Small: the collector of Go 1.25 and later does not say where it met a bad pointer in one.
type link struct {
	name        string
	next, stale *link
}

type row struct {
	id   int
	next *row
	pad  [400]byte
}

// Neighbours, of which every second one is kept.
func neighbours(keep bool, each func(i int, at uintptr)) {
	away(func() {
		for i := 0; i < 8; i++ {
			o := &row{id: i}
			each(i, uintptr(unsafe.Pointer(o)))
			if keep || i%2 == 0 {
				kept = append(kept, o)
			}
		}
	})
	collect()
}

//go:noinline
func park(bad bool) {
	rows := make([]int64, 12)
	if bad {
		(*[3]int)(unsafe.Pointer(&rows))[1] = 1 << 40
	}
	time.Sleep(time.Hour)
	fmt.Println(len(rows), cap(rows), rows[0])
}

// On a stack that is gone afterwards.
func away(f func()) {
	done := make(chan int)
	go func() { f(); close(done) }()
	<-done
}

func collect() {
	for i := 0; i < 3; i++ {
		runtime.GC()
	}
}

func wait(l *ledger) {
	time.Sleep(20 * time.Millisecond)
	for i := 0; i < 2; i++ {
		go l.add(i)
	}
}

func fill(r *ringBuffer, bad bool) {
	away(func() {
		for i := range r.slots[:8] {
			o := &order{id: i}
			r.slots[i].order = o
			if !bad || i != 4 {
				kept = append(kept, o)
			}
		}
	})
}

func mapped() *ringBuffer {
	memory, err := syscall.Mmap(-1, 0, 8192, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		panic(err)
	}
	return (*ringBuffer)(unsafe.Pointer(&memory[0]))
}

func filled() unsafe.Pointer {
	counts = map[uint32]string{}
	for i := uint32(0); i < 300; i++ {
		counts[i] = fmt.Sprint(i)
	}
	kept = append(kept, counts)
	return *(*unsafe.Pointer)(unsafe.Pointer(&counts))
}

var modes = map[string]func(bad bool){
	// A method value in a frame, or nowhere.
	"unlock-value": func(bad bool) {
		l := &ledger{}
		go func() {
			release := l.acquire()
			if bad {
				return
			}
			time.Sleep(time.Hour)
			release()
		}()
		wait(l)
	},
	// A function value that waits in a channel: of a goroutine that will come for it, or that nobody has any more.
	"unlock-queue": func(bad bool) {
		l, queue := &ledger{}, make(chan task, 2)
		away(func() {
			l.mu.Lock()
			if bad {
				make(chan task, 1) <- task{func() { l.mu.Unlock() }}
			} else {
				queue <- task{func() { l.mu.Unlock() }}
			}
		})
		collect() // a thread's registers may still name what is lost
		go func() {
			time.Sleep(time.Hour)
			(<-queue).done()
		}()
		wait(l)
	},
	"map-count": func(bad bool) {
		if header := filled(); bad {
			*(*uint64)(header) = 0x7070707070707070
		}
	},
	"map-table": func(bad bool) {
		if header := filled(); bad {
			*(*uint64)(unsafe.Pointer(uintptr(header) + 16)) = 0x123450
		}
	},
	// Large objects begin with a page: right behind whatever lies before them.
	"large-buffer": func(bad bool) {
		away(func() {
			for i := 0; i < 2; i++ {
				b := make([]byte, 1<<20)
				buffer = uintptr(unsafe.Pointer(&b[0]))
				if !bad || i == 0 {
					kept = append(kept, b)
				}
			}
		})
		collect()
	},
	"nil-value": func(bad bool) {
		s := &sensor{name: "a", value: fmt.Sprint("text", 5)}
		sensors = append(sensors, s, &sensor{name: "b", value: (*order)(nil)}, &sensor{name: "c", value: struct{}{}},
			&sensor{name: "d", value: struct{ p *order }{}}, &sensor{name: "e", value: false})
		if bad {
			(*[2]uintptr)(unsafe.Pointer(&s.value))[1] = 0
		}
	},
	"wait-group": func(bad bool) {
		group := new(sync.WaitGroup)
		group.Add(1)
		go func() {
			if !bad {
				time.Sleep(time.Hour)
				group.Done()
			}
		}()
		go group.Wait()
	},
	"off-heap": func(bad bool) {
		ring = mapped()
		fill(ring, bad)
	},
	"off-heap-freed": func(bad bool) {
		server = &service{name: os.Args[1], ring: mapped()}
		fill(server.ring, bad)
		collect()
	},
	// A slice in a frame from which nothing leads to the heap.
	"local": func(bad bool) { go park(bad) },
	"table": func(bad bool) {
		neighbours(!bad, func(i int, at uintptr) { table.at[i] = at })
	},
	"tagged": func(bad bool) {
		neighbours(!bad, func(i int, at uintptr) {
			if i == 3 {
				tagged = handle{"three", at | 1}
			}
		})
	},
	"captured": func(bad bool) {
		var at uintptr
		neighbours(!bad, func(i int, of uintptr) {
			if i == 3 {
				at = of + 16
			}
		})
		inner := at
		read := func() int64 { return *(*int64)(unsafe.Pointer(inner)) }
		go func() {
			time.Sleep(time.Hour)
			fmt.Println(read())
		}()
	},
	// Several: the collector lets one pass whose span serves another purpose by now.
	"bad-pointer": func(bad bool) {
		for _, to := range pages(bad) {
			links = &link{"next", links, nil}
			*(*uintptr)(unsafe.Pointer(&links.stale)) = to
		}
		runtime.GC()
	},
}

// In an interface that a package variable holds: a map of a few cells, which nothing but a type tells from another object.
var boxed interface{}

func init() {
	modes["boxed-map"] = func(bad bool) {
		m := map[string]int{"one": 1, "two": 2, "three": 3}
		boxed = m
		if bad {
			**(**uint64)(unsafe.Pointer(&m)) = 2
		}
	}
}

// What is made and stored at once: nothing else names the types of these.
var grid [][]int32
var first *entry

type entry struct {
	key  string
	next uintptr
}

func init() {
	modes["made-rows"] = func(bad bool) {
		grid = make([][]int32, 6)
		for i := range grid {
			grid[i] = make([]int32, 16)
		}
		if bad {
			*(*[3]int)(unsafe.Pointer(&grid[4])) = [3]int{int(uintptr(unsafe.Pointer(&grid[4][0]))), 4000, 4000}
		}
	}
	modes["made-object"] = func(bad bool) {
		first = &entry{key: "one"}
		neighbours(!bad, func(i int, at uintptr) {
			if i == 3 {
				first.next = at
			}
		})
	}
}

// Stored far behind the call that made it, by way of another register.
type device struct {
	owner uintptr
	name  string
	path  string
	next  *device
}

var devices *device

//go:noinline
func attach(name string, path string) {
	devices = &device{name: name, path: path, next: devices}
}

func init() {
	modes["made-linked"] = func(bad bool) {
		for i := 0; i < 3; i++ {
			attach(fmt.Sprint("dev", i), fmt.Sprint("/dev/", i))
		}
		neighbours(!bad, func(i int, at uintptr) {
			if i == 3 {
				devices.next.owner = at
			}
		})
	}
}

// Laid out by the linker, so that no descriptor names the type: its methods' code says what its words are.
type reader struct {
	label  [16]byte
	err    error
	window []uint16
	fields []field
	queue  *entry
	counts map[string]int
}

var input = &reader{}

//go:noinline
func (r *reader) fail(err *failure) { r.err = err }

//go:noinline
func (r *reader) view(key string) { r.fields = append(r.fields, field{key, ""}) }

//go:noinline
func (r *reader) push(key string) *entry {
	e := &entry{key: key}
	for n := r.queue; n != nil && n.key == key; n = nil {
		return n
	}
	r.queue = e
	return e
}

//go:noinline
func (r *reader) count(key string) { r.counts[key]++ }

//go:noinline
func (r *reader) open(n int) { r.window = make([]uint16, n, 2*n) }

type failure struct{ reason string }

func (f *failure) Error() string { return f.reason }

func init() {
	modes["laid-out-interface"] = func(bad bool) {
		input.fail(&failure{"short"})
		if bad {
			copy((*[24]byte)(unsafe.Pointer(&input.label))[:], "a label that is far too long")
		}
	}
	modes["laid-out-slice"] = func(bad bool) {
		input.open(20)
		if bad {
			(*[3]int)(unsafe.Pointer(&input.window))[1] = 400
		}
	}
	modes["laid-out-strings"] = func(bad bool) {
		for i := 0; i < 3; i++ {
			input.view(fmt.Sprint("a key ", i))
		}
		if bad {
			(*[2]int)(unsafe.Pointer(&input.fields[1].key))[1] = 1 << 20
		}
	}
	modes["laid-out-object"] = func(bad bool) {
		input.view("a key") // what lies before the queue is a number: no interface ends with it
		e := input.push("one")
		neighbours(!bad, func(i int, at uintptr) {
			if i == 3 {
				e.next = at
			}
		})
	}
	modes["laid-out-map"] = func(bad bool) {
		input.counts = map[string]int{}
		for i := 0; i < 3; i++ {
			input.count(fmt.Sprint(i))
		}
		if bad {
			**(**uint64)(unsafe.Pointer(&input.counts)) = 2
		}
	}
}

// A map whose header's memory is another object's by now, and a key whose bytes are not there: it dies while it hashes.
func init() {
	modes["map-reused"] = func(bad bool) {
		away(func() {
			for i := 0; i < 4000; i++ {
				m := map[string]int{"one": i}
				if i == 2000 {
					tagged = handle{"map", *(*uintptr)(unsafe.Pointer(&m))}
				}
				if !bad {
					kept = append(kept, m)
				}
			}
		})
		collect()
		if !bad {
			return
		}
		for i := 0; i < 4000; i++ {
			words := make([]uint64, 1024)
			for n := range words {
				words[n] = 0x1001 // no byte says that the map is being written to
			}
			kept = append(kept, words)
			if first := uintptr(unsafe.Pointer(&words[0])); first <= tagged.at && tagged.at < first+8192 {
				key := [2]uintptr{0x123456000, 512}
				m := *(*map[string]int)(unsafe.Pointer(&tagged.at))
				fmt.Println(m[*(*string)(unsafe.Pointer(&key))])
			}
		}
	}
}

// An arena made by hand: messages with pointers live in bytes, which the collector does not scan.
type message struct {
	id     uint64
	parent *order
	tags   map[string]int
}

type decoder struct {
	arena []byte
	root  *message
}

// Records with a hidden address each, allocated one behind the other: no {begin, end} of a range.
type record struct {
	generation uint32
	at         uintptr
}

type field struct{ key, value string }

var decoded = &decoder{}
var records []record
var fields []*[]field

func init() {
	decode := func(bad bool, fill func(m *message)) {
		decoded.arena = make([]byte, 4096)
		away(func() {
			m := (*message)(unsafe.Pointer(&decoded.arena[64]))
			fill(m)
			decoded.root = m
			if !bad {
				kept = append(kept, m.parent, m.tags)
			}
		})
		collect()
	}
	modes["arena"] = func(bad bool) { decode(bad, func(m *message) { m.parent = &order{id: 1} }) }
	modes["arena-map"] = func(bad bool) {
		decode(bad, func(m *message) {
			m.tags = map[string]int{}
			for i := 0; i < 40; i++ {
				m.tags[fmt.Sprint(i)] = i
			}
		})
	}
	modes["records"] = func(bad bool) {
		records = make([]record, 8)
		neighbours(!bad, func(i int, at uintptr) { records[i] = record{uint32(i), at} })
	}
	modes["views"] = func(bad bool) {
		memory, err := syscall.Mmap(-1, 0, 65536, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
		if err != nil {
			panic(err)
		}
		view := func(at int) string {
			header := [2]uintptr{uintptr(unsafe.Pointer(&memory[at])), 16}
			return *(*string)(unsafe.Pointer(&header))
		}
		parsed := make([]field, 3)
		for i := range parsed {
			parsed[i] = field{view(64 * i), view(64*i + 32)}
		}
		fields = append(fields, &parsed)
		if bad {
			syscall.Munmap(memory)
		}
	}
	// Large: the collector prints where it met the pointer.
	modes["bad-pointer-large"] = func(bad bool) {
		shelf := new([200]*order)
		kept = append(kept, shelf)
		for i, to := range pages(bad) {
			*(*uintptr)(unsafe.Pointer(&shelf[100+i])) = to
		}
		runtime.GC()
	}
}

// Addresses in large objects; bad: that are freed by now.
//
//go:noinline
func pages(bad bool) (at [16]uintptr) {
	away(func() {
		for i := range at {
			rows := make([]*link, 1<<15)
			at[i] = uintptr(unsafe.Pointer(&rows[9000]))
			if !bad {
				kept = append(kept, rows)
			}
		}
	})
	collect()
	return at
}

func main() {
	modes[os.Args[1]](os.Args[2] == "bad")
	time.Sleep(50 * time.Millisecond)
	syscall.Kill(syscall.Getpid(), syscall.SIGABRT)
	time.Sleep(time.Hour)
	fmt.Println(kept, counts, sensors, server, table, tagged, links, boxed, grid, first, decoded, records, fields)
}
