// Types and variables that several modes use.

package main

import (
	"net"
	"os"
	"strconv"
	"sync"
	"time"
	"unsafe"
)

// Types that several modes use

type counter struct {
	name string
	mu   sync.Mutex
	n    int64
	rw   sync.RWMutex
}

type waiter interface{ wait(ch chan int) int }

type outer struct {
	tag string
	*counter
}

type codedError struct {
	Code int
	Msg  string
}

func (e *codedError) Error() string { return "coded error " + strconv.Itoa(e.Code) + ": " + e.Msg }

type valueError struct{ Reason string }

func (e valueError) Error() string { return "value error: " + e.Reason }

//go:noinline
func (c *counter) wait(ch chan int) int {
	enter("method.wait", "chan receive", hex(unsafe.Pointer(*(**byte)(unsafe.Pointer(&ch)))))
	return int(c.n) + <-ch
}

//go:noinline
func (c *counter) add(n int64) { c.n += n }

//go:noinline
func (c *counter) spawn(ch chan int) {
	base := c.n
	func() {
		go func() {
			enter("closure.nested", "chan receive", chanAddr(ch))
			base += int64(<-ch)
		}()
	}()
}

func chanAddr(ch chan int) string { return hex(*(*unsafe.Pointer)(unsafe.Pointer(&ch))) }

// Everything that must stay reachable.
var keep struct {
	recv, recvBuf, send, sendFull, sel1, sel2, sel3, misc, once, hold, never chan int

	mutex, cond, onceC *counter
	rwReaders          *counter
	rwWriter           *counter
	wg                 *sync.WaitGroup
	c                  *sync.Cond
	onceV              *sync.Once
	timer              *time.Timer
	after              *time.Timer
	ticker             *time.Ticker
	pipe               [2]int
	ln                 net.Listener
	conns              []net.Conn
	udp                *net.UDPConn
	osr, osw           *os.File
	finals             []*finalised
	busy               [4]uint64
	any                []interface{}
}

type finalised struct {
	id  int
	buf []byte
}
