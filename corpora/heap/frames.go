// Pointers into frames that are gone, and frames whose chain is broken.

package main

import (
	"runtime"
	"time"
	"unsafe"
)

type task struct {
	magic uint64
	state uint64
	next  *uint64
}

// holder keeps an address as an integer: the collector neither follows it nor moves it with the stack.
type holder struct {
	magic uint64
	where uintptr
}

const (
	taskMagic   = 0x5441534b30303031
	holderMagic = 0x484f4c4445523031
)

var (
	theHolder = &holder{magic: holderMagic}
	keepTask  *task
	liveWord  = make(chan int64)
)

//go:noinline
func use(t *task) { sink += int64(t.magic&1 + t.state) }

//go:noinline
func publish(h *holder) {
	t := task{magic: taskMagic, state: 7}
	h.where = uintptr(unsafe.Pointer(&t))
	use(&t)
}

//go:noinline
func deep(n int) int {
	var pad [1024]byte
	pad[n%1024] = byte(n)
	if n == 0 {
		return int(pad[0])
	}
	return deep(n-1) + int(pad[n%1024])
}

//go:noinline
func publishAndGrow(h *holder) {
	t := task{magic: taskMagic, state: 9}
	h.where = uintptr(unsafe.Pointer(&t))
	sink += int64(deep(200)) // copies the stack: t moves, the integer does not
	enter("owner", "chan receive", "0x0")
	sink += <-liveWord
	use(&t)
}

//go:noinline
func publishAndStay(h *holder) { // enter needs more than a new stack has: t moves, the integer does not
	t := task{magic: taskMagic, state: 9}
	h.where = uintptr(unsafe.Pointer(&t))
	enter("owner", "chan receive", "0x0")
	sink += <-liveWord
	use(&t)
}

//go:noinline
func publishAndReturn(h *holder) {
	deepPublish(h, 20) // the frame is gone, its goroutine and stack are not
	enter("owner", "chan receive", "0x0")
	sink += <-liveWord
}

//go:noinline
func deepPublish(h *holder, n int) int {
	var pad [64]byte
	pad[n%64] = byte(n)
	if n == 0 {
		publish(h)
		return 0
	}
	return deepPublish(h, n-1) + int(pad[n%64])
}

// feeder is alive and will send: nobody who receives from liveWord is stuck.
//
//go:noinline
func feeder() {
	enter("feeder", "sleep", "0x0")
	for {
		time.Sleep(time.Hour)
		liveWord <- 1
	}
}

//go:noinline
func capturing() { // a pending deferred closure captures a local of its own, living frame
	t := task{magic: taskMagic, state: 3}
	p := &t
	defer func() { use(p) }()
	enter("owner", "chan receive", "0x0")
	p.state += uint64(<-liveWord)
}

//go:noinline
func receiveIntoFrame() {
	var v int64 // the channel's sudog points at it
	enter("receiver", "chan receive", "0x0")
	v = <-liveWord
	sink += v
}

func noteHolder(rest string) {
	object("theHolder", "main.holder", unsafe.Pointer(theHolder), "field=where value=0x%x %s", theHolder.where, rest)
}

//go:noinline
func smash(which int, value uintptr, hold func()) {
	var mark [4]uintptr
	var pcs [1]uintptr
	runtime.Callers(2, pcs[:])
	at := unsafe.Pointer(&mark[0])
	for i := uintptr(0); i < 64; i++ {
		if word(at, 8*i) == pcs[0] { // our own return address; the saved frame pointer stands before it
			p := (*uintptr)(unsafe.Pointer(uintptr(at) + 8*i - 8*uintptr(1-which)))
			object("slot", "saved", unsafe.Pointer(p), "was=0x%x now=0x%x in=main.smash", *p, value)
			*p = value
			hold()
			mark[0]++
			sink += int64(mark[0])
			return
		}
	}
	fail("no return address found")
}

//go:noinline
func smasher(which int, value uintptr, goOn chan bool) {
	enter("owner", "chan receive", "0x0")
	<-goOn
	smash(which, value, func() { sink += <-liveWord })
	sink++
}

// smashed: the stacks are written before the damage, because the runtime itself may die of it.
func smashed(mode string, which int, value uintptr, what string, then func()) {
	add(mode, func() {
		quiet()
		go feeder()
		goOn := make(chan bool)
		go smasher(which, value, goOn)
		settle(2)
		planted("go.frame-chain.broken", "slot", what)
		last = func() {
			goOn <- true
			time.Sleep(20 * time.Millisecond)
			flush(truthBuf)
			then()
		}
	})
}

func init() {
	keep(theHolder)
	add("dangle_exit", func() {
		go feeder()
		elsewhere(func() { sink += int64(deep(100)); publish(theHolder) })
		time.Sleep(20 * time.Millisecond)
		collect()
		noteHolder("into=stack of a goroutine that ended")
		planted("go.frame-pointer.dangling", "theHolder", "field=where")
		quiet()
	})
	owner := func(mode, into string, sick bool, f func(*holder)) {
		add(mode, func() {
			go feeder()
			go f(theHolder)
			settle(2)
			quiet()
			noteHolder("into=" + into)
			if sick {
				planted("go.frame-pointer.dangling", "theHolder", "field=where")
			} else {
				healthy()
			}
		})
	}
	owner("dangle_move", "stack of a goroutine, before it moved", true, publishAndGrow)
	owner("dangle_return", "dead part of a living goroutine's stack", true, publishAndReturn)
	owner("frame_live", "a living frame, before its stack grew in enter", true, publishAndStay)
	add("frame_heap", func() {
		go feeder()
		settle(1)
		elsewhere(func() {
			keepTask = &task{magic: taskMagic, state: 8}
			theHolder.where = uintptr(unsafe.Pointer(keepTask))
		})
		collect()
		noteHolder("into=a heap object that keepTask keeps")
		healthy()
	})
	add("frame_defer", func() {
		go feeder()
		go capturing()
		go receiveIntoFrame()
		settle(3)
		collect()
		healthy()
	})
	smashed("chain_bp", 0, 0x4141414141414140, "saved frame pointer of main.smash", func() {})
	smashed("chain_ret", 1, 0x4242424242424242, "return address of main.smash", func() {})
	smashed("chain_ret_gc", 1, 0x4242424242424242, "return address of main.smash; the collector died of it", runtime.GC)
}

//go:noinline
func growAndPublish(h *holder) { // the stack is large enough for all that follows: t stays while this frame lives
	sink += int64(deep(40))
	publishAndStay(h)
}

func init() {
	add("frame_still", func() {
		go feeder()
		go growAndPublish(theHolder)
		settle(2)
		quiet()
		noteHolder("into=a living frame")
		healthy()
	})
}
