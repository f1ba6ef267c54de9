// Healthy: locks that somebody else than the locker will unlock, locks on their way from one to the next, and crowds.

package main

import (
	"runtime"
	"sync"
	"time"
	"unsafe"
)

type job struct {
	id    int64
	entry *ledger // the lock is reached through here, and by no other word
	next  *job
}

//go:noinline
func (j *job) finish() {
	j.entry.total++
	j.entry.mu.Unlock()
}

//go:noinline
func lockJob(j *job) { j.entry.mu.Lock() }

// finisher knows the lock only through the job, and waits for a word that will come.
//
//go:noinline
func finisher(j *job, word chan int64) {
	enter("finisher", "chan receive", chanAddr(word))
	j.id += <-word
	j.finish()
}

//go:noinline
func queueFinisher(q chan *job) {
	enter("finisher", "sleep", "0x0")
	time.Sleep(time.Hour)
	for j := range q {
		j.finish()
	}
}

//go:noinline
func unlockLater(l *ledger) { l.mu.Unlock() }

//go:noinline
func lockBoth(p *twoLocks) {
	p.first.Lock()
	defer p.first.Unlock()
	enter("both", "sync.Mutex.Lock | semacquire", hex(unsafe.Pointer(&p.second)))
	p.second.Lock()
	defer p.second.Unlock()
	p.n++
}

//go:noinline
func holdSecond(p *twoLocks) {
	p.second.Lock()
	enter("holder", "sleep", hex(unsafe.Pointer(&p.second)))
	time.Sleep(time.Hour)
	p.second.Unlock()
}

type twoLocks struct {
	first, second sync.Mutex
	n             int
}

var theTwo = &twoLocks{}

// relock held the lock before and gave it back: its own waiting is no self-deadlock.
//
//go:noinline
func relock(l *ledger, released, goOn chan bool) {
	l.mu.Lock()
	l.total++
	l.mu.Unlock()
	released <- true
	<-goOn
	enter("waiter1", "sync.Mutex.Lock | semacquire", mu(l))
	l.postDeferred(1)
}

//go:noinline
func upgradeRight(b *book, released, goOn chan bool) {
	b.rw.RLock()
	empty := b.pages == 0
	b.rw.RUnlock()
	released <- true
	<-goOn
	enter("writer1", "sync.RWMutex.Lock | semacquire", hex(unsafe.Pointer(&b.rw)))
	if empty {
		b.rw.Lock()
		defer b.rw.Unlock()
		b.pages = 1
	}
}

//go:noinline
func slowReader(name string, b *book) {
	b.rw.RLock()
	defer b.rw.RUnlock()
	enter(name, "sleep", hex(unsafe.Pointer(&b.rw)))
	time.Sleep(time.Hour)
	sink += b.pages
}

//go:noinline
func slowReaderPlain(name string, b *book) {
	b.rw.RLock()
	enter(name, "sleep", hex(unsafe.Pointer(&b.rw)))
	time.Sleep(time.Hour)
	sink += b.pages
	b.rw.RUnlock()
}

//go:noinline
func slowShelfReader() {
	shelfMu.RLock()
	enter("holder", "sleep", hex(unsafe.Pointer(&shelfMu)))
	time.Sleep(time.Hour)
	sink += shelf
	shelfMu.RUnlock()
}

//go:noinline
func slowWriter(b *book) {
	b.rw.Lock()
	enter("holder", "sleep", hex(unsafe.Pointer(&b.rw)))
	time.Sleep(time.Hour)
	b.pages++
	b.rw.Unlock()
}

//go:noinline
func link(i int, own, next *account, got chan bool) {
	own.mu.Lock()
	defer own.mu.Unlock()
	if next == nil {
		enter("link"+itoa(i), "sleep", "0x0")
		got <- true
		time.Sleep(time.Hour)
		return
	}
	enter("link"+itoa(i), "sync.Mutex.Lock | semacquire", hex(unsafe.Pointer(&next.mu)))
	got <- true
	next.mu.Lock()
	defer next.mu.Unlock()
	own.balance++
}

func itoa(i int) string { return string([]byte{'0' + byte(i/10), '0' + byte(i%10)}) }

//go:noinline
func groupWorker(name string, g *group) {
	defer g.wg.Done()
	enter(name, "sleep", hex(unsafe.Pointer(&g.wg)))
	time.Sleep(time.Hour)
}

//go:noinline
func groupWorkerPlain(name string, g *group) {
	enter(name, "sleep", hex(unsafe.Pointer(&g.wg)))
	time.Sleep(time.Hour)
	g.job(1)
}

type board struct {
	mu    sync.Mutex
	cond  *sync.Cond
	ready bool
}

var theBoard = &board{}

//go:noinline
func (b *board) wait(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	enter(name, "sync.Cond.Wait", hex(unsafe.Pointer(b.cond)))
	for !b.ready {
		b.cond.Wait()
	}
}

//go:noinline
func (b *board) signalLater() {
	enter("signaller", "sleep", hex(unsafe.Pointer(b.cond)))
	time.Sleep(time.Hour)
	b.mu.Lock()
	b.ready = true
	b.mu.Unlock()
	b.cond.Broadcast()
}

var (
	theOnce  sync.Once
	keepJob  *job
	keepTime *time.Timer
	theQueue chan *job
	chain    []*account
	keepTok  *token
)

type token struct{ l *ledger }

//go:noinline
func holdToken(t *token) {
	enter("tokenholder", "sleep", "0x0")
	time.Sleep(time.Hour)
	runtime.KeepAlive(t)
}

func init() {
	ledgerHeld := func(rest string) {
		waiters(func(name string) { posterDeferred(name, theLedger, 1) })
		held("theLedger.mu", &theLedger.mu, unsafe.Pointer(theLedger), rest+threeRest)
	}
	add("handover_chan", func() {
		word := make(chan int64)
		go sendLater(word)
		settle(1)
		inGone(func() {
			j := &job{id: 1, entry: theLedger}
			lockJob(j)
			go finisher(j, word)
		})
		settle(2)
		ledgerHeld("holder=none releaser=finisher")
	})
	add("handover_queue", func() {
		theQueue = make(chan *job, 4)
		inGone(func() {
			j := &job{id: 1, entry: theLedger}
			lockJob(j)
			theQueue <- j
		})
		go queueFinisher(theQueue)
		settle(1)
		ledgerHeld("holder=none releaser=finisher (the job is queued in theQueue)")
	})
	add("handover_woken", func() { // unlocked, one waiter woken but not yet run: word 0x22
		inGone(func() { theLedger.mu.Lock() })
		for _, name := range []string{"waiter1", "waiter2", "waiter3", "waiter4", "waiter5"} {
			go posterDeferred(name, theLedger, 1)
		}
		settle(5)
		mutexObject("theLedger.mu", &theLedger.mu, 1|5<<3, unsafe.Pointer(theLedger), "holder=none at-the-end=unlocked,woken,waiters=4 word=0x22")
		healthy()
		runtime.GOMAXPROCS(1)
		last = func() { unlockLater(theLedger) } // nobody else can run before the end
	})
	add("starving", func() { // held, starving, one waiter: word 0xd
		go func() {
			theLedger.mu.Lock()
			defer theLedger.mu.Unlock()
			enter("holder", "sleep", mu(theLedger))
			for {
				theLedger.mu.Unlock() // a waiter wakes, finds it locked again, and starves
				theLedger.mu.Lock()
				time.Sleep(3 * time.Millisecond)
				if mutexState(&theLedger.mu)&4 != 0 {
					break
				}
			}
			time.Sleep(time.Hour)
		}()
		settle(1)
		go posterDeferred("waiter1", theLedger, 1)
		settle(2)
		mutexObject("theLedger.mu", &theLedger.mu, 1|4|1<<3, unsafe.Pointer(theLedger), "holder=holder basis=pending-defer waiters-names=waiter1")
		healthy()
	})
	add("unlock_timer", func() {
		inGone(func() {
			theLedger.mu.Lock()
			keepTime = time.AfterFunc(time.Hour, theLedger.mu.Unlock)
		})
		ledgerHeld("holder=none releaser=timer")
	})
	add("unlock_timer_closure", func() { // the timer is kept by the runtime only
		inGone(func() {
			j := &job{id: 1, entry: theLedger}
			lockJob(j)
			time.AfterFunc(time.Hour, func() { j.finish() })
		})
		ledgerHeld("holder=none releaser=timer")
	})
	add("unlock_unborn", func() { // go unlockLater: created, not yet run
		inGone(func() { theLedger.mu.Lock() })
		ledgerHeld("holder=none releaser=unborn goroutine main.unlockLater")
		runtime.GOMAXPROCS(1)
		last = func() { go unlockLater(theLedger) }
	})
	add("unlock_unborn_closure", func() {
		inGone(func() { takeStockEarly(-1) })
		waiters(func(name string) { taker(name, 1) })
		held("stockMu", &stockMu, nil, "holder=none releaser=unborn goroutine, a closure"+threeRest)
		runtime.GOMAXPROCS(1)
		last = func() {
			n := int64(3)
			go func() {
				stock += n
				stockMu.Unlock()
			}()
		}
	})
	add("unlock_finalizer", func() {
		keepTok = &token{theLedger}
		runtime.SetFinalizer(keepTok, func(t *token) { t.l.mu.Unlock() })
		inGone(func() { theLedger.mu.Lock() })
		go holdToken(keepTok)
		settle(1)
		keepTok = nil
		ledgerHeld("holder=none releaser=finalizer of main.token")
	})
	add("two_locks", func() { // two locks of one struct, the second held by another
		go holdSecond(theTwo)
		settle(1)
		go lockBoth(theTwo)
		settle(2)
		mutexObject("theTwo.first", &theTwo.first, 1, unsafe.Pointer(theTwo), "holder=both basis=pending-defer")
		mutexObject("theTwo.second", &theTwo.second, 1|1<<3, unsafe.Pointer(theTwo), "holder=holder basis=frame waiters-names=both")
		healthy()
	})
	add("relock", func() {
		released, goOn := make(chan bool), make(chan bool)
		go relock(theLedger, released, goOn)
		<-released
		go holdDefer(theLedger)
		settle(1)
		goOn <- true
		settle(2)
		mutexObject("theLedger.mu", &theLedger.mu, 1|1<<3, unsafe.Pointer(theLedger), "holder=holder basis=pending-defer waiters-names=waiter1")
		healthy()
	})
	add("upgrade_right", func() {
		released, goOn := make(chan bool), make(chan bool)
		go upgradeRight(theBook, released, goOn)
		<-released
		go slowReader("holder", theBook)
		settle(1)
		goOn <- true
		settle(2)
		rwObject("theBook.rw", &theBook.rw, 1, writerPending+1, 1, unsafe.Pointer(theBook), "holders=holder basis=pending-defer waiters-names=writer1")
		healthy()
	})
	add("rw_slow_reader", func() {
		go slowReader("holder", theBook)
		settle(1)
		go bookWriter("writer1", theBook, 1)
		settle(2)
		go bookReader("reader1", theBook)
		settle(3)
		rwObject("theBook.rw", &theBook.rw, 1, writerPending+2, 1, unsafe.Pointer(theBook), "holders=holder basis=pending-defer waiters-names=writer1,reader1")
		healthy()
	})
	add("rw_slow_reader_plain", func() {
		go slowReaderPlain("holder", theBook)
		settle(1)
		go bookWriter("writer1", theBook, 1)
		settle(2)
		go bookReader("reader1", theBook)
		settle(3)
		rwObject("theBook.rw", &theBook.rw, 1, writerPending+2, 1, unsafe.Pointer(theBook), "holders=holder basis=frame waiters-names=writer1,reader1")
		healthy()
	})
	add("rw_slow_reader_global", func() {
		go slowShelfReader()
		settle(1)
		go writeShelf("writer1")
		settle(2)
		rwObject("shelfMu", &shelfMu, 1, writerPending+1, 1, nil, "holders=holder basis=frame waiters-names=writer1")
		healthy()
	})
	add("rw_many_readers", func() {
		for i := 0; i < 20; i++ {
			go slowReader("holder"+itoa(i), theBook)
		}
		settle(20)
		go bookWriter("writer1", theBook, 1)
		settle(21)
		go bookReader("reader1", theBook)
		settle(22)
		rwObject("theBook.rw", &theBook.rw, 1, writerPending+21, 20, unsafe.Pointer(theBook), "holders=holder00..holder19 basis=pending-defer waiters-names=writer1,reader1")
		healthy()
	})
	add("rw_slow_writer", func() {
		go slowWriter(theBook)
		settle(1)
		go bookReader("reader1", theBook)
		go bookWriter("writer1", theBook, 1)
		settle(3)
		rwObject("theBook.rw", &theBook.rw, 1|1<<3, writerPending+1, 0, unsafe.Pointer(theBook), "holder=holder basis=frame waiters-names=reader1,writer1")
		healthy()
	})
	add("long_chain", func() { // twelve links, the last one asleep with its lock
		got := make(chan bool)
		for i := 0; i < 12; i++ {
			chain = append(chain, &account{id: int64(i)})
		}
		for i := 11; i >= 0; i-- {
			var next *account
			if i < 11 {
				next = chain[i+1]
			}
			go link(i, chain[i], next, got)
			<-got
			time.Sleep(2 * time.Millisecond)
		}
		settle(12)
		for i, a := range chain {
			state, rest := int32(1|1<<3), "holder=link"+itoa(i)+" basis=pending-defer waiters-names=link"+itoa(i+11)
			if i == 0 {
				state, rest = 1, "holder=link00 basis=pending-defer"
			} else {
				rest = "holder=link" + itoa(i) + " basis=pending-defer waiters-names=link" + itoa(i-1)
			}
			mutexObject("chain"+itoa(i)+".mu", &a.mu, state, unsafe.Pointer(a), rest)
		}
		healthy()
	})
	add("nested_order", func() { // both take first, then second, in the same order
		got := make(chan bool, 2)
		go link(1, accounts[1], nil, got)
		<-got
		go link(0, accounts[0], accounts[1], got)
		<-got
		settle(2)
		go func() {
			enter("link02", "sync.Mutex.Lock | semacquire", hex(unsafe.Pointer(&accounts[0].mu)))
			link(0, accounts[0], accounts[1], got)
		}()
		settle(3)
		mutexObject("account0.mu", &accounts[0].mu, 1|1<<3, unsafe.Pointer(accounts[0]), "holder=link00 basis=pending-defer waiters-names=link02")
		mutexObject("account1.mu", &accounts[1].mu, 1|1<<3, unsafe.Pointer(accounts[1]), "holder=link01 basis=pending-defer waiters-names=link00")
		healthy()
	})
	add("chan_live", func() { // as cycle_chan, but another goroutine will receive
		c := make(chan int64)
		go sendLocked(accounts[0], c)
		settle(1)
		go lockThenReceive(accounts[0], c)
		settle(2)
		go func() {
			enter("rescuer", "sleep", chanAddr(c))
			time.Sleep(time.Hour)
			sink += <-c
			sink += <-c
		}()
		settle(3)
		accountObject(0, "holder=sender basis=pending-defer waiters-names=receiver")
		healthy()
	})
	live := func(mode, basis string, worker func(string, *group)) {
		add(mode, func() {
			theGroup.wg.Add(2)
			go worker("worker1", theGroup)
			go worker("worker2", theGroup)
			go groupWaiter("waiter1", &theGroup.wg)
			settle(3)
			object("theGroup.wg", "sync.WaitGroup", unsafe.Pointer(&theGroup.wg), "counter=2 waiters=1 releasers=worker1,worker2 basis=%s waiters-names=waiter1", basis)
			healthy()
		})
	}
	live("waitgroup_live", "pending-defer", groupWorker)
	live("waitgroup_live_plain", "frame", groupWorkerPlain)
	add("cond_live", func() {
		theBoard.cond = sync.NewCond(&theBoard.mu)
		go theBoard.wait("waiter1")
		go theBoard.wait("waiter2")
		go theBoard.signalLater()
		settle(3)
		mutexObject("theBoard.mu", &theBoard.mu, 0, unsafe.Pointer(theBoard), "")
		object("theBoard.cond", "sync.Cond", unsafe.Pointer(theBoard.cond), "waiters=2 waiters-names=waiter1,waiter2 releaser=signaller")
		healthy()
	})
	add("once_slow", func() {
		go theOnce.Do(slowly)
		settle(1)
		go func() {
			enter("waiter1", "sync.Mutex.Lock | semacquire", hex(unsafe.Pointer(&theOnce)))
			theOnce.Do(slowly)
		}()
		settle(2)
		object("theOnce", "sync.Once", unsafe.Pointer(&theOnce), "running in holder, waiters-names=waiter1")
		healthy()
	})
}
