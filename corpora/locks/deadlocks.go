// Deadlocks among the living: a goroutine that waits for itself, and cycles of two, three and through a channel.

package main

import (
	"sync"
	"time"
	"unsafe"
)

//go:noinline
func (l *ledger) audit() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.recount()
	l.total++
}

//go:noinline
func (l *ledger) recount() {
	l.mu.Lock()
	l.total = 0
	l.mu.Unlock()
}

//go:noinline
func (l *ledger) auditPlain() {
	l.mu.Lock()
	l.recount()
	l.total++
	l.mu.Unlock()
}

//go:noinline
func (l *ledger) deferLock() {
	l.mu.Lock()
	defer l.mu.Lock() // meant: Unlock
	l.total++
}

//go:noinline
func restock() {
	stockMu.Lock()
	takeStock(1)
	stockMu.Unlock()
}

//go:noinline
func (b *book) upgrade() {
	b.rw.RLock()
	defer b.rw.RUnlock()
	if b.pages == 0 {
		b.rw.Lock()
		b.pages = 1
		b.rw.Unlock()
	}
}

//go:noinline
func (b *book) readTwice(first, second chan bool) int64 {
	b.rw.RLock()
	defer b.rw.RUnlock()
	first <- true
	<-second
	return b.read(1)
}

//go:noinline
func (b *book) readTwicePlain(first, second chan bool) { // two RUnlocks follow the wait, one of them for a lock held
	b.rw.RLock()
	first <- true
	<-second
	b.rw.RLock()
	sink += b.pages
	b.rw.RUnlock()
	b.rw.RUnlock()
}

// onceInside asks for itself while it is being made: Do waits for the Do that runs it.
type onceInside struct {
	once  sync.Once
	value int64
}

var theInside onceInside

func (o *onceInside) get() int64 {
	o.once.Do(o.fill)
	return o.value
}

//go:noinline
func (o *onceInside) fill() { o.value = o.get() + 1 }

type account struct {
	id      int64
	mu      sync.Mutex
	balance int64
}

var accounts = [4]*account{{id: 0}, {id: 1}, {id: 2}, {id: 3}}

var (
	frontMu, backMu sync.Mutex
	front, back     int64
)

//go:noinline
func transfer(name string, from, to *account, got, goOn chan bool) {
	from.mu.Lock()
	defer from.mu.Unlock()
	got <- true
	<-goOn
	enter(name, "sync.Mutex.Lock | semacquire", hex(unsafe.Pointer(&to.mu)))
	to.mu.Lock()
	defer to.mu.Unlock()
	from.balance--
	to.balance++
}

//go:noinline
func transferPlain(name string, from, to *account, got, goOn chan bool) {
	from.mu.Lock()
	got <- true
	<-goOn
	enter(name, "sync.Mutex.Lock | semacquire", hex(unsafe.Pointer(&to.mu)))
	to.mu.Lock()
	from.balance--
	to.balance++
	to.mu.Unlock()
	from.mu.Unlock()
}

//go:noinline
func frontToBack(name string, got, goOn chan bool) {
	frontMu.Lock()
	got <- true
	<-goOn
	enter(name, "sync.Mutex.Lock | semacquire", hex(unsafe.Pointer(&backMu)))
	backMu.Lock()
	front, back = front-1, back+1
	backMu.Unlock()
	frontMu.Unlock()
}

//go:noinline
func backToFront(name string, got, goOn chan bool) {
	backMu.Lock()
	got <- true
	<-goOn
	enter(name, "sync.Mutex.Lock | semacquire", hex(unsafe.Pointer(&frontMu)))
	frontMu.Lock()
	front, back = front+1, back-1
	frontMu.Unlock()
	backMu.Unlock()
}

// cycle starts n goroutines that each hold one lock, and lets them go on when all have it.
func cycle(n int, start func(i int, got, goOn chan bool)) {
	got, goOn := make(chan bool), make(chan bool)
	for i := 0; i < n; i++ {
		start(i, got, goOn)
		<-got
	}
	close(goOn)
	settle(int32(n))
}

//go:noinline
func sendLocked(a *account, c chan int64) { // holds the lock until somebody receives
	a.mu.Lock()
	defer a.mu.Unlock()
	enter("sender", "chan send", chanAddr(c))
	c <- a.balance
}

//go:noinline
func lockThenReceive(a *account, c chan int64) { // the only receiver wants the lock first
	enter("receiver", "sync.Mutex.Lock | semacquire", hex(unsafe.Pointer(&a.mu)))
	a.mu.Lock()
	sink += <-c
	a.mu.Unlock()
}

func chanAddr(c chan int64) string { return hex(*(*unsafe.Pointer)(unsafe.Pointer(&c))) }

func accountObject(i int, waiters string) {
	mutexObject("account"+string(rune('0'+i))+".mu", &accounts[i].mu, 1|1<<3, unsafe.Pointer(accounts[i]), waiters)
}

func init() {
	self := func(mode string, f func(l *ledger), why string) {
		add(mode, func() {
			go func() {
				enter("self", "sync.Mutex.Lock | semacquire", mu(theLedger))
				f(theLedger)
			}()
			settle(1)
			mutexObject("theLedger.mu", &theLedger.mu, 1|1<<3, unsafe.Pointer(theLedger), "holder=self waiters-names=self")
			planted("go.mutex.self-deadlock", "theLedger.mu", why)
		})
	}
	self("self_nested", (*ledger).audit, "audit holds it with a deferred Unlock and calls recount, which locks it again")
	self("self_nested_plain", (*ledger).auditPlain, "auditPlain holds it without defer and calls recount, which locks it again")
	self("self_defer_lock", (*ledger).deferLock, "defer mu.Lock() where Unlock was meant")
	add("self_global", func() {
		go func() {
			enter("self", "sync.Mutex.Lock | semacquire", hex(unsafe.Pointer(&stockMu)))
			restock()
		}()
		settle(1)
		mutexObject("stockMu", &stockMu, 1|1<<3, nil, "holder=self waiters-names=self")
		planted("go.mutex.self-deadlock", "stockMu", "restock holds it and calls takeStock, which locks it again")
	})
	add("rw_upgrade", func() {
		go func() {
			enter("self", "sync.RWMutex.Lock | semacquire", hex(unsafe.Pointer(&theBook.rw)))
			theBook.upgrade()
		}()
		settle(1)
		rwObject("theBook.rw", &theBook.rw, 1, writerPending+1, 1, unsafe.Pointer(theBook), "holder=self waiters-names=self")
		planted("go.mutex.self-deadlock", "theBook.rw", "upgrade holds a read lock and asks for the write lock")
	})
	add("rw_recursive", func() {
		first, second := make(chan bool), make(chan bool)
		go func() {
			enter("self", "sync.RWMutex.RLock | semacquire", hex(unsafe.Pointer(&theBook.rw)))
			sink += theBook.readTwice(first, second)
		}()
		<-first
		go bookWriter("writer1", theBook, 1)
		settle(2)
		second <- true
		rwObject("theBook.rw", &theBook.rw, 1, writerPending+2, 1, unsafe.Pointer(theBook), "holder=self waiters-names=self,writer1")
		planted("go.mutex.self-deadlock", "theBook.rw", "a second RLock behind a waiting writer, in the goroutine that the writer waits for")
	})
	add("rw_recursive_plain", func() {
		first, second := make(chan bool), make(chan bool)
		go func() {
			enter("self", "sync.RWMutex.RLock | semacquire", hex(unsafe.Pointer(&theBook.rw)))
			theBook.readTwicePlain(first, second)
		}()
		<-first
		go bookWriter("writer1", theBook, 1)
		settle(2)
		second <- true
		rwObject("theBook.rw", &theBook.rw, 1, writerPending+2, 1, unsafe.Pointer(theBook), "holder=self waiters-names=self,writer1")
		planted("go.mutex.self-deadlock", "theBook.rw", "a second RLock behind a waiting writer; both RUnlocks follow without defer")
	})
	add("self_once", func() {
		mu := (*sync.Mutex)(unsafe.Pointer(uintptr(unsafe.Pointer(&theInside.once)) + 4)) // behind done
		go func() {
			enter("self", "sync.Mutex.Lock | semacquire", hex(unsafe.Pointer(mu)))
			sink += theInside.get()
		}()
		settle(1)
		mutexObject("theInside.once.m", mu, 1|1<<3, nil, "holder=self waiters-names=self")
		planted("go.mutex.self-deadlock", "theInside.once.m", "the function that Do runs calls Do of the same Once")
	})
	add("cycle2", func() {
		cycle(2, func(i int, got, goOn chan bool) {
			go transfer([]string{"debit", "credit"}[i], accounts[i], accounts[1-i], got, goOn)
		})
		accountObject(0, "holder=debit waiters-names=credit")
		accountObject(1, "holder=credit waiters-names=debit")
		planted("lock.cycle", "account0.mu,account1.mu", "goroutines=debit,credit edges=debit>account1.mu>credit,credit>account0.mu>debit")
	})
	add("cycle2_plain", func() {
		cycle(2, func(i int, got, goOn chan bool) {
			go transferPlain([]string{"debit", "credit"}[i], accounts[i], accounts[1-i], got, goOn)
		})
		accountObject(0, "holder=debit waiters-names=credit")
		accountObject(1, "holder=credit waiters-names=debit")
		planted("lock.cycle", "account0.mu,account1.mu", "goroutines=debit,credit edges=debit>account1.mu>credit,credit>account0.mu>debit")
	})
	add("cycle2_global", func() {
		cycle(2, func(i int, got, goOn chan bool) {
			if i == 0 {
				go frontToBack("fronter", got, goOn)
			} else {
				go backToFront("backer", got, goOn)
			}
		})
		mutexObject("frontMu", &frontMu, 1|1<<3, nil, "holder=fronter waiters-names=backer")
		mutexObject("backMu", &backMu, 1|1<<3, nil, "holder=backer waiters-names=fronter")
		planted("lock.cycle", "frontMu,backMu", "goroutines=fronter,backer edges=fronter>backMu>backer,backer>frontMu>fronter")
	})
	add("cycle3", func() {
		cycle(3, func(i int, got, goOn chan bool) {
			go transfer([]string{"first", "second", "third"}[i], accounts[i], accounts[(i+1)%3], got, goOn)
		})
		accountObject(0, "holder=first waiters-names=third")
		accountObject(1, "holder=second waiters-names=first")
		accountObject(2, "holder=third waiters-names=second")
		planted("lock.cycle", "account0.mu,account1.mu,account2.mu", "goroutines=first,second,third edges=first>account1.mu>second,second>account2.mu>third,third>account0.mu>first")
	})
	add("cycle_chan", func() {
		c := make(chan int64)
		go sendLocked(accounts[0], c)
		settle(1)
		go lockThenReceive(accounts[0], c)
		settle(2)
		accountObject(0, "holder=sender waiters-names=receiver")
		object("c", "chan int64", *(*unsafe.Pointer)(unsafe.Pointer(&c)), "len=0 cap=0 senders-names=sender")
		planted("lock.cycle", "account0.mu,c", "goroutines=sender,receiver edges=receiver>account0.mu>sender,sender>c>receiver")
	})
	add("bad_unlock", func() {
		truthf("expect finding=go.mutex.bad-unlock message=%q function=main.(*ledger).unlockTwice", "sync: unlock of unlocked mutex")
		object("theLedger.mu", "sync.Mutex", unsafe.Pointer(&theLedger.mu), "dies of its second Unlock")
		dies("culprit", func() { theLedger.unlockTwice() })
	})
	add("bad_runlock", func() {
		truthf("expect finding=go.mutex.bad-unlock message=%q function=main.(*book).runlock", "sync: RUnlock of unlocked RWMutex")
		object("theBook.rw", "sync.RWMutex", unsafe.Pointer(&theBook.rw), "dies of an RUnlock")
		dies("culprit", func() { theBook.runlock() })
	})
}

//go:noinline
func (l *ledger) unlockTwice() {
	l.mu.Lock()
	l.total++
	l.mu.Unlock()
	l.mu.Unlock()
}

//go:noinline
func (b *book) runlock() { b.rw.RUnlock() }

// dies runs f in a goroutine of its own, after the truth is written; f ends the process.
func dies(name string, f func()) {
	go func() {
		enter(name, "dies", "0x0")
		writeTruth()
		f()
	}()
	for {
		time.Sleep(time.Second)
	}
}
