// C keeps pointers to Go objects, in one table of many words: tests/e2e/test_strangers_cxx.py.
package main

/*
#include <stdlib.h>

void *table[40];
struct item { int id; void *obj; char name[24]; };
static struct { struct item *items; int n, capacity; } queue;
struct listener { void *user; struct listener *next; } *listeners;

static void in_table(int i, void *obj) { table[i] = obj; }
static void in_array(int i, void *obj) {
    if (queue.n == queue.capacity) {
        queue.capacity = queue.capacity ? queue.capacity * 2 : 4;
        queue.items = realloc(queue.items, queue.capacity * sizeof *queue.items);
    }
    queue.items[queue.n].id = i;
    queue.items[queue.n++].obj = obj;
}
static void in_list(int i, void *obj) {
    struct listener *l = malloc(sizeof *l);
    l->user = obj;
    l->next = listeners;
    listeners = l;
}
// What was taken out of the array lies behind its end still.
static void take_all_but(int n) { queue.n = n; }
static int give_up(void) { abort(); }
*/
import "C"

import (
	"os"
	"runtime"
	"unsafe"
)

type conn struct {
	id  int
	buf [120]byte
}

var kept [12]*conn
var keptAll *[4096]*conn
var last *conn

//go:noinline
func hand_over(how string, keep int) {
	for i := 0; i < 12; i++ {
		for j := 0; j < 200; j++ {
			last = new(conn) // no page has two of the twelve
		}
		c := &conn{id: i}
		if i < keep {
			kept[i] = c
		}
		switch how {
		case "table":
			C.in_table(C.int(i), unsafe.Pointer(c))
		case "array":
			C.in_array(C.int(i), unsafe.Pointer(c))
		case "list":
			C.in_list(C.int(i), unsafe.Pointer(c))
		}
	}
}

//go:noinline
func scrub(n int) int {
	var room [512]int
	for i := range room {
		room[i] = n
	}
	return room[n%512]
}

// Objects whose pages serve as goroutines' stacks by now; half of these goroutines are gone as well.
func under_stacks(keep int) {
	all := new([4096]*conn)
	if keep > 0 {
		keptAll = all
	}
	for i := range all {
		all[i] = &conn{id: i}
	}
	for i := 0; i < 32; i++ {
		C.in_table(C.int(i), unsafe.Pointer(all[i*128]))
	}
}

func stacks() {
	end := make(chan bool)
	for i := 0; i < 2000; i++ {
		go func() {
			if <-end {
				select {}
			}
		}()
	}
	for i := 0; i < 2000; i++ {
		end <- i%2 == 0
	}
	for runtime.NumGoroutine() > 1001 {
		runtime.Gosched()
	}
}

func main() {
	keep := 0
	if os.Args[2] == "good" {
		keep = 12
	}
	if os.Args[2] == "shrunk" {
		keep = 5
	}
	if os.Args[1] == "stacks" {
		under_stacks(keep)
	}
	hand_over(os.Args[1], keep)
	if os.Args[2] == "shrunk" {
		C.take_all_but(5)
	}
	for i := 0; i < 3; i++ {
		scrub(i)
		runtime.GC()
	}
	if os.Args[1] == "stacks" {
		stacks()
	}
	C.give_up()
	runtime.KeepAlive(&kept)
	runtime.KeepAlive(keptAll)
	runtime.KeepAlive(last)
}
