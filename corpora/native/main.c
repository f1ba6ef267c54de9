// native MODE: a plain C or C++ process with one planted fault, or its healthy twin. With "-hang" after the mode's
// name it says READY and waits; else it raises SIGABRT, unless it has died of its fault before.
#define _GNU_SOURCE
#include "truth.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

extern const struct mode modes[];
int truth_fd = -1;
static int entered;

int tid(void) { return (int)syscall(SYS_gettid); }

void healthy(void) { truthf("expect findings-at-warning=0\n"); }

void fail(const char *what) {
	dprintf(2, "not as planted: %s\n", what);
	_exit(3);
}

void here(const char *name, const char *want, const void *obj, const char *func) {
	truthf("thread name=%s tid=%d want=\"%s\" object=%p in=%s\n", name, tid(), want, obj, func);
	__sync_fetch_and_add(&entered, 1);
}

static void nap(long ms) {
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };
	while (nanosleep(&t, &t) && errno == EINTR)
		;
}

void long_sleep(void) { nap(3600 * 1000L); }

void settle(int n) {
	for (int i = 0; __sync_fetch_and_add(&entered, 0) < n; i++) {
		if (i > 10000)
			fail("threads did not start");
		nap(1);
	}
	nap(60);
}

pthread_t start(void *(*f)(void *), void *arg) {
	pthread_t t;
	if (pthread_create(&t, NULL, f, arg))
		fail("pthread_create");
	return t;
}

void join(pthread_t t) {
	if (pthread_join(t, NULL))
		fail("pthread_join");
}

int main(int argc, char **argv) {
	char name[64] = "";
	int hang = 0;
	if (argc > 1) {
		snprintf(name, sizeof name, "%s", argv[1]);
		size_t n = strlen(name);
		if (n > 5 && !strcmp(name + n - 5, "-hang"))
			hang = 1, name[n - 5] = 0;
	}
	const struct mode *m = modes;
	while (m->name && strcmp(m->name, name))
		m++;
	if (!m->name) {
		dprintf(2, "usage: native MODE or MODE-hang; modes:\n");
		for (m = modes; m->name; m++)
			dprintf(2, "  %s\n", m->name);
		return 2;
	}
	truth_fd = open("truth.txt", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (truth_fd < 0)
		fail("truth.txt");
	truthf("probe mode=%s pid=%d main-tid=%d\n", argv[1], getpid(), tid());
	m->run();
	if (hang) {
		if (write(1, "READY\n", 6) == 6)
			for (;;)
				pause();
	}
	raise(SIGABRT);
}
