//go:build go1.23
// +build go1.23

// Goroutines that range over functions: compiled with Go 1.23 and later.

package main

func three(yield func(int) bool) {
	_ = yield(10) && yield(11) && yield(12)
}

//go:noinline
func deferRange() {
	defer note(1)
	for i := range three {
		defer note(i)
	}
	enter("defer.range pending=4", "chan receive; note(1), and note(10) note(11) note(12) deferred by the body of a range over a function", "0x0")
	<-keep.misc
}

//go:noinline
func deferRangeInside() {
	for i := range three {
		defer note(i)
		if i == 11 {
			enter("defer.range.inside pending=2", "chan receive inside the body of a range over a function; note(10) note(11)", "0x0")
			<-keep.misc
		}
	}
}

func init() { extraWaits = append(extraWaits, deferRange, deferRangeInside) }
