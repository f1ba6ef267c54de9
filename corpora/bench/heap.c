// The benchmark's C process: MEGABYTES of malloc chunks of 16 to 400 bytes, a third of them freed, then READY and a pause.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t seed = 1;
static unsigned rnd(unsigned n) {
	seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned)((seed >> 33) % n);
}
int main(int argc, char **argv) {
	uint64_t bytes = (argc > 1 ? strtoull(argv[1], 0, 10) : 512) << 20, used = 0;
	size_t n = 0, most = bytes / 64;
	void **all = malloc(most * sizeof *all);
	while (used < bytes && n < most) {
		size_t size = 16 + rnd(385);
		char *p = all[n++] = malloc(size);
		memset(p, (int)size, size);
		used += size + 16;
	}
	for (size_t i = 0; i < n; i++)
		if (rnd(3) == 0)
			free(all[i]);
	puts("READY");
	fflush(stdout);
	for (;;)
		pause();
}
