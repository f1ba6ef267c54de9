// Healthy maps whose cells are hard to tell from those of other map types of the program: arrays just above a size class
// (520 B groups, eight of them in 4864 B, where 584 B ones fit as well), and types that reflect makes at run time.
package main

import (
	"fmt"
	"os"
	"reflect"
	"runtime/pprof"
	"syscall"
	"time"
)

type slot struct {
	name, kind  *int
	offset      int
	split       *int
	splitOffset int
}

type wide struct{ words [8]int }

var (
	n       = new(int)
	slots   []map[slot][]*int
	decoy   = map[uintptr][8]*int{}
	made    []reflect.Value
	profile = pprof.StartCPUProfile // its maps are the decoys
)

func main() {
	for m := 0; m < 400; m++ {
		one := map[slot][]*int{}
		for i := 0; i < 57+m%50; i++ {
			one[slot{n, n, i, nil, m}] = []*int{n}
		}
		for i := 0; i < 40; i++ { // a table never shrinks
			delete(one, slot{n, n, i, nil, m})
		}
		slots = append(slots, one)
	}
	for words := 1; words < 24; words++ {
		t := reflect.MapOf(reflect.TypeOf(0), reflect.ArrayOf(words, reflect.TypeOf(n)))
		for m := 0; m < 20; m++ {
			v := reflect.MakeMap(t)
			for i := 0; i < 17+m*7; i++ {
				v.SetMapIndex(reflect.ValueOf(i), reflect.New(t.Elem()).Elem())
			}
			made = append(made, v)
		}
	}
	decoy[1] = [8]*int{n}
	fmt.Println(len(slots), len(made), decoy, profile != nil, wide{})
	_ = syscall.Kill(os.Getpid(), syscall.SIGABRT)
	time.Sleep(time.Minute) // select {} would be a deadlock, and two deaths at once
}
