/* One way to die per argument; tests/e2e/test_native.py says what each must be called. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct node {
    volatile int id;
    struct node *volatile next;
};

static const char constant[] = "constant";

int depth(int n) {
    char pad[256];
    memset(pad, n, sizeof pad);
    return depth(n + 1) + pad[n & 255];
}

int walk(struct node *n) {
    int sum = 0;
    for (;;) {
        sum += n->id;
        n = n->next;
    }
    return sum;
}

int main(int argc, char **argv) {
    const char *how = argc > 1 ? argv[1] : "";
    if (!strcmp(how, "nil")) {
        struct node last = {1, 0};
        return walk(&last);
    }
    if (!strcmp(how, "overflow")) return depth(0);
    if (!strcmp(how, "read-only")) *(volatile char *)constant = 'x';
    if (!strcmp(how, "non-canonical")) return ((struct node *)0x4141414141414141)->id;
    if (!strcmp(how, "nil-call")) ((void (*volatile)(void))0)();
    if (!strcmp(how, "assert")) assert(argc > 5);
    if (!strcmp(how, "double-free")) {
        char *volatile p = malloc(16);
        free(p);
        free(p);
    }
    if (!strcmp(how, "abort")) abort();
    if (!strcmp(how, "guard")) return *(volatile char *)mmap(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!strcmp(how, "unmapped")) return *(volatile int *)0x123456789000;
    if (!strcmp(how, "division")) {
        volatile int zero = 0;
        return 5 / zero;
    }
    return 0;
}
