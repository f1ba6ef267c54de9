// A heap of known shape: every object, what it points to, and what each one retains, by brute force.

package main

import (
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

type listNode struct {
	id   int64
	next *listNode
	pad  [4]int64
}

type treeNode struct {
	left, right *treeNode
	key         int64
}

type dagNode struct {
	id   int64
	refs [4]*dagNode
}

type leaf struct {
	id  int64
	pad [100]byte
}

type holderOf struct{ leaf *leaf }

type graphRoots struct {
	list   *listNode
	tree   *treeNode
	dag    *dagNode
	byName map[string]*holderOf
	byID   map[int64]*leaf
	slice  []*leaf
	any    interface{}
	fn     func() *leaf
	ch     chan *leaf
}

var theGraph graphRoots

// The graph as indices, without pointers: names, sizes, edges. Map, slice and channel backing stores are not nodes here.
type gnode struct {
	name string
	addr string
	size int
	refs []int
}

var gnodes []gnode

func gadd(name string, p unsafe.Pointer, size uintptr) int {
	gnodes = append(gnodes, gnode{name: name, addr: hex(p), size: int(size)})
	return len(gnodes) - 1
}

func gref(from, to int) { gnodes[from].refs = append(gnodes[from].refs, to) }

func classSize(n int) int { // what the allocator gives for n bytes
	for i := range mstats.BySize {
		if s := int(mstats.BySize[i].Size); s >= n && s > 0 {
			return s
		}
	}
	return (n + 8191) &^ 8191
}

//go:noinline
func buildTree(depth int, key int64) (*treeNode, int) {
	t := &treeNode{key: key}
	me := gadd("tree."+strconv.FormatInt(key, 10), unsafe.Pointer(t), unsafe.Sizeof(*t))
	if depth > 0 {
		var l, r int
		t.left, l = buildTree(depth-1, 2*key)
		t.right, r = buildTree(depth-1, 2*key+1)
		gref(me, l)
		gref(me, r)
	}
	return t, me
}

//go:noinline
func newLeaf(id int64) (*leaf, int) {
	l := &leaf{id: id}
	return l, gadd("leaf."+strconv.FormatInt(id, 10), unsafe.Pointer(l), unsafe.Sizeof(*l))
}

//go:noinline
func buildGraph(g *graphRoots) (roots []int) {
	last := -1
	for i := int64(99); i >= 0; i-- { // list.0 -> list.1 -> … -> list.99
		n := &listNode{id: i, next: g.list}
		me := gadd("list."+strconv.FormatInt(i, 10), unsafe.Pointer(n), unsafe.Sizeof(*n))
		if last >= 0 {
			gref(me, last)
		}
		g.list, last = n, me
	}
	roots = append(roots, last)
	t, ti := buildTree(5, 1)
	g.tree = t
	roots = append(roots, ti)
	// 0 -> 1,2; 1 -> 3; 2 -> 3,4; 3 -> 5; 4 -> 5,6; 6 -> 0: a shared DAG with one edge back
	var d [7]*dagNode
	base := len(gnodes)
	for i := range d {
		d[i] = &dagNode{id: int64(i)}
		gadd("dag."+strconv.Itoa(i), unsafe.Pointer(d[i]), unsafe.Sizeof(*d[i]))
	}
	edge := func(from int, to ...int) {
		for i, t := range to {
			d[from].refs[i] = d[t]
			gref(base+from, base+t)
		}
	}
	edge(0, 1, 2)
	edge(1, 3)
	edge(2, 3, 4)
	edge(3, 5)
	edge(4, 5, 6)
	edge(6, 0)
	g.dag = d[0]
	roots = append(roots, base)
	g.byName, g.byID, g.ch = map[string]*holderOf{}, map[int64]*leaf{}, make(chan *leaf, 3)
	for i := int64(0); i < 20; i++ {
		l, li := newLeaf(1000 + i)
		h := &holderOf{l}
		hi := gadd("holderOf."+strconv.FormatInt(i, 10), unsafe.Pointer(h), unsafe.Sizeof(*h))
		gref(hi, li)
		g.byName["n"+strconv.FormatInt(i, 10)] = h
		roots = append(roots, hi)
		if i%2 == 0 { // every second leaf is shared with byID
			g.byID[1000+i] = l
			roots = append(roots, li)
		}
	}
	only := func(id int64) *leaf {
		l, li := newLeaf(id)
		roots = append(roots, li)
		return l
	}
	for i := int64(0); i < 5; i++ {
		g.slice = append(g.slice, only(2000+i))
	}
	g.any = only(3000)
	caught := only(3001)
	g.fn = func() *leaf { return caught }
	g.ch <- only(3002)
	g.ch <- only(3003)
	return roots
}

// reach marks what the roots reach when one node is taken away.
func reach(roots []int, without int) []bool {
	seen := make([]bool, len(gnodes))
	todo := append([]int(nil), roots...)
	for len(todo) > 0 {
		n := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if n == without || seen[n] {
			continue
		}
		seen[n] = true
		todo = append(todo, gnodes[n].refs...)
	}
	return seen
}

var mstats runtime.MemStats

func describeGraph(roots []int) {
	runtime.ReadMemStats(&mstats)
	for i := range gnodes {
		gnodes[i].size = classSize(gnodes[i].size)
	}
	root := map[int]bool{}
	for _, r := range roots {
		root[r] = true
	}
	for i, n := range gnodes {
		var refs []string
		for _, r := range n.refs {
			refs = append(refs, gnodes[r].name)
		}
		count, bytes := 0, 0
		for j, kept := range reach(roots, i) {
			if !kept {
				count++
				bytes += gnodes[j].size
			}
		}
		truthf("gnode name=%s addr=%s size=%d root=%v refs=%s retained-count=%d retained-bytes=%d", n.name, n.addr, n.size, root[i], strings.Join(refs, ","), count, bytes)
	}
}

func init() {
	add("graph", func() {
		quiet()
		elsewhere(func() { describeGraph(buildGraph(&theGraph)) })
		for i := range gnodes { // nothing of the description stays
			gnodes[i] = gnode{}
		}
		gnodes = nil
		object("theGraph", "main.graphRoots", unsafe.Pointer(&theGraph), "package variable; gnode lines: root=true when a map, slice, channel, closure or variable holds it; retained among the gnodes only")
		truthf("path name=leaf.1004 text=%q", `main.theGraph.byID[1004]`)
		truthf("path name=leaf.1005 text=%q", `main.theGraph.byName["n5"].leaf`)
		truthf("path name=list.2 text=%q", "main.theGraph.list.next.next")
		truthf("path name=tree.5 text=%q", "main.theGraph.tree.left.right")
		truthf("path name=leaf.2003 text=%q", "main.theGraph.slice[3]")
		healthy()
		last = func() { // two collections, then the counts; nothing is allocated after them
			truthBuf = nil
			runtime.GC()
			runtime.GC()
			runtime.ReadMemStats(&mstats)
			writeStats()
		}
	})
	// Healthy: the collector at work when the process dies.
	add("mid_gc", func() {
		go feeder()
		settle(1)
		all := make([]*treeNode, 0, 1<<17)
		for i := 0; i < cap(all); i++ {
			t := &treeNode{key: int64(i)}
			if i > 0 {
				t.left = all[i/2]
			}
			all = append(all, t)
		}
		keep(all)
		healthy()
		last = func() {
			go func() {
				for {
					runtime.GC()
				}
			}()
			time.Sleep(30 * time.Millisecond)
		}
	})
	// Healthy: 10^5 maps and slices after collections with churn.
	add("churn", func() {
		var all [][]byte
		var ms []map[int]int
		for i := 0; i < 100000; i++ {
			all = append(all, make([]byte, i%300))
			if i%10 == 0 {
				ms = append(ms, map[int]int{i: i})
			}
			if i%3 == 0 {
				all[i/2] = nil
			}
			if i%30 == 0 {
				ms[len(ms)/2] = nil
			}
		}
		keep(all, ms)
		collect()
		healthy()
	})
}

var statsBuf [1 << 13]byte

func writeStats() {
	b := statsBuf[:0]
	num := func(name string, v uint64) {
		b = append(b, name...)
		b = strconv.AppendUint(b, v, 10)
	}
	num("memstats.HeapAlloc=", mstats.HeapAlloc)
	num("\nmemstats.HeapObjects=", mstats.HeapObjects)
	num("\nmemstats.Mallocs=", mstats.Mallocs)
	num("\nmemstats.Frees=", mstats.Frees)
	num("\nmemstats.HeapInuse=", mstats.HeapInuse)
	num("\nmemstats.NumGC=", uint64(mstats.NumGC))
	b = append(b, '\n')
	for i := range mstats.BySize {
		if c := &mstats.BySize[i]; c.Mallocs != 0 {
			num("memstats.BySize size=", uint64(c.Size))
			num(" live=", c.Mallocs-c.Frees)
			num(" mallocs=", c.Mallocs)
			b = append(b, '\n')
		}
	}
	syscall.Write(truthFd, b)
}
