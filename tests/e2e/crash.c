/* One way to die per argument; tests/e2e/test_native.py says what each must be called. */
#define _GNU_SOURCE
#include <assert.h>
#include <emmintrin.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct node {
    volatile int id;
    struct node* volatile next;
};

static const char constant[] = "constant";

static void ignored(int signal) {}

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

struct session {
    struct session* next;
    char* user;
    void (**methods)(void);
};
struct session* closed;

struct session* open_session(void) {
    struct session* s = malloc(sizeof *s);
    s->user = malloc(100);
    return s;
}

/* Closed twice: the second time its second word is what free() left there. */
void twice_closed(void) {
    closed = open_session();
    for (int i = 0; i < 2; ++i) {
        struct session* volatile s = closed;
        free(s->user);
        free(s);
    }
}

/* What a freed object owned is freed after it: its first word is what free() wrote there. */
void freed_member(int overrun) {
    struct named {
        char* name;
        long rest[3];
    }* volatile object = malloc(sizeof(struct named));
    object->name = malloc(24);
    char* volatile last = malloc(24);
    malloc(24);
    if (overrun) memset(last, 'x', 40); /* the size of the chunk behind it: nobody looks there */
    free(object);
    char* volatile name = object->name;
    free(name);
}

/* A table of methods is read through the first word of a freed object. */
void closed_then_called(void) {
    closed = open_session();
    free(open_session());
    free(closed);
    void (***object)(void) = (void (***)(void))closed;
    void (**volatile method)(void) = *object + 4; /* as code without optimisation does it */
    (*method)();
}

static void* volatile mapped_since; /* while the process dies */
void give_up(int number) {
    if (mapped_since)
        mmap(mapped_since, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    abort();
}

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

/* The sandbox refuses getppid(). */
void refuse(void) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0), /* seccomp_data.nr */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {4, code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
    syscall(SYS_getppid);
}

/* A core larger than this could not be written, either. */
void fill_file(void) {
    struct rlimit most = {1 << 28, 1 << 28};
    setrlimit(RLIMIT_FSIZE, &most);
    int fd = memfd_create("full", 0);
    pwrite(fd, "x", 1, most.rlim_cur);
}

void burn(void) {
    struct rlimit second = {1, 10};
    setrlimit(RLIMIT_CPU, &second);
    for (volatile int i = 0;; ++i) continue;
}

/* Asks for a core. The thread that the signal reaches, the main one, aborted nothing. */
void* watchdog(void* unused) {
    sigset_t abort_only;
    sigemptyset(&abort_only);
    sigaddset(&abort_only, SIGABRT);
    pthread_sigmask(SIG_BLOCK, &abort_only, 0);
    kill(getpid(), SIGABRT);
    for (;;) pause();
}

void hang(void) {
    pthread_t thread;
    pthread_create(&thread, 0, watchdog, 0);
    for (;;) pause();
}

/* SIGBUS: of a file that was cut short, or of a page that nobody gives. */
int bus_error(int of_file) {
    if (of_file) {
        int file = open("short.data", O_RDWR | O_CREAT, 0600);
        if (file < 0 || unlink("short.data") || ftruncate(file, 8192)) exit(3);
        char* page = mmap(0, 8192, PROT_READ, MAP_SHARED, file, 0);
        if (ftruncate(file, 0)) exit(3);
        return *(volatile char*)page;
    }
    char* page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int handler = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
    struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_SIGBUS};
    struct uffdio_register range = {.range = {(unsigned long)page, 4096}, .mode = UFFDIO_REGISTER_MODE_MISSING};
    if (handler < 0 || ioctl(handler, UFFDIO_API, &api) || ioctl(handler, UFFDIO_REGISTER, &range)) exit(3);
    return *(volatile char*)page;
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
    if (!strcmp(how, "short-file")) return bus_error(1);
    if (!strcmp(how, "no-page")) return bus_error(0);
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
    if (!strcmp(how, "free-local")) {
        char local[512];
        memset(local, 0, sizeof local);
        *(long*)(local + 8) = 0x100000001; /* what stands in front of a chunk is its size */
        char* volatile p = local + 16;
        free(p);
    }
    if (!strcmp(how, "freed-mark")) twice_closed();
    if (!strcmp(how, "freed-method")) closed_then_called();
    if (!strcmp(how, "length")) return (int)strlen(argv[2]);
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
    if (!strcmp(how, "no-room-for-signal")) { /* its frame cannot be written: the loop itself never faults */
        signal(SIGALRM, ignored);
        alarm(1);
        __asm__ volatile("mov $0x7770, %%rsp\n1: jmp 1b" ::: "memory");
    }
    if (!strcmp(how, "raise")) raise(SIGSEGV);
    if (!strcmp(how, "raise-illegal")) raise(SIGILL);
    if (!strcmp(how, "free-written-free")) { /* as a second fclose() does */
        long* volatile p = malloc(100);
        free(p);
        *p ^= 1;
        free(p);
    }
    if (!strcmp(how, "freed-member")) freed_member(0);
    if (!strcmp(how, "overrun-then-freed-member")) freed_member(1);
    if (!strcmp(how, "int3")) __asm__ volatile("int3");
    if (!strcmp(how, "refused")) refuse();
    if (!strcmp(how, "file-limit")) fill_file();
    if (!strcmp(how, "cpu-limit")) burn();
    if (!strcmp(how, "watchdog")) hang();
    if (!strcmp(how, "wild-frame"))
        __asm__ volatile("mov $0x4141414141414141, %rbp; mov (%rbp), %rax");
    if (!strcmp(how, "wild-stack")) __asm__ volatile("mov $0x4141414141414140, %rsp; ret");
    if (!strcmp(how, "rseq")) { /* found damaged by the kernel, at an instruction that uses no address */
        *(void* volatile*)((char*)__builtin_thread_pointer() + __rseq_offset + 8) = (void*)0x7fffdead0000; /* rseq_cs */
        for (;;) __asm__ volatile("test $1, %%cl" ::: "cc");
    }
    if (!strcmp(how, "text-return")) __asm__ volatile("movabs $0x7478657420, %rax; push $0; push %rax; ret");
    if (!strcmp(how, "wild-return")) __asm__ volatile("movabs $0x4141414141414140, %rax; push %rax; ret");
    if (!strcmp(how, "handled-nil")) {
        struct node last = {1, 0};
        signal(SIGSEGV, give_up);
        return walk(&last);
    }
    if (!strcmp(how, "handled-mapped-since")) {
        struct node* gone = mmap(0, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        munmap(mapped_since = gone, 1 << 16);
        signal(SIGSEGV, give_up);
        return walk(gone);
    }
    if (!strcmp(how, "handled-overflow")) {
        handle_on_own_stack(give_up);
        return depth(0);
    }
    if (!strcmp(how, "asked")) { /* a reporter of crashes is sent what it takes for one */
        struct sigaction reporter = {.sa_handler = give_up, .sa_flags = SA_SIGINFO}; /* else the sender is not noted */
        sigaction(SIGSEGV, &reporter, 0);
        pid_t child = fork();
        if (child == 0)
            for (;;) pause();
        kill(child, SIGSEGV);
        waitpid(child, 0, 0);
        return 0;
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
