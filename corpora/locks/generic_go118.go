// Generic code in its own way: the methods' code is shared, and gets a dictionary as a second argument.

package main

import (
	"sync"
	"unsafe"
)

type cacheOf[K comparable, V any] struct {
	mu   sync.Mutex
	m    map[K]V
	load func(*cacheOf[K, V], K) V
}

func (c *cacheOf[K, V]) get(k K) V {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, ok := c.m[k]; ok {
		return v
	}
	v := c.load(c, k)
	c.m[k] = v
	return v
}

type clerk struct {
	name string
	boss int
}

func loadClerk(c *cacheOf[int, clerk], id int) clerk {
	if id == 0 {
		return clerk{"first", 0}
	}
	boss := c.get(id / 2)
	return clerk{"next to " + boss.name, id / 2}
}

var theClerks = &cacheOf[int, clerk]{m: map[int]clerk{}, load: loadClerk}

func init() {
	add("self_generic", func() {
		go func() {
			enter("self", "sync.Mutex.Lock | semacquire", hex(unsafe.Pointer(&theClerks.mu)))
			sink += int64(theClerks.get(1).boss)
		}()
		settle(1)
		mutexObject("theClerks.mu", &theClerks.mu, 1|1<<3, unsafe.Pointer(theClerks), "holder=self waiters-names=self")
		planted("go.mutex.self-deadlock", "theClerks.mu", "a generic cache whose loader asks it")
	})
}
