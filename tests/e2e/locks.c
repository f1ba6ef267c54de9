/* pthread locks that nothing will give back, each in one of its odder ways; tests/e2e/test_odd_locks.py says what each
 * is called. The program aborts as soon as its waiters sleep. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
atomic_int waiter;
struct {
    char name[64];
    pthread_mutex_t mutex;
    char work[200];
}* job;
pthread_t ring[3];
atomic_int ring_is_known;

static void inherit_priorities(void) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
    pthread_mutex_init(&mutex, &attributes);
}

static struct timespec in_an_hour(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    now.tv_sec += 3600;
    return now;
}

void* lock_and_leave(void* unused) {
    pthread_mutex_lock(&mutex);
    return 0;
}

void* write_lock_and_leave(void* unused) {
    pthread_rwlock_wrlock(&rwlock);
    return 0;
}

void* lock_and_stay(void* unused) {
    waiter = gettid();
    pthread_mutex_lock(&mutex);
    for (;;) pause();
}

void* wait_for_mutex(void* unused) {
    waiter = gettid();
    pthread_mutex_lock(&mutex);
    return 0;
}

void* wait_for_job(void* unused) {
    waiter = gettid();
    pthread_mutex_lock(&job->mutex);
    return 0;
}

void* join_next(void* which) {
    while (!ring_is_known) sched_yield();
    pthread_join(ring[((long)which + 1) % 3], 0);
    return 0;
}

void* wait_an_hour_for_mutex(void* unused) {
    struct timespec end = in_an_hour();
    waiter = gettid();
    pthread_mutex_timedlock(&mutex, &end);
    return 0;
}

void* lock_twice_within_an_hour(void* unused) {
    pthread_mutex_lock(&mutex);
    return wait_an_hour_for_mutex(0);
}

void* lock_twice(void* unused) {
    pthread_mutex_lock(&mutex);
    return wait_for_mutex(0);
}

void* wait_for_rwlock(void* unused) {
    waiter = gettid();
    pthread_rwlock_rdlock(&rwlock);
    return 0;
}

void* wait_an_hour_for_rwlock(void* unused) {
    struct timespec end = in_an_hour();
    waiter = gettid();
    pthread_rwlock_timedrdlock(&rwlock, &end);
    return 0;
}

static void run(void* (*first)(void*)) {
    pthread_t thread;
    pthread_create(&thread, 0, first, 0);
    pthread_join(thread, 0);
}

static void start(void* (*last)(void*)) {
    pthread_t thread;
    char path[64], line[256];
    waiter = 0;
    pthread_create(&thread, 0, last, 0);
    while (waiter == 0) sched_yield();
    for (;;) { /* until the kernel has it asleep */
        snprintf(path, sizeof path, "/proc/self/task/%d/stat", waiter);
        FILE* file = fopen(path, "r");
        if (file == 0) return;
        char* state = fgets(line, sizeof line, file) ? strrchr(line, ')') : 0;
        fclose(file);
        if (state != 0 && state[2] == 'S') return;
        usleep(1000);
    }
}

int main(int argc, char** argv) {
    const char* how = argc > 1 ? argv[1] : "";
    if (!strcmp(how, "normal")) run(lock_and_leave), start(wait_for_mutex);
    if (!strcmp(how, "normal-timed")) run(lock_and_leave), start(wait_an_hour_for_mutex);
    if (!strcmp(how, "self")) start(lock_twice);
    if (!strcmp(how, "self-timed")) start(lock_twice_within_an_hour);
    if (!strncmp(how, "inherit", 7)) inherit_priorities();
    if (!strcmp(how, "inherit")) run(lock_and_leave), start(wait_for_mutex);
    if (!strcmp(how, "inherit-self")) start(lock_twice);
    if (!strcmp(how, "inherit-held")) start(lock_and_stay), start(wait_for_mutex);
    if (!strcmp(how, "rwlock")) run(write_lock_and_leave), start(wait_for_rwlock);
    if (!strcmp(how, "rwlock-timed")) run(write_lock_and_leave), start(wait_an_hour_for_rwlock);
    if (!strcmp(how, "rwlock-both")) run(write_lock_and_leave), start(wait_an_hour_for_rwlock), start(wait_for_rwlock);
    if (!strncmp(how, "job", 3)) {
        job = calloc(1, sizeof *job);
        pthread_mutex_init(&job->mutex, 0);
        pthread_mutex_lock(&job->mutex);
        start(wait_for_job);
    }
    if (!strcmp(how, "job-freed")) free(job);
    if (!strcmp(how, "ring") || !strcmp(how, "row")) {
        for (long i = 0; i < 3; ++i) pthread_create(&ring[i], 0, i == 2 && !strcmp(how, "row") ? lock_and_stay : join_next, (void*)i);
        ring_is_known = 1;
        usleep(200000);
    }
    abort();
}
