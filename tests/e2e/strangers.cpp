// C++ faults in shapes that the corpora's programs do not have, and healthy programs that look like them;
// tests/e2e/test_strangers_cxx.py says what each is about. They abort.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

struct widget {
    int id;
    char name[40];
    widget* next;
};
struct ring {
    int id;
    char name[52];
    ring *next, *previous;
};
struct view {
    widget* current;
    std::vector<widget*> all;
    int count;
};
struct slots {
    widget** items;
    int used, capacity;
};
struct entry {
    entry* next;
    unsigned key;
    char value[40];
};
struct table {
    entry** buckets;
    unsigned size;
};
struct session {
    std::string key;
    long value;
};
struct cache {
    std::unordered_map<std::string, session> sessions;
    session* last;
};
struct buffer {
    char* data;
    unsigned long length;
    char* position;
};
struct owner {
    std::unique_ptr<widget> own;
    widget* raw;
};
struct keeper {
    const std::string* member;
    int count;
};
static widget* g_head;
static ring* g_ring;
static view* g_view;
static slots* g_slots;
static table* g_table;
static cache* g_cache;
static widget* g_registry[32];

static widget* make(int id) {
    auto* w = static_cast<widget*>(calloc(1, sizeof(widget)));
    w->id = id;
    return w;
}

static void make_ring() {
    ring* last = nullptr;
    for (int i = 0; i < 6; ++i) {
        auto* r = static_cast<ring*>(calloc(1, sizeof(ring)));
        r->previous = last;
        (last == nullptr ? g_ring : last->next) = r;
        last = r;
    }
}

// A list that is longer than what a name spells out.
static void list_link(bool bad) {
    for (int i = 0; i < 14; ++i) {
        widget* w = make(i);
        w->next = g_head;
        g_head = w;
    }
    widget* before = g_head;
    for (int i = 0; i < 9; ++i) before = before->next;
    widget* gone = before->next;
    if (!bad) before->next = gone->next;
    free(gone);
}

static void ring_link(bool bad) {
    make_ring();
    ring* gone = g_ring->next->next;
    if (!bad) {
        gone->previous->next = gone->next;
        gone->next->previous = gone->previous;
    }
    free(gone);
}

static void vector_element(bool bad) {
    g_view = new view{};
    for (int i = 0; i < 20; ++i) g_view->all.push_back(make(i));
    if (bad) {
        free(g_view->all[9]);
        free(malloc(sizeof(view)));  // and the chunk was not the one freed last for long
        free(make(21));
    }
}

static void counted_element(bool bad) {
    g_slots = new slots{static_cast<widget**>(calloc(64, sizeof(widget*))), 20, 64};
    for (int i = 0; i < 20; ++i) g_slots->items[i] = make(i);
    free(g_slots->items[bad ? 9 : 19]);
    if (!bad) --g_slots->used;
}

static void registry(bool bad) {
    for (int i = 0; i < 32; i += 1 + i % 3) g_registry[i] = make(i);
    free(g_registry[9]);
    if (!bad) g_registry[9] = nullptr;
}

static void raw_copy(bool bad) {
    static owner* o;
    o = new owner;
    o->own.reset(new widget{});
    o->raw = o->own.get();
    if (bad) o->own.reset();
}

static void moved_buffer(bool bad) {
    static buffer b;
    b.data = static_cast<char*>(malloc(4000));
    b.length = 4000;
    b.position = b.data + 1234;
    void* volatile apart = malloc(100);
    auto* larger = static_cast<char*>(malloc(9000));
    if (bad) {
        free(b.data);
        b.data = larger;
    } else {
        free(larger);
    }
}

static void table_value(bool bad) {
    g_cache = new cache;
    for (int i = 0; i < 50; ++i) g_cache->sessions["key number " + std::to_string(i)] = {"k", i};
    g_cache->last = &g_cache->sessions["key number 17"];
    if (bad) g_cache->sessions.erase("key number 17");
}

static void set_member(bool bad) {
    static std::unordered_set<std::string> names;
    static keeper* kept;
    for (int i = 0; i < 40; ++i) names.insert("member " + std::to_string(i));
    kept = new keeper{&*names.find("member 5"), 5};
    if (bad) names.erase("member 5");
}

static void full_table(bool bad) {
    g_table = new table{static_cast<entry**>(calloc(64, sizeof(entry*))), 64};
    for (unsigned i = 0; i < 300; ++i) {
        auto* e = static_cast<entry*>(calloc(1, sizeof(entry)));
        e->key = i * 7;
        e->next = g_table->buckets[e->key % 64];
        g_table->buckets[e->key % 64] = e;
    }
    entry* gone = g_table->buckets[14]->next;
    if (!bad) g_table->buckets[14]->next = gone->next;
    free(gone);
}

static void array_cookie(bool bad) {
    auto* v = new std::string[5];
    if (!bad) return delete[] v;
    ::operator delete(static_cast<void*>(v));
}

static void unsorted_links(bool bad) {
    auto* a = static_cast<char*>(malloc(1500));
    void* volatile apart = malloc(100);
    free(a);
    if (bad) memset(a, 'D', 32);
}

// Into fastbins, then joined with the top, of which the next block is cut.
static void freed_given_freed(bool bad) {
    char* p[9];
    for (char*& x : p) x = static_cast<char*>(malloc(60));
    for (char* x : p) free(x);
    void* volatile large = malloc(4096);
    if (bad) free(p[8]);
}

// ---- healthy

[[gnu::noinline]] static void stop_at(widget** at) {
    free(*at);
    abort();
}
static void vector_taken_apart(bool) {
    g_view = new view{};
    for (int i = 0; i < 20; ++i) g_view->all.push_back(make(i));
    for (widget *& w : g_view->all)
        if (w->id == 9)
            stop_at(&w);
        else if (w->id < 9)
            w->id = 0;
}

static void vector_freed_from_front(bool) {
    g_view = new view{};
    for (int i = 0; i < 20; ++i) g_view->all.push_back(make(i));
    for (int i = 0; i < 4; ++i) free(g_view->all[i]);
}

static void vector_spare_room(bool) {
    g_view = new view{};
    for (int i = 0; i < 20; ++i) g_view->all.push_back(make(i));
    for (int i = 0; i < 5; ++i) {
        free(g_view->all.back());
        g_view->all.pop_back();
    }
}

// The first node is taken out and freed; nobody reads `previous` of the first.
static void queue_popped(bool) {
    make_ring();
    ring* first = g_ring;
    g_ring = first->next;
    free(first);
}

// Objects of a pool keep the link that they had in it.
static void out_of_pool(bool) {
    static widget* busy[6];
    widget* pool = nullptr;
    for (int i = 0; i < 12; ++i) {
        widget* w = make(i);
        w->next = pool;
        pool = w;
    }
    widget* out[12];
    for (int i = 0; i < 12; ++i) {
        out[i] = pool;
        pool = pool->next;
    }
    for (int i = 0; i < 6; ++i) busy[i] = out[2 * i];
    for (int i = 0; i < 6; ++i) free(out[2 * i + 1]);
}

[[gnu::noinline]] static void stop_below(widget* node) {
    free(node->next);
    abort();
}
static void list_taken_apart(bool) {
    for (int i = 0; i < 6; ++i) {
        widget* w = make(i);
        w->next = g_head;
        g_head = w;
    }
    stop_below(g_head->next->next);
}

// Who clears no pointer after free() has many such, some of them to chunks freed last.
static void lets_lie(bool) {
    struct job {
        widget* done;
        char* text;
        int id;
    };
    static job* jobs[24];
    for (int i = 0; i < 24; ++i) {
        jobs[i] = new job{make(i), nullptr, i};
        jobs[i]->text = static_cast<char*>(malloc(24 + 16 * i));
    }
    for (job* j : jobs) free(j->text);
}

[[gnu::noinline]] static void run(const char* how, bool bad) {
    const std::map<std::string, std::function<void(bool)>> all = {
        {"list-link", list_link},
        {"ring-link", ring_link},
        {"vector-element", vector_element},
        {"counted-element", counted_element},
        {"registry", registry},
        {"raw-copy", raw_copy},
        {"moved-buffer", moved_buffer},
        {"table-value", table_value},
        {"set-member", set_member},
        {"full-table", full_table},
        {"array-cookie", array_cookie},
        {"unsorted-links", unsorted_links},
        {"freed-given-freed", freed_given_freed},
        {"vector-taken-apart", vector_taken_apart},
        {"vector-freed-from-front", vector_freed_from_front},
        {"vector-spare-room", vector_spare_room},
        {"queue-popped", queue_popped},
        {"out-of-pool", out_of_pool},
        {"list-taken-apart", list_taken_apart},
        {"lets-lie", lets_lie},
    };
    all.at(how)(bad);
}

int main(int, char** arguments) {
    run(arguments[1], arguments[2] != nullptr && strcmp(arguments[2], "bad") == 0);
    abort();
}
