// A Go program whose C library makes a thread of its own, which dies: tests/e2e/test_foreign_thread.py.
package main

/*
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static volatile int *nothing;

__attribute__((noinline)) static void give_up(void) { abort(); }
__attribute__((noinline)) static void read_null(void) { *nothing = 1; }

static void *work(void *how) {
    if (strcmp(how, "abort") == 0) give_up();
    read_null();
    return 0;
}

static void run(char *how) {
    pthread_t thread;
    pthread_create(&thread, 0, work, how);
    pthread_join(thread, 0);
}
*/
import "C"

import "os"

func main() { C.run(C.CString(os.Args[1])) }
