// An iter.Pull whose next and stop nobody has any more, beside one that will be stopped: `pulled bad|good`.
package main

import (
	"iter"
	"os"
	"runtime"
	"syscall"
	"time"
)

type table struct{ rows []int }

func (t *table) all() iter.Seq[int] {
	return func(yield func(int) bool) {
		for _, row := range t.rows {
			if !yield(row) {
				return
			}
		}
	}
}

//go:noinline
func first(t *table, keep bool) {
	next, stop := iter.Pull(t.all())
	next()
	if keep {
		time.Sleep(time.Hour)
		stop()
	}
}

func main() {
	go first(&table{rows: []int{1, 2}}, os.Args[1] == "good")
	time.Sleep(50 * time.Millisecond)
	runtime.GC()
	syscall.Kill(syscall.Getpid(), syscall.SIGABRT)
	time.Sleep(time.Hour)
}
