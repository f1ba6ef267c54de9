/* A library without unwind tables, as musl is built: tests/e2e/test_no_cfi.py compiles it that way. */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

volatile int sink;

__attribute__((noinline)) static void give_up(int why) {
    volatile char pad[40];
    pad[why & 31] = 1;
    abort();
}

/* Its way from the call to the return has branches, calls and a loop; what it pushes holds no return address. */
__attribute__((noinline)) static int settle(int a, int b, int c) {
    int sum = 0;
    for (int i = 0; i < a; ++i) sum += getpid() + b;
    if (sum == c) give_up(sum);
    kill(getpid(), SIGQUIT);
    for (int i = 0; i < b; ++i) sum += getpid() * c;
    sink = sum;
    return sum + a;
}

/* Stale return addresses on the stack are no frames. */
__attribute__((noinline)) static int leave_words(int n) {
    volatile long pad[64];
    for (int i = 0; i < 64; ++i) pad[i] = n;
    sink = getpid();
    return (int)pad[n & 63];
}

int lib_settle(int a) {
    long room[40];
    leave_words(a);
    sink = room[a & 31] > 0;
    return settle(a, a + 1, a + 2) + 1;
}

int lib_give_up(int why) {
    give_up(why);
    return 1;
}
