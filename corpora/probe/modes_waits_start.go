// Mode waits: starts every goroutine, settles, describes the locks, and dies.

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(3)
	}
}

func modeWaits() {
	k := &keep
	for _, c := range []*chan int{&k.recv, &k.send, &k.sel1, &k.sel2, &k.sel3, &k.misc, &k.once, &k.hold, &k.never} {
		*c = make(chan int)
	}
	k.recvBuf = make(chan int, 4)
	k.sendFull = make(chan int, 2)
	k.sendFull <- 11
	k.sendFull <- 12
	k.mutex = &counter{name: "mutex"}
	k.cond = &counter{name: "cond"}
	k.rwReaders = &counter{name: "rw held by a reader"}
	k.rwWriter = &counter{name: "rw held by a writer"}
	k.wg = new(sync.WaitGroup)
	k.c = sync.NewCond(&k.cond.mu)
	k.onceV = new(sync.Once)
	k.timer = time.NewTimer(2 * time.Hour)
	k.after = time.AfterFunc(3*time.Hour, func() { sink++ })
	k.ticker = time.NewTicker(time.Hour)
	must(syscall.Pipe(k.pipe[:]))
	var err error
	k.ln, err = net.Listen("tcp", "127.0.0.1:0")
	must(err)
	k.udp, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(err)
	k.osr, k.osw, err = os.Pipe()
	must(err)
	usr1 := make(chan os.Signal, 1)
	signal.Notify(usr1, syscall.SIGUSR1)
	k.any = append(k.any, usr1)

	n := int32(0)
	ready := make(chan bool)
	start := func(f func()) { n++; go f() }
	startReady := func(f func()) { n++; go f(); <-ready }

	start(waitRecv)
	start(waitRecv)
	start(waitRange)
	start(waitRecvBuf)
	n++
	go waitSend(101)
	n++
	go waitSend(102)
	n++
	go waitSendFull(13)
	start(waitNilRecv)
	start(waitNilSend)
	start(waitSelect)
	start(waitSelect)
	start(waitSelectTimer)
	start(waitSelectEmpty)
	start(waitSleep)
	start(waitTimer)
	start(waitTicker)

	startReady(func() { holdMutex(k.mutex, ready) })
	for i := 0; i < 3; i++ {
		n++
		go waitMutex(k.mutex)
	}
	startReady(func() { holdRead(k.rwReaders, ready) })
	startReady(func() { holdRead(k.rwReaders, ready) })
	n++
	go waitWrite(k.rwReaders, "rwmutex.write.waiter", "sync.RWMutex.Lock")
	startReady(func() { holdWrite(k.rwWriter, ready) })
	for i := 0; i < 2; i++ {
		n++
		go waitRead(k.rwWriter, "rwmutex.read.waiter")
	}
	n++
	go waitWrite(k.rwWriter, "rwmutex.write.waiter.behind.writer", "sync.Mutex.Lock")
	k.wg.Add(2)
	start(wgWorker)
	start(wgWorker)
	start(waitGroup)
	n += 2
	go waitCond(k.cond)
	go waitCond(k.cond)
	startReady(func() { onceFirst(ready) })
	start(onceSecond)
	start(waitSyscall)
	start(waitLocked)

	start(waitAccept)
	c1, err := net.Dial("tcp", k.ln.Addr().String())
	must(err)
	c2, err := net.Dial("tcp", k.ln.Addr().String())
	must(err)
	k.any = append(k.any, c1, c2)
	n += 2
	go waitConnRead(c1)
	go waitConnWrite(c2)
	start(waitUDP)
	start(waitOSPipe)

	start(waitInlined)
	start(waitDeep)
	n++
	go waitVariadic("pre", 1, "two", 3.5, nil)
	start(startReflect)
	start(startMakeFunc)
	start(startSort)
	start(startLabels)

	c := &counter{name: "methods", n: 9}
	k.any = append(k.any, c)
	n++
	go c.wait(k.misc)
	mv := c.wait
	n++
	go mv(k.misc)
	n++
	go (*counter).wait(c, k.misc)
	var w waiter = outer{"promoted", c}
	n++
	go w.wait(k.misc)
	n++
	c.spawn(k.misc)
	f := makeCounter(5)(k.misc)
	n++
	go func() { sink += f() }()

	dc := []*counter{{name: "open2"}, {name: "open3"}, {name: "methods"}}
	k.any = append(k.any, dc)
	n += 2
	go deferOpen(dc[0], false)
	go deferOpen(dc[1], true)
	start(deferEight)
	start(deferNine)
	n += 4
	go deferLoop(5)
	go deferMixed(3)
	go deferMethods(dc[2], &counter{name: "closer"}, map[string]int{"gone": 1, "stays": 2})
	go deferArgs(errors.New("argument error"))
	start(deferNested)
	start(deferRunning)
	start(deferInPanic)
	start(deferRecovered)
	start(deferDouble)
	start(deferGoexit)

	for _, f := range extraWaits {
		start(f)
	}

	// Dead goroutines, a finaliser that has run, finalisers that wait.
	for i := 0; i < 3; i++ {
		done := make(chan bool)
		go func() { sink++; done <- true }()
		<-done
	}
	ran := make(chan bool, 1)
	func() {
		v := &finalised{id: -1, buf: make([]byte, 100)}
		runtime.SetFinalizer(v, func(*finalised) { ran <- true })
	}()
	for i := 0; i < 4; i++ {
		v := &finalised{id: i, buf: make([]byte, 64)}
		runtime.SetFinalizer(v, func(f *finalised) { sink += f.id })
		k.finals = append(k.finals, v)
	}
	settle(n)
	runtime.GC()
	select {
	case <-ran:
	case <-time.After(time.Second):
	}
	runtime.GC()

	truthf("expect goroutines-blocked=%d (each has a goroutine line)", n)
	truthf("expect runtime goroutines: forcegc helper, sweeper, scavenger, finaliser goroutine idle, GC workers idle; os/signal.loop in syscall; dead=some")
	truthf("expect runnable name=main.neverRan count=3 (created after the stacks below were taken, not run yet)")
	truthf("expect pprof-labels tenant=blue shard=7")
	truthf("expect timers: time.Sleep 1h (sleep), NewTimer 1h (select.timer), NewTimer 2h (keep.timer), AfterFunc 3h (keep.after), NewTicker 1h (keep.ticker)")
	object("mutex", "sync.Mutex", unsafe.Pointer(&k.mutex.mu), "locked waiters=3 holder=mutex.holder in=%s", hex(unsafe.Pointer(k.mutex)))
	object("rwReaders", "sync.RWMutex", unsafe.Pointer(&k.rwReaders.rw), "readers=2 writer-waiting=1 in=%s", hex(unsafe.Pointer(k.rwReaders)))
	object("rwWriter", "sync.RWMutex", unsafe.Pointer(&k.rwWriter.rw), "writer-holds readers-waiting=2 writers-waiting=1 in=%s", hex(unsafe.Pointer(k.rwWriter)))
	object("waitgroup", "sync.WaitGroup", unsafe.Pointer(k.wg), "counter=2 waiters=1")
	object("cond", "sync.Cond", unsafe.Pointer(k.c), "waiters=2 L=%s", hex(unsafe.Pointer(&k.cond.mu)))
	object("once", "sync.Once", unsafe.Pointer(k.onceV), "running, one second caller")
	object("chan.sendFull", "chan int", *(*unsafe.Pointer)(unsafe.Pointer(&k.sendFull)), "len=2 cap=2 items=11,12 senders-waiting=13")
	for i, v := range k.finals {
		object("finaliser", "main.finalised", unsafe.Pointer(v), "id=%d", i)
	}
	object("keep", "struct", unsafe.Pointer(&keep), "package variable main.keep")

	n += 3
	go busyPlain(&k.busy[0])
	go busyPlain(&k.busy[1])
	go busyCalls(&k.busy[2])
	settle(n)
	truthf("thread main-tid=%d", syscall.Gettid())
	site("abort.caller")
	finish(true, func() {
		go neverRan()
		go neverRan()
		go neverRan()
	})
}
