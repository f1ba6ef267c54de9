/* Processes of which every thread sleeps, and their twins in which one may still wake the others; tests/e2e/test_hangs.py
 * says what each is called. The parent waits until all of them sleep, and has the child leave its core. */
#define _GNU_SOURCE
#include <dirent.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
pthread_barrier_t barrier;
int limited;

static void* wait_for_a_signal(void* unused) {
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 3600;
    pthread_mutex_lock(&mutex);
    if (limited) pthread_cond_timedwait(&condition, &mutex, &end);
    else pthread_cond_wait(&condition, &mutex);
    return unused;
}

static void* meet(void* unused) {
    pthread_barrier_wait(&barrier);
    return unused;
}

static void* stay(void* unused) {
    pause();
    return unused;
}

static void run(const char* how) {
    pthread_t threads[3];
    int barriers = !strcmp(how, "barrier"), count = 2;
    limited = !strcmp(how, "condition-timed");
    pthread_barrier_init(&barrier, 0, 4);
    if (!strcmp(how, "upgrade")) {
        pthread_rwlock_rdlock(&rwlock);
        pthread_rwlock_wrlock(&rwlock);
    }
    for (int i = 0; i < count; ++i) pthread_create(&threads[i], 0, barriers ? meet : wait_for_a_signal, 0);
    if (!strcmp(how, "pause")) pthread_create(&threads[2], 0, stay, 0);
    for (int i = 0; i < count; ++i) pthread_join(threads[i], 0);
}

static int sleepers(pid_t process) {
    char path[300], text[512];
    int count = 0;
    snprintf(path, sizeof path, "/proc/%d/task", process);
    DIR* tasks = opendir(path);
    for (struct dirent* task; tasks && (task = readdir(tasks));) {
        if (task->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "/proc/%d/task/%s/stat", process, task->d_name);
        FILE* file = fopen(path, "r");
        char* state = file && fgets(text, sizeof text, file) ? strrchr(text, ')') : 0;
        if (file) fclose(file);
        if (state && state[2] == 'S') ++count;
    }
    if (tasks) closedir(tasks);
    return count;
}

int main(int count, char** arguments) {
    const char* how = count > 1 ? arguments[1] : "";
    int threads = !strcmp(how, "upgrade") ? 1 : !strcmp(how, "pause") ? 4 : 3;
    pid_t child = fork();
    if (child == 0) {
        run(how);
        _exit(3);
    }
    for (int quiet = 0, tries = 0; quiet < 5 && tries < 3000; ++tries) {
        usleep(10000);
        quiet = sleepers(child) == threads ? quiet + 1 : 0;
    }
    kill(child, SIGABRT);
    waitpid(child, &count, 0);
}
