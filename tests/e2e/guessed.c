/* A stack with code made at run time in it, which has no unwind tables and no frame pointer: above its frame stand the
   return addresses of calls that are over, whose frames hold other words by now. tests/e2e/test_healthy.py */
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void* stale[2];
volatile int sink;

__attribute__((noinline)) static void note(void) { stale[0] = __builtin_return_address(0); }
__attribute__((noinline)) static void inner(void) {
    stale[1] = __builtin_return_address(0);
    note();
    ++sink;
}
__attribute__((noinline)) static void outer(void) {
    inner();
    ++sink;
}

static void end(void) { kill(getpid(), SIGABRT); }

int main(void) {
    outer();
    unsigned char* code = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char* at = code;
    void* target = (void*)end;
    memcpy(at, "\x55\x31\xed\x48\x81\xec\x00\x10\x00\x00", 10), at += 10; /* push rbp; xor ebp, ebp; sub rsp, 0x1000 */
    for (int i = 0; i < 64; ++i) {
        /* mov [rsp + 8 * i], rsp: an address of the stack, where a return address would be */
        unsigned offset = 8 * i;
        memcpy(at, "\x48\x89\xa4\x24", 4), memcpy(at + 4, &offset, 4), at += 8;
    }
    for (int i = 0; i < 2; ++i) {
        unsigned offset = 0x10 + 8 * i;
        memcpy(at, "\x48\xb8", 2), memcpy(at + 2, &stale[i], 8), at += 10;          /* mov rax, stale[i] */
        memcpy(at, "\x48\x89\x84\x24", 4), memcpy(at + 4, &offset, 4), at += 8; /* mov [rsp + offset], rax */
    }
    memcpy(at, "\x48\xb8", 2), memcpy(at + 2, &target, 8), at += 10;
    memcpy(at, "\xff\xd0\x0f\x0b", 4);                                     /* call rax; ud2: no way to a return */
    ((void (*)(void))code)();
    return 0;
}
