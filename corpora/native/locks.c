// pthread locks: owners that are gone, that wait for themselves or for each other; and owners that are just slow.
#define _GNU_SOURCE
#include "truth.h"
#include <errno.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <signal.h>
#include <unistd.h>

struct cache { uint64_t magic; pthread_mutex_t mu; int n; int owner; };
static struct cache g_cache = { 0x4341434845303031, PTHREAD_MUTEX_INITIALIZER, 0, 0 };
static struct cache g_row[3] = { { 1, PTHREAD_MUTEX_INITIALIZER, 0, 0 }, { 2, PTHREAD_MUTEX_INITIALIZER, 0, 0 }, { 3, PTHREAD_MUTEX_INITIALIZER, 0, 0 } };
static const char *const row_name[3] = { "g_row0.mu", "g_row1.mu", "g_row2.mu" };
static struct { uint64_t magic; pthread_rwlock_t rw; int n; int owner; } g_book = { 0x424f4f4b30303031, PTHREAD_RWLOCK_INITIALIZER, 0, 0 };
static struct { pthread_mutex_t mu; pthread_cond_t cond; int ready; } g_board = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0 };
static const char *const waiter_name[3] = { "waiter1", "waiter2", "waiter3" };

static NOIPA void cache_lock(struct cache *c) {
	pthread_mutex_lock(&c->mu);
	c->owner = tid();
}
static NOIPA void cache_add(struct cache *c) {
	cache_lock(c);
	c->n++;
	pthread_mutex_unlock(&c->mu);
}
static void *lock_and_end(void *p) {
	cache_lock(p);
	return NULL;
}
static void *lock_and_sleep(void *p) {
	struct cache *c = p;
	cache_lock(c);
	here("owner", "sleep", &c->mu, __func__);
	long_sleep();
	pthread_mutex_unlock(&c->mu);
	return NULL;
}
static int waiter_next;
static void *waiter(void *p) {
	struct cache *c = p;
	here(waiter_name[__sync_fetch_and_add(&waiter_next, 1)], "futex", &c->mu, "cache_lock");
	cache_add(c);
	return NULL;
}
static void three(struct cache *c, int before) {
	for (int i = 0; i < 3; i++)
		start(waiter, c);
	settle(before + 3);
}
#define NOTE(name, c, ...) object(name, "pthread_mutex_t", &(c)->mu, "lock=%d owner-tid=%d " __VA_ARGS__)

void pt_orphan(void) {
	join(start(lock_and_end, &g_cache));
	three(&g_cache, 0);
	NOTE("g_cache.mu", &g_cache, "waiters-names=waiter1,waiter2,waiter3", g_cache.mu.__data.__lock, g_cache.owner);
	planted("native.mutex.orphaned", "g_cache.mu", "its owner thread has ended");
}
void pt_owner_asleep(void) {
	start(lock_and_sleep, &g_cache);
	settle(1);
	three(&g_cache, 1);
	NOTE("g_cache.mu", &g_cache, "holder=owner waiters-names=waiter1,waiter2,waiter3", g_cache.mu.__data.__lock, g_cache.owner);
	healthy();
}
static void *self(void *p) {
	struct cache *c = p;
	cache_lock(c);
	here("self", "futex", &c->mu, "cache_lock");
	cache_add(c);
	return NULL;
}
void pt_self(void) {
	start(self, &g_cache);
	settle(1);
	NOTE("g_cache.mu", &g_cache, "holder=self waiters-names=self", g_cache.mu.__data.__lock, g_cache.owner);
	planted("native.mutex.self-deadlock", "g_cache.mu", "cache_lock twice on one thread");
}
static void *twice(void *p) {
	struct cache *c = p;
	cache_lock(c);
	cache_lock(c);
	here("owner", "sleep, holds it twice", &c->mu, __func__);
	long_sleep();
	pthread_mutex_unlock(&c->mu);
	pthread_mutex_unlock(&c->mu);
	return NULL;
}
void pt_recursive(void) {
	pthread_mutexattr_t a;
	pthread_mutexattr_init(&a);
	pthread_mutexattr_settype(&a, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&g_cache.mu, &a);
	start(twice, &g_cache);
	settle(1);
	three(&g_cache, 1);
	NOTE("g_cache.mu", &g_cache, "count=2 holder=owner waiters-names=waiter1,waiter2,waiter3", g_cache.mu.__data.__lock, g_cache.owner);
	healthy();
}

// Rings and chains: thread i holds row i and then wants the next.
static pthread_barrier_t g_barrier;
static int g_ring;
static void *ring(void *p) {
	struct cache *own = p, *next = &g_row[(own - g_row + 1) % g_ring];
	static const char *const names[3] = { "first", "second", "third" };
	cache_lock(own);
	pthread_barrier_wait(&g_barrier);
	here(names[own - g_row], "futex", &next->mu, "cache_lock");
	cache_add(next);
	pthread_mutex_unlock(&own->mu);
	return NULL;
}
static void cycle(int n) {
	g_ring = n;
	pthread_barrier_init(&g_barrier, NULL, n);
	for (int i = 0; i < n; i++)
		start(ring, &g_row[i]);
	settle(n);
	for (int i = 0; i < n; i++)
		NOTE(row_name[i], &g_row[i], " ", g_row[i].mu.__data.__lock, g_row[i].owner);
}
void pt_cycle2(void) {
	cycle(2);
	planted("lock.cycle", "g_row0.mu,g_row1.mu", "threads=first,second edges=first>g_row1.mu>second,second>g_row0.mu>first");
}
void pt_cycle3(void) {
	cycle(3);
	planted("lock.cycle", "g_row0.mu,g_row1.mu,g_row2.mu", "threads=first,second,third edges=first>g_row1.mu>second,second>g_row2.mu>third,third>g_row0.mu>first");
}
static void *ordered(void *p) {
	struct cache *own = p;
	cache_lock(own);
	here("holder", "futex", &g_row[2].mu, "cache_lock");
	cache_add(&g_row[2]);
	pthread_mutex_unlock(&own->mu);
	return NULL;
}
void pt_ordered(void) {
	start(lock_and_sleep, &g_row[2]);
	settle(1);
	start(ordered, &g_row[0]);
	settle(2);
	three(&g_row[0], 2);
	NOTE("g_row0.mu", &g_row[0], "holder=holder waiters-names=waiter1,waiter2,waiter3", g_row[0].mu.__data.__lock, g_row[0].owner);
	NOTE("g_row2.mu", &g_row[2], "holder=owner waiters-names=holder", g_row[2].mu.__data.__lock, g_row[2].owner);
	healthy();
}
void pt_robust_dead(void) { // the owner is gone, but the next locker is told so: no deadlock
	pthread_mutexattr_t a;
	pthread_mutexattr_init(&a);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&g_cache.mu, &a);
	join(start(lock_and_end, &g_cache));
	object("g_cache.mu", "pthread_mutex_t", &g_cache.mu, "robust, owner died: word=0x%x", (unsigned)g_cache.mu.__data.__lock);
	healthy();
}
void pt_shared(void) { // held by another process, which lives: its tid is in no thread list of ours
	struct cache *c = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_t a;
	pthread_mutexattr_init(&a);
	pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&c->mu, &a);
	if (fork() == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		cache_lock(c);
		long_sleep();
		_exit(0);
	}
	while (!*(volatile int *)&c->owner)
		usleep(1000);
	three(c, 0);
	NOTE("shared.mu", c, "process-shared, owner is another process; waiters-names=waiter1,waiter2,waiter3", c->mu.__data.__lock, c->owner);
	healthy();
}
static void *board_wait(void *p) {
	pthread_mutex_lock(&g_board.mu);
	here(waiter_name[__sync_fetch_and_add(&waiter_next, 1)], "futex, pthread_cond_wait", &g_board.cond, __func__);
	while (!g_board.ready)
		pthread_cond_wait(&g_board.cond, &g_board.mu);
	pthread_mutex_unlock(&g_board.mu);
	return p;
}
static void *board_signal(void *p) {
	here("signaller", "sleep", &g_board.cond, __func__);
	long_sleep();
	pthread_mutex_lock(&g_board.mu);
	g_board.ready = 1;
	pthread_cond_broadcast(&g_board.cond);
	pthread_mutex_unlock(&g_board.mu);
	return p;
}
void pt_cond(void) {
	start(board_wait, NULL);
	start(board_wait, NULL);
	start(board_signal, NULL);
	settle(3);
	object("g_board.cond", "pthread_cond_t", &g_board.cond, "waiters-names=waiter1,waiter2");
	healthy();
}

static void *book_write_end(void *p) {
	pthread_rwlock_wrlock(&g_book.rw);
	g_book.owner = tid();
	return p;
}
static void *book_write_sleep(void *p) {
	pthread_rwlock_wrlock(&g_book.rw);
	g_book.owner = tid();
	here("owner", "sleep", &g_book.rw, __func__);
	long_sleep();
	pthread_rwlock_unlock(&g_book.rw);
	return p;
}
static void *book_read_sleep(void *p) {
	pthread_rwlock_rdlock(&g_book.rw);
	here("holder", "sleep", &g_book.rw, __func__);
	long_sleep();
	pthread_rwlock_unlock(&g_book.rw);
	return p;
}
static void *book_read(void *p) {
	here("reader1", "futex", &g_book.rw, __func__);
	pthread_rwlock_rdlock(&g_book.rw);
	pthread_rwlock_unlock(&g_book.rw);
	return p;
}
static void *book_write(void *p) {
	here("writer1", "futex", &g_book.rw, __func__);
	pthread_rwlock_wrlock(&g_book.rw);
	pthread_rwlock_unlock(&g_book.rw);
	return p;
}
#define NOTE_RW(...) object("g_book.rw", "pthread_rwlock_t", &g_book.rw, "writer-tid=%d " __VA_ARGS__, g_book.owner)
void rw_orphan(void) {
	join(start(book_write_end, NULL));
	start(book_read, NULL);
	start(book_write, NULL);
	settle(2);
	NOTE_RW("waiters-names=reader1,writer1");
	planted("native.rwlock.orphaned", "g_book.rw", "its writer thread has ended");
}
void rw_writer_asleep(void) {
	start(book_write_sleep, NULL);
	settle(1);
	start(book_read, NULL);
	start(book_write, NULL);
	settle(3);
	NOTE_RW("holder=owner waiters-names=reader1,writer1");
	healthy();
}
void rw_reader_asleep(void) {
	start(book_read_sleep, NULL);
	settle(1);
	start(book_write, NULL);
	settle(2);
	NOTE_RW("readers=1 holder=holder waiters-names=writer1");
	healthy();
}
