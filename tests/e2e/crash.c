/* One way to die per argument; tests/e2e/test_native.py says what each must be called. */
#define _GNU_SOURCE
#include <assert.h>
#include <emmintrin.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct node {
    volatile int id;
    struct node* volatile next;
};

static const char constant[] = "constant";

int depth(int n) {
    char pad[256];
    memset(pad, n, sizeof pad);
    return depth(n + 1) + pad[n & 255];
}

int walk(struct node* n) {
    int sum = 0;
    for (;;) {
        sum += n->id;
        n = n->next;
    }
    return sum;
}

void give_up(int number) { abort(); }

void send_again(int number) {
    signal(number, SIG_DFL);
    raise(number);
}

void handle_on_own_stack(void (*handler)(int)) {
    stack_t own = {.ss_sp = malloc(1 << 16), .ss_size = 1 << 16};
    sigaltstack(&own, 0);
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
    sigaction(SIGSEGV, &action, 0);
}

int large_frame(void) {
    volatile char local[16 << 20];
    local[0] = 1;
    return local[0];
}

int main(int argc, char** argv) {
    const char* how = argc > 1 ? argv[1] : "";
    if (!strcmp(how, "nil")) {
        struct node last = {1, 0};
        return walk(&last);
    }
    if (!strcmp(how, "overflow")) return depth(0);
    if (!strcmp(how, "read-only")) *(volatile char*)constant = 'x';
    if (!strcmp(how, "non-canonical")) return ((struct node*)0x4141414141414141)->id;
    if (!strcmp(how, "nil-call")) ((void (*volatile)(void))0)();
    if (!strcmp(how, "assert")) assert(argc > 5);
    if (!strcmp(how, "double-free")) {
        char* volatile p = malloc(16);
        free(p);
        free(p);
    }
    if (!strcmp(how, "abort")) abort();
    if (!strcmp(how, "guard")) return *(volatile char*)mmap(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!strcmp(how, "unmapped")) return *(volatile int*)0x123456789000;
    if (!strcmp(how, "free-middle")) {
        char *volatile p = malloc(256);
        free(p + 32);
    }
    if (!strcmp(how, "free-number")) free((void *)1);
    if (!strcmp(how, "free-unmapped")) {
        char *volatile p = malloc(1 << 20);
        free(p);
        free(p);
    }
    if (!strcmp(how, "free-top")) {
        char *volatile p = malloc(20000);
        free(p);
        free(p);
    }
    if (!strcmp(how, "large-frame")) return large_frame();
    if (!strcmp(how, "misaligned")) {
        char* volatile p = malloc(64);
        __asm__ volatile("movdqa (%0), %%xmm0" ::"r"(p + 4) : "xmm0");
    }
    if (!strcmp(how, "wild-call")) ((void (*volatile)(void))0x4141414141414140)();
    if (!strcmp(how, "low-call")) ((void (*volatile)(void))0x1234)();
    if (!strcmp(how, "data-call")) ((void (*volatile)(void))(void*)constant)();
    if (!strcmp(how, "trap")) __builtin_trap();
    if (!strcmp(how, "privileged")) __asm__ volatile("hlt");
    if (!strcmp(how, "raise")) raise(SIGSEGV);
    if (!strcmp(how, "handled-nil")) {
        struct node last = {1, 0};
        signal(SIGSEGV, give_up);
        return walk(&last);
    }
    if (!strcmp(how, "handled-overflow")) {
        handle_on_own_stack(give_up);
        return depth(0);
    }
    if (!strcmp(how, "sent-again")) {
        struct node last = {1, 0};
        signal(SIGSEGV, send_again);
        return walk(&last);
    }
    if (!strcmp(how, "division-overflow")) {
        volatile int least = -2147483647 - 1, minus = -1;
        return least / minus;
    }
    if (!strcmp(how, "division")) {
        volatile int zero = 0;
        return 5 / zero;
    }
    return 0;
}
