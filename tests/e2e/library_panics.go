// Panics inside of the standard library that the program's own mistakes lead to: library_panics HOW.
package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
)

type tree struct {
	mu sync.RWMutex
	n  int
}

func (t *tree) walk() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.n
}

//go:noinline
func pad(n int) string { return strings.Repeat("x", n) }

// Tells everybody whose request it was, and panics again.
//
//go:noinline
func handle(t *tree) {
	defer func() {
		if r := recover(); r != nil {
			panic(fmt.Errorf("request 7: %v", r))
		}
	}()
	t.walk()
}

func main() {
	switch os.Args[1] {
	case "nil":
		(*tree)(nil).walk()
	case "again":
		handle(nil)
	case "repeat":
		pad(-1)
	}
}
