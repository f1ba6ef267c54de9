//go:build go1.21
// +build go1.21

// runtime.Pinner: C may keep the pointer as long as the object is pinned. Healthy.

package main

/*
#include <stdint.h>
static void *g_pinned;
static void c_keep_pinned(uintptr_t p) { g_pinned = (void *)p; }
static void *c_where_pinned(void) { return &g_pinned; }
*/
import "C"

import (
	"runtime"
	"unsafe"
)

var pinner runtime.Pinner

func init() {
	add("pinned", func() {
		elsewhere(func() {
			s := newSession()
			pinner.Pin(s)
			C.c_keep_pinned(C.uintptr_t(uintptr(unsafe.Pointer(s))))
			object("g_pinned", "void *", C.c_where_pinned(), "symbol=g_pinned value=%s pinned", hex(unsafe.Pointer(s)))
		})
		collect()
		healthy()
	})
}
