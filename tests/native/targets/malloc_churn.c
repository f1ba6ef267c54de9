/* A program whose malloc heap is known: it interposes malloc and writes down every live result, then what mallinfo and
 * malloc_info say of the same moment, and dies. Threads are parked meanwhile, so nothing moves.
 *
 *     malloc_churn TRUTH MODE SEED THREADS OPERATIONS
 *
 * MODE: a word with any of these letters
 *     a  die by abort();                      w  write "ready" to stdout and wait, for gcore
 *     b  one thread fills more than one 64 MB heap of its arena
 *     s  somebody else calls sbrk() between allocations
 *     n  brk cannot grow: the main arena goes on in mmapped memory
 *     j  somebody else maps memory between allocations, which the kernel joins with malloc's
 *     p  only the main thread allocates (no thread arenas)
 *     q  many small frees at the end: long unsorted and fast lists
 * TRUTH lines: "live ADDRESS SIZE", "info NAME VALUE", then malloc_info's XML.
 *
 * Surprising: in static executables malloc cannot be interposed without a second definition, so there (-DPLAIN) only the
 * program's own calls are recorded and the live list is a subset. */
#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <errno.h>
#include <fcntl.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

#define TABLE (1u << 22)
static struct entry { uintptr_t address; size_t size; } *table;
static atomic_flag table_lock = ATOMIC_FLAG_INIT;
static _Atomic uintptr_t exchange[512]; /* chunks handed from thread to thread */

static void lock_table(void) { while (atomic_flag_test_and_set(&table_lock)) ; }
static void unlock_table(void) { atomic_flag_clear(&table_lock); }
static unsigned hash_of(uintptr_t a) { return (unsigned)((a >> 4) * 0x9e3779b97f4a7c15ull >> 42) & (TABLE - 1); }

static void record(void *p, size_t n) {
    if (!p) return;
    lock_table();
    if (!table) {
        table = mmap(0, TABLE * sizeof *table, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        madvise(table, TABLE * sizeof *table, MADV_DONTDUMP);
    }
    unsigned i = hash_of((uintptr_t)p);
    while (table[i].address) i = (i + 1) & (TABLE - 1);
    table[i].address = (uintptr_t)p;
    table[i].size = n;
    unlock_table();
}

static void forget(void *p) {
    if (!p) return;
    lock_table();
    unsigned i = hash_of((uintptr_t)p);
    while (table && table[i].address && table[i].address != (uintptr_t)p) i = (i + 1) & (TABLE - 1);
    if (table && table[i].address) {
        unsigned hole = i;
        for (;;) { /* close the gap, so that probing needs no tombstones */
            i = (i + 1) & (TABLE - 1);
            if (!table[i].address) break;
            unsigned home = hash_of(table[i].address);
            if (((i - home) & (TABLE - 1)) >= ((i - hole) & (TABLE - 1))) {
                table[hole] = table[i];
                hole = i;
            }
        }
        table[hole].address = 0;
    }
    unlock_table();
}

#ifdef PLAIN
#define CALL(f) f
#define NAME(f) own_##f
#else
void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t), *__libc_memalign(size_t, size_t);
void __libc_free(void *);
#define CALL(f) __libc_##f
#define NAME(f) f
int posix_memalign(void **out, size_t align, size_t n) {
    void *p = __libc_memalign(align, n);
    if (!p) return ENOMEM;
    record(p, n);
    *out = p;
    return 0;
}
void *aligned_alloc(size_t align, size_t n) { void *p = __libc_memalign(align, n); record(p, n); return p; }
#endif

void *NAME(malloc)(size_t n) { void *p = CALL(malloc)(n); record(p, n); return p; }
void *NAME(calloc)(size_t a, size_t b) { void *p = CALL(calloc)(a, b); record(p, a * b); return p; }
void *NAME(memalign)(size_t align, size_t n) { void *p = CALL(memalign)(align, n); record(p, n); return p; }
void NAME(free)(void *p) { forget(p); CALL(free)(p); }
void *NAME(realloc)(void *old, size_t n) {
    forget(old);
    void *p = CALL(realloc)(old, n);
    record(p ? p : old, n);
    return p;
}

static const char *mode = "a";
static long operations = 20000;
static unsigned seed = 1;
static pthread_barrier_t parked;
static int early_exits;

static uint64_t next_random(uint64_t *s) {
    *s ^= *s << 13; *s ^= *s >> 7; *s ^= *s << 17;
    return *s;
}

static size_t random_size(uint64_t r) {
    switch (r % 16) {
        case 0: return (r >> 8) % 24;
        case 1: case 2: case 3: return 16 + (r >> 8) % 112;
        case 4: case 5: case 6: case 7: return 100 + (r >> 8) % 900;
        case 8: return 1000 + (r >> 8) % 8000;
        case 9: return (r >> 8) % 64 == 0 ? 150000 + (r >> 8) % 300000 : 40 + (r >> 8) % 4000;
        default: return 8 + (r >> 8) % 300;
    }
}

/* What user data may look like: sizes, flags, pointers into the heap; a walk must not be led astray. */
static void fill(unsigned char *p, size_t n, uint64_t r) {
    if (n < 8) { memset(p, (int)r, n); return; }
    uint64_t word = (r & 3) == 0 ? 0x21 : (r & 3) == 1 ? (uint64_t)(uintptr_t)p : (r & 3) == 2 ? 0 : r;
    for (size_t i = 0; i + 8 <= n && i < 256; i += 8) memcpy(p + i, &word, 8);
    memcpy(p + n - 8, &word, 8);
}

static void churn(uint64_t s, long count) {
    enum { slots = 2048 };
    void **slot = NAME(calloc)(slots, sizeof *slot);
    for (long i = 0; i < count; i++) {
        uint64_t r = next_random(&s);
        void **at = &slot[r % slots];
        if (*at) {
            if (r >> 60 == 0) {
                *at = (void *)atomic_exchange(&exchange[(r >> 20) % 512], (uintptr_t)*at);
            } else if (r >> 60 == 1) {
                size_t n = random_size(next_random(&s));
                void *p = NAME(realloc)(*at, n + 1);
                if (p) *at = p;
            } else {
                NAME(free)(*at);
                *at = 0;
            }
        } else {
            uint64_t q = next_random(&s);
            size_t n = random_size(q);
            *at = q >> 60 == 0 ? NAME(memalign)(64ul << (q >> 50) % 7, n) : NAME(malloc)(n);
            if (*at) fill(*at, malloc_usable_size(*at), q);
        }
        if (strchr(mode, 's') && i % 5000 == 4999 && s % 3) {
            char *mine = sbrk(4096 * (1 + (long)(s % 5)));
            if (mine != (char *)-1) memset(mine, 0x41, 4096);
        }
        if (strchr(mode, 'j') && i % 1000 == 999) {
            size_t room = 4096 * (1 + s % 5);
            char *mine = mmap(0, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (mine != MAP_FAILED) memset(mine, 0x41, room);
        }
        if (strchr(mode, 'n') && i == count / 8) {
            char *end = (char *)(((uintptr_t)sbrk(0) + 4095) & ~4095ul);
            mmap(end + 65536, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        }
    }
    if (strchr(mode, 'q'))
        for (int i = 0; i < slots; i += 2) {
            NAME(free)(slot[i]);
            slot[i] = 0;
        }
}

static void *worker(void *argument) {
    long index = (long)argument;
    churn(seed * 7919ull + (uint64_t)index * 104729 + 1, operations);
    if (strchr(mode, 'b') && index == 1) {
        void *keep = 0; /* a list through the blocks keeps them */
        for (long total = 0; total < 150l << 20; total += 5000) {
            void **p = NAME(malloc)(4000 + (size_t)(total % 2000));
            *p = keep;
            keep = p;
            if (total % 7 == 0) NAME(free)(NAME(malloc)(333));
        }
        exchange[0] = (uintptr_t)keep;
    }
    if (index <= early_exits) return 0;
    pthread_barrier_wait(&parked);
    for (;;) pause();
}

static char out[1 << 16];
static size_t out_used;
static int truth_fd;
static void flush_truth(void) {
    if (write(truth_fd, out, out_used) < 0) _exit(3);
    out_used = 0;
}
static void put_line(const char *format, const char *name, uint64_t a, uint64_t b) {
    out_used += (size_t)snprintf(out + out_used, sizeof out - out_used, format, name, a, b);
    if (out_used > sizeof out - 256) flush_truth();
}

int main(int argc, char **argv) {
    if (argc < 6) return 2;
    mode = argv[2];
    seed = (unsigned)atoi(argv[3]);
    long threads = atol(argv[4]);
    operations = atol(argv[5]);
    early_exits = threads > 3 ? 2 : 0;
    static char xml_buffer[1 << 16];
    FILE *xml = fopen(argv[1], "w");
    if (!xml) return 3;
    setvbuf(xml, xml_buffer, _IOFBF, sizeof xml_buffer);
    truth_fd = fileno(xml);

    pthread_barrier_init(&parked, 0, (unsigned)(threads - early_exits + 1));
    for (long i = 1; i <= threads; i++) {
        pthread_t t;
        if (pthread_create(&t, 0, worker, (void *)i)) return 3;
        if (i <= early_exits) pthread_join(t, 0);
    }
    churn(seed * 31ull + 5, strchr(mode, 'p') ? operations * 4 : operations);
    pthread_barrier_wait(&parked);
    usleep(100000); /* the others are on their way into pause() */

#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)
    struct mallinfo2 info = mallinfo2();
#else
    struct mallinfo info = mallinfo();
#endif
    for (unsigned i = 0; i < TABLE; i++)
        if (table[i].address) put_line("%s 0x%lx %lu\n", "live", table[i].address, table[i].size);
#define INFO(field) put_line("info %s %lu\n", #field, (uint64_t)info.field, 0)
    INFO(arena); INFO(ordblks); INFO(smblks); INFO(hblks); INFO(hblkhd); INFO(fsmblks); INFO(uordblks); INFO(fordblks);
    flush_truth();
    malloc_info(0, xml);
    fflush(xml);
    if (strchr(mode, 'w')) {
        if (write(1, "ready\n", 6) < 0) return 3;
        for (;;) pause();
    }
    abort();
}
