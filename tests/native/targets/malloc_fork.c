/* A child that grows the heap which it got from its parent, and dies: brk's mapping is then two. */
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void fill(int n) {
    for (int i = 0; i < n; i++) memset(malloc(200), 1, 200);
}
int main(void) {
    fill(2000);
    pid_t child = fork();
    if (child == 0) {
        fill(5000);
        abort();
    }
    waitpid(child, 0, 0);
    return 0;
}
