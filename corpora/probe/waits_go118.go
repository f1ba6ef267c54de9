//go:build go1.18
// +build go1.18

// Goroutines that need type parameters: compiled with Go 1.18 and later.

package main

import "unsafe"

type box[T any] struct {
	val  T
	next *box[T]
}

//go:noinline
func (b *box[T]) wait(ch chan int) T {
	enter("generic.method", "chan receive", hex(unsafe.Pointer(b)))
	<-ch
	return b.val
}

//go:noinline
func waitGeneric[K comparable, V any](m map[K]V, k K, ch chan int) V {
	enter("generic.function", "chan receive", chanAddr(ch))
	func() { <-ch }()
	return m[k]
}

func init() {
	extraWaits = append(extraWaits,
		func() { sink += (&box[int]{val: 5}).wait(keep.misc) },
		func() { sink += len((&box[string]{val: "boxed"}).wait(keep.misc)) },
		func() { sink += int(waitGeneric(map[pairKey]float64{{1, "one"}: 1.5}, pairKey{1, "one"}, keep.misc)) })
}
