// C++: libstdc++ containers that are used after their memory was freed; and the same done right.
#include "truth.h"
#include <csignal>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace {
struct Conn { uint64_t magic; uint64_t id; char name[40]; };
using Map = std::unordered_map<uint64_t, Conn>;
struct Worker { uint64_t magic; Map *map; Map::value_type *current; Map::iterator it; };
Worker *g_worker;
std::vector<Conn> *g_conns;
Conn *g_first;
std::vector<std::unique_ptr<Conn>> *g_owned, *g_moved;
std::map<std::string, Conn> *g_tree;

void setup() {
	g_worker = new Worker();
	g_worker->magic = 0x574f524b45523031;
	g_worker->map = new Map();
	for (uint64_t i = 1; i <= 64; i++) {
		Conn c{0x434f4e4e30303031, i, {}};
		snprintf(c.name, sizeof c.name, "conn-%lu", (unsigned long)i);
		g_worker->map->emplace(i * 7, c);
	}
	g_worker->it = g_worker->map->begin();
	object("g_worker", "Worker", g_worker, "map=%p", (void *)g_worker->map);
}
NOIPA uint64_t walk_bad(Worker *w) {
	uint64_t sum = 0;
	for (; w->it != w->map->end(); ++w->it) {
		w->current = &*w->it;
		sum += w->current->second.id;
		w->map->erase(w->current->first); // the iterator is dead now
	}
	return sum;
}
NOIPA uint64_t walk_right(Worker *w) {
	uint64_t sum = 0;
	for (w->it = w->map->begin(); w->it != w->map->end();) {
		sum += w->it->second.id;
		if (w->it->first % 2)
			w->it = w->map->erase(w->it);
		else
			++w->it;
	}
	return sum;
}
} // namespace

extern "C" {
void umap_iter() {
	setup();
	truthf("expect crash=signal SIGSEGV function=walk_bad: the iterator's node is a freed chunk\n");
	planted("native.hash.freed-bucket", "g_worker", "field=it");
	dprintf(2, "%lu\n", (unsigned long)walk_bad(g_worker));
	fail("the walk survived");
}
void umap_hold() {
	setup();
	g_worker->current = &*g_worker->map->find(21);
	g_worker->map->erase(21);
	g_worker->it = g_worker->map->begin();
	object("stale", "Conn", g_worker->current, "erased; g_worker->current names it");
	planted("native.hash.freed-bucket", "g_worker", "field=current state=tcache");
}
void umap_iter_hold() {
	setup();
	g_worker->it = g_worker->map->find(21);
	g_worker->map->erase(21);
	planted("native.hash.freed-bucket", "g_worker", "field=it state=tcache");
}
void umap_right() {
	setup();
	truthf("content sum=%lu\n", (unsigned long)walk_right(g_worker));
	g_worker->it = g_worker->map->begin();
	healthy();
}
void umap_dead_worker() { // a stale pointer in a worker that is freed itself: nobody can reach it
	setup();
	Worker *w = new Worker(*g_worker);
	w->current = &*g_worker->map->find(21);
	g_worker->map->erase(21);
	delete w;
	healthy();
}
void vector_stale() { // a pointer to an element, then the vector grows
	g_conns = new std::vector<Conn>(4);
	g_first = &g_conns->front();
	g_conns->resize(200);
	object("g_first", "Conn *", &g_first, "value=%p", (void *)g_first);
	planted("native.pointer.freed", "g_first", "state=tcache");
}
void vector_right() {
	g_conns = new std::vector<Conn>(4);
	g_conns->resize(200);
	g_first = &g_conns->front();
	g_tree = new std::map<std::string, Conn>();
	for (int i = 0; i < 100; i++)
		(*g_tree)["key-" + std::to_string(i) + "-long-enough-for-the-heap"] = Conn{1, (uint64_t)i, {}};
	for (int i = 0; i < 100; i += 3)
		g_tree->erase("key-" + std::to_string(i) + "-long-enough-for-the-heap");
	healthy();
}
void unique_double() { // delete it->get(); it->reset();
	g_owned = new std::vector<std::unique_ptr<Conn>>();
	for (int i = 0; i < 8; i++)
		g_owned->push_back(std::make_unique<Conn>());
	object("chunk", "Conn", (*g_owned)[3].get(), "size=%zu", sizeof(Conn));
	planted("native.heap.double-free", "chunk", "free(): double free detected in tcache 2");
	delete (*g_owned)[3].get();
	(*g_owned)[3].reset();
	fail("the second delete survived");
}
void unique_moved() {
	g_owned = new std::vector<std::unique_ptr<Conn>>();
	for (int i = 0; i < 8; i++)
		g_owned->push_back(std::make_unique<Conn>());
	g_moved = new std::vector<std::unique_ptr<Conn>>(std::move(*g_owned));
	(*g_moved)[3].reset();
	healthy();
}
extern const struct mode modes[];
const struct mode modes[] = {{"umap_iter", umap_iter}, {"umap_hold", umap_hold}, {"umap_iter_hold", umap_iter_hold}, {"umap_right", umap_right}, {"umap_dead_worker", umap_dead_worker},
	{"vector_stale", vector_stale}, {"vector_right", vector_right}, {"unique_double", unique_double}, {"unique_moved", unique_moved}, {nullptr, nullptr}};
}
