// An allocation that has taken a slot and not cleared it yet: the slot holds what its last owner left.
package main

import (
	"os"
	"runtime"
	"time"
)

type leaf struct{ words [12]uintptr }

// Small: its pointers are in the span's bitmap. Large: a header in front names its type.
type small struct{ to [8]*leaf }
type large struct {
	to   [8]*leaf
	rest [90]uintptr
}

var (
	smalls []*small
	noise  [][]byte
	sink   any
)

//go:noinline
func want(what string) {
	for range 1000 { // none of them has to be cleared while the pages are new
		switch what {
		case "small":
			sink = new(small)
		case "large":
			sink = new(large)
		}
	}
}

//go:noinline
func smallsLeft() {
	for range 4000 {
		s := new(small)
		for i := range s.to {
			s.to[i] = new(leaf)
		}
		smalls = append(smalls, s)
	}
	// Every second one goes, and with all of them what they pointed to: the spans stay.
	kept := smalls[:0]
	for i, s := range smalls {
		if i%2 == 0 {
			*s = small{}
			kept = append(kept, s)
		}
	}
	clear(smalls[len(kept):])
	smalls = kept
}

//go:noinline
func noiseLeft() {
	for range 40000 {
		b := make([]byte, 896)
		for i := range b {
			b[i] = 0xab
		}
		noise = append(noise, b)
	}
	noise = nil
}

func main() {
	what := os.Args[1]
	if what == "small" {
		smallsLeft()
	} else {
		noiseLeft()
	}
	runtime.GC()
	runtime.GC()
	time.Sleep(50 * time.Millisecond)
	want(what)
}
