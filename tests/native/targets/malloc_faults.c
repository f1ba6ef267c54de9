/* One planted fault of malloc's structures per mode, then abort(). Writes "at NAME ADDRESS" lines into TRUTH.
 *     malloc_faults TRUTH MODE */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static FILE *truth;
static char buffer[4096];
static void at(const char *name, void *p) { fprintf(truth, "at %s %p\n", name, p); }

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    const char *mode = argv[2];
    truth = fopen(argv[1], "w");
    if (!truth) return 3;
    setvbuf(truth, buffer, _IOFBF, sizeof buffer);
    uint64_t *block[64];
    for (int i = 0; i < 64; i++) {
        block[i] = malloc(i < 32 ? 40 : 2000);
        memset(block[i], 0x11, i < 32 ? 40 : 2000);
    }
    at("first", block[0]);
    at("last", block[63]);
    if (!strcmp(mode, "healthy")) {
        free(block[3]);
        free(block[40]);
    } else if (!strcmp(mode, "overrun")) { /* writes over the size of block 11 */
        at("culprit", block[10]);
        at("victim", block[11]);
        at("behind", block[12]);
        memset(block[10], 0x41, 64);
    } else if (!strcmp(mode, "smaller")) { /* a size that could be one, but leads into the middle */
        at("victim", block[40]);
        block[40][-1] = 0x61;
    } else if (!strcmp(mode, "tcache-twice")) { /* the second free is not noticed, because the key was overwritten */
        at("victim", block[5]);
        free(block[5]);
        free(block[6]);
        block[5][1] = 0;
        free(block[5]);
    } else if (!strcmp(mode, "tcache-poisoned")) { /* written after free */
        at("victim", block[5]);
        free(block[6]);
        free(block[5]);
        block[5][0] = 0x4242424242424242;
    } else if (!strcmp(mode, "fast-twice")) { /* fastbins only compare with their first entry */
        for (int i = 0; i < 7; i++) free(block[i]);
        at("victim", block[20]);
        free(block[20]);
        free(block[21]);
        free(block[20]);
    } else if (!strcmp(mode, "bin-link")) { /* a freed chunk in the unsorted bin, written after free */
        at("victim", block[40]);
        free(block[40]);
        free(block[42]);
        block[40][1] = 0x4343434343434340;
    } else if (!strcmp(mode, "prev-size")) { /* the copy of a free chunk's size behind it */
        at("victim", block[40]);
        free(block[40]);
        block[41][-2] = 0x30;
    } else if (!strcmp(mode, "top")) {
        block[63][251] = 0xffffffffffffffff;
    } else if (!strcmp(mode, "many")) {
        for (int i = 0; i < 60; i += 20) block[i][-1] = 0x5151515151515151;
    }
    fclose(truth);
    abort();
}
