// A Go library for a C program: each has a runtime of its own.
package main

import "C"

import (
	"sync"
	"time"
)

var (
	mu   sync.Mutex
	many int
)

//export Take
func Take() { mu.Lock() }

//export Give
func Give() { mu.Unlock() }

//export Work
func Work() {
	mu.Lock()
	many++
	mu.Unlock()
}

//export Lose
func Lose() {
	var lost sync.Mutex
	lost.Lock()
	go lost.Lock()
	time.Sleep(time.Hour)
}

//export Die
func Die() {
	go func() {
		var nowhere *int
		*nowhere = 1
	}()
	time.Sleep(time.Hour)
}

func main() {}
