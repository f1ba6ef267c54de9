/* The program over no_cfi.c: with frame pointers and unwind tables, as programs have. */
#include <string.h>

int lib_settle(int a);
int lib_give_up(int why);

__attribute__((noinline)) int request(const char* how) {
    if (!strcmp(how, "settle")) return lib_settle(3) + 1;
    return lib_give_up(5) + 1;
}

int main(int argc, char** argv) { return request(argc > 1 ? argv[1] : "") + 1; }
