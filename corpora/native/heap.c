// glibc malloc: freed memory in use, broken chunks, the wrong pointer freed; hash tables over it; and ground truth.
#define _GNU_SOURCE
#include "truth.h"
#include <malloc.h>
#include <string.h>
#include <unistd.h>

struct conn { struct conn *next; uint64_t id; char name[48]; };
struct worker { uint64_t magic; struct conn *current; char *buffer; };
static struct worker *g_worker;
static void *g_fill[64];

static NOIPA struct conn *new_conn(uint64_t id) {
	struct conn *c = calloc(1, sizeof *c);
	c->id = id;
	snprintf(c->name, sizeof c->name, "conn-%llu", (unsigned long long)id);
	return c;
}
static void setup(void) {
	g_worker = calloc(1, sizeof *g_worker);
	g_worker->magic = 0x574f524b45523031;
	for (int i = 0; i < 8; i++)
		g_fill[i] = new_conn(i);
}
static void note_worker(const char *field, const void *value) { object("g_worker", "struct worker", g_worker, "field=%s value=%p", field, value); }

void uaf_hold(void) {
	setup();
	g_worker->current = new_conn(21);
	g_fill[8] = new_conn(22);
	free(g_worker->current);
	note_worker("current", g_worker->current);
	planted("native.pointer.freed", "g_worker", "field=current state=tcache");
}
void uaf_large(void) {
	setup();
	g_worker->buffer = malloc(5000);
	g_fill[8] = malloc(5000);
	free(g_worker->buffer);
	note_worker("buffer", g_worker->buffer);
	planted("native.pointer.freed", "g_worker", "field=buffer state=unsorted");
}
static NOIPA uint64_t walk(struct conn *c) {
	uint64_t n = 0;
	for (; c; c = c->next)
		n += c->id;
	return n;
}
void uaf_crash(void) {
	setup();
	struct conn *a = new_conn(31), *b = new_conn(32);
	free(b);
	a->next = b;
	free(a->next == b ? a : b);
	g_worker->current = a;
	note_worker("current", a);
	truthf("expect crash=signal SIGSEGV function=walk; the next of a freed chunk is a mangled pointer\n");
	planted("native.pointer.freed", "g_worker", "field=current state=tcache");
	dprintf(2, "%llu\n", (unsigned long long)walk(g_worker->current));
	fail("the walk survived");
}
void uaf_cleared(void) {
	setup();
	g_worker->current = new_conn(21);
	free(g_worker->current);
	g_worker->current = NULL;
	void *gone = g_worker->buffer = malloc(5000);
	g_fill[8] = malloc(100);
	free(gone);
	g_worker->buffer = NULL;
	healthy();
}
void double_free(void) {
	setup();
	struct conn *volatile c = new_conn(41);
	object("chunk", "malloc", c, "size=%zu", sizeof *c);
	planted("native.heap.double-free", "chunk", "free(): double free detected in tcache 2");
	free(c);
	free(c);
	fail("the second free survived");
}
static NOIPA void scribble(char *p, size_t n) { memset(p, 0x41, n); }
void overrun_hold(void) { // eight bytes too many: the size of the next chunk is gone; nobody has noticed yet
	setup();
	char *a = malloc(56);
	g_fill[8] = a;
	g_fill[9] = malloc(56);
	object("chunk", "malloc", g_fill[9], "size=56, its header was overwritten");
	object("culprit", "malloc", a, "size=56, written 64 bytes");
	planted("native.heap.corrupt", "chunk", "size 0x4141414141414141");
	scribble(a, 64);
}
void overrun_abort(void) { // the same, and noticed
	overrun_hold();
	free(g_fill[9]);
	fail("free survived");
}
void bad_free(void) {
	setup();
	char *local = __builtin_alloca(256);
	memset(local, 0, 256);
	object("local", "char *", local + 16, "on the stack, given to free()");
	planted("native.heap.bad-free", "local", "free(): invalid pointer | free(): invalid size");
	char *volatile p = local + 16;
	free(p);
	fail("free survived");
}
void free_interior(void) {
	setup();
	char *volatile p = calloc(1, 200);
	object("chunk", "malloc", p, "size=200; chunk + 24 was given to free()");
	planted("native.heap.bad-free", "chunk", "free(): invalid pointer");
	free(p + 24);
	fail("free survived");
}
void free_right(void) {
	setup();
	for (int i = 8; i < 64; i++)
		g_fill[i] = malloc(24 * i);
	for (int i = 8; i < 64; i += 2) {
		free(g_fill[i]);
		g_fill[i] = NULL;
	}
	healthy();
}

// A hand-made chained table.
struct node { struct node *next; uint64_t key; char val[32]; };
struct table { uint64_t magic; size_t nbuckets, count; struct node **bucket; };
struct iter { uint64_t magic; struct table *t; struct node **array; size_t i; struct node *cur; };
static struct table *g_table;
static struct iter *g_iter;
static NOIPA void put(struct table *t, uint64_t k) {
	struct node *n = calloc(1, sizeof *n), **b = &t->bucket[k % t->nbuckets];
	n->key = k;
	snprintf(n->val, sizeof n->val, "value-%llu", (unsigned long long)k);
	n->next = *b;
	*b = n;
	t->count++;
}
static NOIPA void resize(struct table *t, size_t nb) {
	struct node **old = t->bucket;
	size_t onb = t->nbuckets;
	t->bucket = calloc(nb, sizeof *t->bucket);
	t->nbuckets = nb;
	for (size_t i = 0; i < onb; i++)
		for (struct node *n = old[i], *x; n; n = x) {
			x = n->next;
			n->next = t->bucket[n->key % nb];
			t->bucket[n->key % nb] = n;
		}
	free(old);
}
static NOIPA void del(struct table *t, uint64_t k, int bug) {
	for (struct node **p = &t->bucket[k % t->nbuckets]; *p; p = &(*p)->next)
		if ((*p)->key == k) {
			struct node *n = *p;
			if (!bug)
				*p = n->next;
			free(n);
			t->count--;
			return;
		}
}
static void table(void) {
	g_table = calloc(1, sizeof *g_table);
	g_table->magic = 0x5441424c45303031;
	g_table->nbuckets = 256;
	g_table->bucket = calloc(256, sizeof *g_table->bucket);
	g_iter = calloc(1, sizeof *g_iter);
	g_iter->magic = 0x4954455252303031;
	for (uint64_t k = 1; k <= 300; k++)
		put(g_table, k * 3);
	g_iter->t = g_table;
	g_iter->array = g_table->bucket;
	g_iter->i = 3;
	g_iter->cur = g_table->bucket[3];
}
void hash_head(void) {
	table();
	del(g_table, 600, 1);
	object("g_table", "struct table", g_table, "bucket=%zu of array %p", (size_t)(600 % 256), (void *)g_table->bucket);
	planted("native.hash.freed-bucket", "g_table", "bucket 88 names a freed node");
}
void hash_array(void) {
	table();
	resize(g_table, 1024);
	object("g_iter", "struct iter", g_iter, "field=array value=%p", (void *)g_iter->array);
	planted("native.hash.freed-bucket", "g_iter", "field=array: the bucket array before the resize");
}
void hash_right(void) {
	table();
	del(g_table, 600, 0);
	resize(g_table, 1024);
	g_iter->array = g_table->bucket;
	g_iter->cur = NULL;
	healthy();
}

// Every live result of malloc, and mallinfo2, which counts chunks in the tcache as in use.
static unsigned long long g_seed = 1;
static unsigned rnd(unsigned n) {
	g_seed = g_seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned)((g_seed >> 33) % n);
}
static size_t any_size(void) {
	switch (rnd(20)) {
	case 0: return 1000 + rnd(20000);
	case 1: return 20000 + rnd(80000);
	case 2: return rnd(50) ? 1100 : 200000 + rnd(1000000);
	default: return 1 + rnd(500);
	}
}
struct live { void *p; size_t n; };
static struct live g_live[8000]; // static: not in the heap
static void shuffle(struct live *l, int n, int rounds) {
	for (int i = 0; i < rounds; i++) {
		struct live *x = &l[rnd(n)];
		if (x->p) {
			free(x->p);
			x->p = NULL;
		} else {
			x->n = any_size();
			x->p = malloc(x->n);
			memset(x->p, 0, x->n < 64 ? x->n : 64);
		}
	}
}
static void print_live(void) {
	char b[1 << 14]; // by the page: dprintf is a system call
	int used = 0;
	for (size_t i = 0; i < sizeof g_live / sizeof *g_live; i++)
		if (g_live[i].p) {
			used += snprintf(b + used, sizeof b - used, "malloc addr=%p size=%zu\n", g_live[i].p, g_live[i].n);
			if (used > (int)sizeof b - 100) {
				if (write(truth_fd, b, used) != used)
					fail("write");
				used = 0;
			}
		}
	if (write(truth_fd, b, used) != used)
		fail("write");
	struct mallinfo2 m = mallinfo2();
	truthf("mallinfo2 arena=%zu ordblks=%zu smblks=%zu hblks=%zu hblkhd=%zu fsmblks=%zu uordblks=%zu fordblks=%zu keepcost=%zu\n", m.arena, m.ordblks, m.smblks, m.hblks, m.hblkhd, m.fsmblks,
	       m.uordblks, m.fordblks, m.keepcost);
}
void malloc_truth(void) {
	shuffle(g_live, 8000, 60000);
	print_live();
	healthy();
}
static pthread_mutex_t g_turn = PTHREAD_MUTEX_INITIALIZER; // g_seed is shared; arenas are per thread all the same
static void *shuffler(void *p) {
	long i = (long)p;
	static const char *const names[4] = { "arena1", "arena2", "arena3", "arena4" };
	pthread_mutex_lock(&g_turn);
	shuffle(g_live + 2000 * i, 2000, 15000);
	pthread_mutex_unlock(&g_turn);
	here(names[i], "sleep", NULL, __func__);
	long_sleep();
	return NULL;
}
void malloc_threads(void) {
	for (long i = 0; i < 4; i++)
		start(shuffler, (void *)i);
	settle(4);
	print_live();
	healthy();
}
void churn(void) { // a million calls, every bin full, no stale pointer
	shuffle(g_live, 8000, 1000000);
	struct mallinfo2 m = mallinfo2();
	truthf("mallinfo2 arena=%zu uordblks=%zu fordblks=%zu\n", m.arena, m.uordblks, m.fordblks);
	healthy();
}
