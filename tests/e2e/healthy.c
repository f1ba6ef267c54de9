/* Healthy programs that look ill; tests/e2e/test_healthy.py says what each is about. They abort, or are made to. */
#define _GNU_SOURCE
#include <elf.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

void* kept[12];

static void need(int holds, const char* what) {
    if (holds) return;
    fprintf(stderr, "not as planted: %s\n", what);
    exit(3);
}

/* A child is stopped at the instruction of malloc after which the top chunk has moved, and has no size yet. */
static void inside_malloc(void) {
    char* before = malloc(1000);
    pid_t child = fork();
    if (child == 0) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        kept[0] = malloc(1000);
        _exit(3);
    }
    char* chunk = before + 1008;
    int status;
    waitpid(child, &status, 0);
    for (int i = 0; i < 100000; ++i) {
        long size = ptrace(PTRACE_PEEKDATA, child, chunk - 8, 0);
        long top = ptrace(PTRACE_PEEKDATA, child, chunk + 1000, 0);
        if (size == 1009 && top == 0) {
            ptrace(PTRACE_DETACH, child, 0, SIGABRT);
            waitpid(child, &status, 0);
            exit(0);
        }
        if (ptrace(PTRACE_SINGLESTEP, child, 0, 0) != 0 || waitpid(child, &status, 0) < 0 || !WIFSTOPPED(status)) break;
    }
    exit(4); /* this malloc sets the sizes first */
}

static void* leave(void* unused) {
    char here = 0;
    kept[0] = (void*)((uintptr_t)&here - 16384 & -4096);
    return unused;
}

static void page_of_a_gone_stack(void) {
    pthread_t thread;
    pthread_create(&thread, 0, leave, 0);
    pthread_join(thread, 0);
}

/* What an emulator's guest has of threads: a block that points to itself, with the guest's random words. */
static void block_of_a_guest(void) {
    char* memory = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(memory, 4096, PROT_NONE);
    mprotect(memory + (1 << 20) - 4096, 4096, PROT_NONE);
    char** block = (char**)(memory + (1 << 20) - 6144);
    block[0] = block[2] = (char*)block;
    block[5] = (char*)0x1122334455667700;
    block[6] = (char*)0x7788990011223344;
    kept[0] = memory + (1 << 19) + 24;
}

/* The kernel joins it with the mapping of the main thread's own block. */
static void beside_the_thread_block(void) {
    char* memory = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    kept[0] = memory + (1 << 19) + 24;
}

static void let_lie(int count, int apart) {
    for (int i = 0; i < count; ++i) kept[i] = malloc(100 + apart * i);
    for (int i = 0; i < count; ++i) free(kept[i]);
}

/* Stopped in the middle of a container's clear(): what the node points to is freed, the node is next. */
static void take_apart(void) {
    struct { void *next, *previous; char* text; long length, inside[3]; }* volatile node = malloc(sizeof *node);
    memset(node, 0, sizeof *node);
    node->length = 50;
    node->text = malloc(51);
    free(node->text);
    abort();
}

/* Into a frame that the next calls will cover. */
__attribute__((noinline)) static void leave_below(void) {
    char volatile room[3000];
    room[0] = 0;
    kept[0] = (void*)&room[400 & -8];
}

/* As std::deque of unique_ptr has its blocks: what was taken out is freed, and its word stays in front of the others. */
static void queue(void) {
    struct task { void* run; struct task* after; char rest[168]; } *task[9];
    struct task** block = kept[0] = calloc(64, sizeof *block);
    for (int i = 0; i < 9; ++i) {
        block[i] = task[i] = calloc(1, sizeof **task);
        if (i > 3) task[i - 1]->after = task[i];
    }
    free(task[0]);
    free(task[1]);
}

/* The end of a mapping of 6 GB, as the kernel joins neighbours, is a large block of malloc's. */
static void before_a_large_block(void) {
    uintptr_t block = (uintptr_t)(kept[0] = malloc(8 << 20)) & -4096, size = 6ul << 30;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    need(mmap((void*)(block - size), size, PROT_READ | PROT_WRITE, flags, -1, 0) != MAP_FAILED, "neighbours");
}

/* The kernel cuts the mapping where its flags change. */
static void cut_block(void) {
    char* block = malloc(8 << 20);
    memset(block, 1, 8 << 20);
    need(madvise((char*)(((uintptr_t)block + (2 << 20)) & -4096), 1 << 20, MADV_DONTFORK) == 0, "madvise");
    kept[0] = block;
}

/* realloc() of a large block: the kernel has cut it, and its new size is not written yet. Each thread may be at that. */
static void moved(int blocks) {
    for (int i = 0; i < blocks + 2; i++) {
        char* block = kept[i] = malloc(1 << 20);
        if (i < blocks) ((size_t*)block)[-1] += 1 << 30;
    }
}

static void module_of_no_machine(void) {
    static char page[4096];
    int self = open("/proc/self/exe", O_RDONLY), file = open("module", O_RDWR | O_CREAT | O_TRUNC, 0600);
    need(read(self, page, sizeof page) == sizeof page, "read");
    ((Elf64_Ehdr*)page)->e_machine = EM_NONE;
    need(write(file, page, sizeof page) == sizeof page, "write");
    need(mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0) != MAP_FAILED, "mmap");
}

/* Code of which the first page of its file is not mapped: nothing in the core says what the file is. */
static void module_of_its_own_kind(void) {
    static char pages[8192] = "SBCL";
    int file = open("module", O_RDWR | O_CREAT | O_TRUNC, 0600);
    need(write(file, pages, sizeof pages) == sizeof pages, "write");
    need(mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 4096) != MAP_FAILED, "mmap");
}

int main(int count, char** arguments) {
    const char* how = count > 1 ? arguments[1] : "";
    if (!strcmp(how, "inside-malloc")) inside_malloc();
    else if (!strcmp(how, "page")) page_of_a_gone_stack();
    else if (!strcmp(how, "guest")) block_of_a_guest();
    else if (!strcmp(how, "neighbour")) beside_the_thread_block();
    else if (!strcmp(how, "lie-one")) let_lie(1, 0);
    else if (!strcmp(how, "lie-four")) let_lie(4, 200);
    else if (!strcmp(how, "lie-twelve")) let_lie(12, 0);
    else if (!strcmp(how, "apart")) take_apart();
    else if (!strcmp(how, "cut-block")) cut_block();
    else if (!strcmp(how, "below")) leave_below();
    else if (!strcmp(how, "queue")) queue();
    else if (!strcmp(how, "hole")) before_a_large_block();
    else if (!strcmp(how, "moved-one")) moved(1);
    else if (!strcmp(how, "moved-two")) moved(2);
    else if (!strcmp(how, "module")) module_of_no_machine();
    else if (!strcmp(how, "image")) module_of_its_own_kind();
    else return 2;
    abort();
}
