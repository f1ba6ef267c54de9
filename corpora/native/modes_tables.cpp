// C++: hash tables that only their types tell: other load factors, iterators far from their table, small hand-made
// chained tables with nodes of any size; and the same done right. Stripped programs of these have nothing to find.
#include "truth.h"
#include <cstring>
#include <new>
#include <string>
#include <unordered_map>
#include <unordered_set>

namespace {
struct Conn { uint64_t magic; uint64_t id; char name[40]; };
using Map = std::unordered_map<uint64_t, Conn>;
using Set = std::unordered_set<std::string>;
using Multi = std::unordered_multimap<uint64_t, Conn>;
struct Cursor { uint64_t magic; Map::iterator it; };
struct Listing { uint64_t magic; Multi::const_iterator at; uint64_t seen; };
struct Index { uint64_t magic; Set names; const std::string *last; };
Map *g_map;
Cursor *g_cursor;
Index *g_index;
Multi g_multi;
Listing *g_listing;

struct Entry { Entry *next; unsigned length; char key[1]; }; // as long as its key
struct Small { uint64_t magic; unsigned count; Entry *buckets[8]; };
Small g_small;
struct Frame { Frame *next; uint64_t id; char what[32]; };
struct Stack { uint64_t magic; unsigned top; Frame *frames[16]; };
Stack *g_stack;

void fill(float load) {
	g_map = new Map();
	g_map->max_load_factor(load);
	for (uint64_t i = 1; i <= 64; i++) {
		Conn c{0x434f4e4e30303031, i, {}};
		snprintf(c.name, sizeof c.name, "conn-%lu", (unsigned long)i);
		g_map->emplace(i * 7, c);
	}
	g_cursor = new Cursor{0x435552534f523031, g_map->find(21)};
	object("g_map", "Map", g_map, "buckets=%zu", g_map->bucket_count());
	object("g_cursor", "Cursor", g_cursor, "field=it");
}
NOIPA Entry *entry(const char *key) {
	size_t n = strlen(key);
	Entry *e = (Entry *)malloc(sizeof(Entry) + n);
	e->next = nullptr;
	e->length = (unsigned)n;
	memcpy(e->key, key, n + 1);
	return e;
}
NOIPA void put(unsigned bucket, const char *key) {
	Entry *e = entry(key);
	e->next = g_small.buckets[bucket];
	g_small.buckets[bucket] = e;
	g_small.count++;
}
void small_table() {
	g_small.magic = 0x534d414c4c303031;
	put(1, "a key");
	put(1, "another key, which is longer");
	put(3, "k");
	put(3, "the third bucket's second key is longer than forty bytes");
	put(3, "third");
	put(6, "sixth");
	object("g_small", "Small", &g_small, "buckets at %p", (void *)g_small.buckets);
	object("buckets", "Entry *[8]", g_small.buckets, "count=8");
}
void stack_of_frames() { // popped frames are freed, their words stay; frames in use are linked
	g_stack = new Stack{0x535441434b303031, 0, {}};
	for (unsigned i = 0; i < 12; i++) {
		Frame *f = (Frame *)malloc(sizeof(Frame));
		f->next = i ? g_stack->frames[i - 1] : nullptr;
		f->id = i;
		memset(f->what, 'a' + (int)i, sizeof f->what);
		g_stack->frames[g_stack->top++] = f;
	}
	while (g_stack->top > 5)
		free(g_stack->frames[--g_stack->top]);
	object("g_stack", "Stack", g_stack, "top=%u", g_stack->top);
}
} // namespace

extern "C" {
void ht_load_iter() {
	fill(4.0f);
	g_map->erase(21);
	planted("native.hash.freed-bucket", "g_cursor", "field=it state=tcache");
}
void ht_load_right() {
	fill(0.5f);
	g_cursor->it = g_map->erase(g_cursor->it);
	healthy();
}
void ht_set_hold() {
	g_index = new Index{0x494e444558303031, Set(), nullptr};
	g_index->names.max_load_factor(2.5f);
	for (int i = 0; i < 50; i++)
		g_index->names.insert("name-" + std::to_string(i) + "-long-enough-for-the-heap");
	auto it = g_index->names.find("name-17-long-enough-for-the-heap");
	g_index->last = &*it;
	g_index->names.erase(it);
	object("g_index", "Index", g_index, "field=last");
	planted("native.hash.freed-bucket", "g_index", "field=last");
}
static void fill_multi() {
	for (uint64_t i = 0; i < 90; i++)
		g_multi.emplace(i % 30, Conn{1, i, {}});
	g_listing = new Listing{0x4c495354494e4731, g_multi.find(12), 0};
	object("g_multi", "Multi", &g_multi, "buckets=%zu", g_multi.bucket_count());
	object("g_listing", "Listing", g_listing, "field=at");
}
void ht_multi_iter() {
	fill_multi();
	g_multi.erase(12);
	planted("native.hash.freed-bucket", "g_listing", "field=at");
}
void ht_multi_right() {
	fill_multi();
	g_listing->at = g_multi.erase(g_listing->at);
	g_multi.rehash(500);
	healthy();
}
void ht_first_freed() { // somebody frees the node that the table's list begins with
	fill(4.0f);
	g_cursor->it = g_map->end();
	void *first;
	memcpy(&first, (char *)g_map + 16, sizeof first); // _M_before_begin._M_nxt
	::operator delete(first);
	planted("native.hash.freed-bucket", "g_map", "_M_before_begin leads to a freed node");
}
void ht_buckets_freed() { // somebody frees the bucket array
	fill(4.0f);
	g_cursor->it = g_map->end();
	void *array;
	memcpy(&array, (char *)g_map, sizeof array);
	::operator delete(array);
	planted("native.hash.freed-bucket", "g_map", "_M_buckets leads to a freed array");
}
void ht_destroyed() { // the table is gone, its memory is not
	fill(4.0f);
	g_cursor->it = Map::iterator();
	g_map->~Map();
	healthy();
}
void hc_bucket() {
	small_table();
	free(g_small.buckets[6]);
	planted("native.hash.freed-bucket", "buckets", "bucket 6 names a freed entry");
}
void hc_chain() {
	small_table();
	free(g_small.buckets[3]->next->next);
	planted("native.hash.freed-bucket", "buckets", "the chain of bucket 3 leads to a freed entry");
}
void hc_right() {
	small_table();
	free(g_small.buckets[6]);
	g_small.buckets[6] = nullptr;
	Entry *dead = g_small.buckets[3]->next;
	g_small.buckets[3]->next = dead->next;
	free(dead);
	healthy();
}
void hc_stack() {
	stack_of_frames();
	healthy();
}
extern const struct mode modes[];
const struct mode modes[] = {{"ht_load_iter", ht_load_iter}, {"ht_load_right", ht_load_right}, {"ht_set_hold", ht_set_hold}, {"ht_multi_iter", ht_multi_iter}, {"ht_multi_right", ht_multi_right},
	{"ht_first_freed", ht_first_freed}, {"ht_buckets_freed", ht_buckets_freed}, {"ht_destroyed", ht_destroyed}, {"hc_bucket", hc_bucket}, {"hc_chain", hc_chain}, {"hc_right", hc_right}, {"hc_stack", hc_stack}, {nullptr, nullptr}};
}
