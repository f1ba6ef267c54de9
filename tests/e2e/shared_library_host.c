// host LIBRARY WHAT [LIBRARY]: a C program with one Go library, or two of which the last does what is asked.
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void *library;

static void call(const char *name) { ((void (*)(void))dlsym(library, name))(); }

// The call that does not return is the last instruction: the address that it would return to is its neighbour's.
__attribute__((cold, noinline, noreturn)) void end(void) { abort(); }
__attribute__((cold, noinline)) void give_up(void) { end(); }
__attribute__((cold, noinline)) void neighbour(void) { end(); }

static void *wait_for(void *name) {
    call(name);
    return NULL;
}

int main(int argc, char **argv) {
    pthread_t waiter;
    library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    call("Work");
    if (argc > 3) {
        library = dlopen(argv[3], RTLD_NOW | RTLD_LOCAL);
        call("Work");
    }
    if (strcmp(argv[2], "fork") == 0) {
        if (fork() == 0) argc > 100 ? neighbour() : give_up();
        return wait(NULL) < 0;
    }
    if (strcmp(argv[2], "take") == 0) {  // between Take and Give
        call("Take");
        pthread_create(&waiter, NULL, wait_for, "Work");
    } else {
        pthread_create(&waiter, NULL, wait_for, strcmp(argv[2], "die") == 0 ? "Die" : "Lose");
    }
    sleep(1);
    abort();
}
