//go:build go1.17
// +build go1.17

// cgo.Handle: C keeps a small integer, not a pointer. Healthy.

package main

/*
#include <stdint.h>
static uintptr_t g_handle;
static void c_keep_handle(uintptr_t h) { g_handle = h; }
*/
import "C"

import "runtime/cgo"

func init() {
	add("handle", func() {
		h := cgo.NewHandle(newSession())
		C.c_keep_handle(C.uintptr_t(h))
		collect()
		healthy()
	})
}
