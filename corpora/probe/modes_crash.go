// Modes nilderef, panicnested, fatalmap, overflow (deaths) and orphan (a hang).

package main

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// Mode nilderef

type person struct {
	born, height, weight int64
	name                 string
	tags                 []string
}

type account struct {
	id    int64
	owner *person
	mu    sync.Mutex
}

//go:noinline
func (a *account) ownerName() int {
	return len(a.owner.name)
}

//go:noinline
func report(as []*account) (n int) {
	for _, a := range as {
		n += audit(a)
	}
	return n
}

//go:noinline
func audit(a *account) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ownerName() + 1
}

func modeNilDeref() {
	keep.hold = make(chan int)
	as := []*account{{id: 1, owner: &person{name: "Ada"}}, {id: 2, owner: &person{name: "Grace"}}, {id: 3}}
	keep.any = append(keep.any, as)
	go func() {
		enter("bystander", "chan receive", chanAddr(keep.hold))
		<-keep.hold
	}()
	settle(1)
	done := make(chan int)
	go func() {
		enter("faulting", "dies of SIGSEGV, a nil pointer dereference", hex(unsafe.Pointer(as[2])))
		object("account", "main.account", unsafe.Pointer(as[2]), "id=3 owner=nil; its mutex is locked, the Unlock is deferred by main.audit")
		truthf("expect crash signal=SIGSEGV fault-address=0x20 (the length of person.name) function=main.(*account).ownerName stack=ownerName,audit,report")
		truthf("expect panic=\"runtime error: invalid memory address or nil pointer dereference\"")
		writeTruth(true)
		done <- report(as)
	}()
	sink += <-done
}

// ---------------------------------------------------------------------------------------------------------------
// Mode panicnested

var finalError = &codedError{Code: 4711, Msg: "the one that kills"}

//go:noinline
func recovered(name string, f func()) {
	defer func() {
		r := recover()
		truthf("recovered name=%s type=%T value=%q", name, r, fmt.Sprint(r))
	}()
	f()
}

//go:noinline
func level1() {
	defer note(1)
	defer level1Deferred()
	panic("first: a string")
}

//go:noinline
func level1Deferred() {
	defer level2Deferred()
	panic(errors.New("second: an error"))
}

//go:noinline
func level2Deferred() {
	defer level3Deferred()
	r := recover() // takes the second
	if e, ok := r.(error); ok {
		sink += len(e.Error())
	}
	panic(33333)
}

//go:noinline
func level3Deferred() {
	defer note(5)
	panic(finalError)
}

func modePanicNested() {
	recovered("error", func() { panic(errors.New("plain error")) })
	recovered("string", func() { panic("plain string") })
	recovered("int", func() { panic(12345) })
	recovered("pointer-error", func() { panic(&codedError{7, "seven"}) })
	recovered("value-error", func() { panic(valueError{"by value"}) })
	recovered("runtime-error", func() { var m map[string]int; m["x"] = 1 })
	recovered("index", func() { v := make([]int, 3); i := 5; sink += v[i] })
	recovered("nested", func() {
		defer func() { panic(fmt.Sprint("outer after ", recover())) }()
		panic("inner")
	})
	object("finalError", "main.codedError", unsafe.Pointer(finalError), "code=4711")
	truthf("expect panic chain, newest first: *main.codedError{4711}; int 33333; *errors.errorString \"second: an error\" (recovered); string \"first: a string\"")
	truthf("expect crash=go-panic goroutine=panicking deferred functions of the stack: level3Deferred, level2Deferred, level1Deferred, level1")
	keep.hold = make(chan int)
	go func() {
		enter("panicking", "dies of an uncaught panic", hex(unsafe.Pointer(finalError)))
		writeTruth(true)
		level1()
	}()
	<-keep.hold
}

// ---------------------------------------------------------------------------------------------------------------
// Mode fatalmap

var racy = map[int]int{}

//go:noinline
func writer(id int, m map[int]int) {
	enter("writer", "running | runnable | dies of \"concurrent map writes\"", hex(*(*unsafe.Pointer)(unsafe.Pointer(&m))))
	for atomic.LoadInt32(&fire) == 0 {
	}
	for i := 0; ; i++ {
		m[i&1023] = id
	}
}

var fire int32

func modeFatalMap() {
	runtime.GOMAXPROCS(4)
	for i := 0; i < 1024; i++ {
		racy[i] = i
	}
	object("racy", "map[int]int", *(*unsafe.Pointer)(unsafe.Pointer(&racy)), "len=1024 package variable main.racy at %s", hex(unsafe.Pointer(&racy)))
	truthf("expect crash=go-fatal message=\"concurrent map writes\" in a goroutine at main.writer; other writers run on")
	for i := 0; i < 3; i++ {
		go writer(i, racy)
	}
	settle(3)
	writeTruth(true)
	atomic.StoreInt32(&fire, 1)
	select {}
}

// ---------------------------------------------------------------------------------------------------------------
// Mode overflow

//go:noinline
func descend(n int, p *person) int {
	var pad [8]int
	pad[n&7] = n
	if p == nil {
		return pad[n&7]
	}
	return ascend(n+1, p) + pad[n&7]
}

//go:noinline
func ascend(n int, p *person) int { return descend(n+1, p) + 1 }

func modeOverflow() {
	debug.SetMaxStack(1 << 20)
	keep.hold = make(chan int)
	go func() {
		enter("overflowing", "dies of \"stack overflow\"", "0x0")
		truthf("expect crash=go-fatal message=\"stack overflow\" stack: main.descend and main.ascend in turn, limit 1048576 bytes")
		writeTruth(true)
		sink += descend(0, &person{name: "deep"})
	}()
	<-keep.hold
}

// ---------------------------------------------------------------------------------------------------------------
// Mode orphan

type ledger struct {
	magic uint64
	mu    sync.Mutex
	total int64
}

var book = &ledger{magic: 0x4c45444745523031}

//go:noinline
func (l *ledger) post(n int64) {
	l.mu.Lock()
	if n < 0 {
		panic("negative amount")
	}
	l.total += n
	l.mu.Unlock()
}

//go:noinline
func safely(l *ledger, n int64) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("recovered: %v", r)
		}
	}()
	l.post(n)
	return nil
}

//go:noinline
func poster(l *ledger, n int64) {
	enter("orphan.waiter", "sync.Mutex.Lock | semacquire", hex(unsafe.Pointer(&l.mu)))
	l.post(n)
}

func modeOrphan() {
	done := make(chan error)
	go func() { done <- safely(book, -1) }()
	err := <-done
	for i := int64(1); i <= 3; i++ {
		go poster(book, i)
	}
	settle(3)
	object("book.mu", "sync.Mutex", unsafe.Pointer(&book.mu), "locked waiters=3 holder=none (the locking goroutine recovered a panic and ended: %q) in=main.ledger %s", err.Error(), hex(unsafe.Pointer(book)))
	truthf("expect finding=go.mutex.orphaned subject=%s", hex(unsafe.Pointer(&book.mu)))
	truthf("thread main-tid=%d", syscall.Gettid())
	finish(true, nil)
}
