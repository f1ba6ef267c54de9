// What every mode of native uses: truth.txt (the format of corpora/README.md), threads that say who they are, the end.
// Nothing here calls malloc, so that the heap holds what the mode put there and no more.
#pragma once
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#ifdef __cplusplus
extern "C" {
#endif
#define NOIPA __attribute__((noipa))
struct mode { const char *name; void (*run)(void); };
extern int truth_fd;
#define truthf(...) dprintf(truth_fd, __VA_ARGS__)
#define object(name, type, addr, ...) (truthf("object name=%s type=\"%s\" addr=%p ", name, type, (void *)(addr)), truthf(__VA_ARGS__), truthf("\n"))
#define planted(kind, subject, ...) (truthf("expect finding=%s subject=%s ", kind, subject), truthf(__VA_ARGS__), truthf("\n"))
void healthy(void);
int tid(void);
void here(const char *name, const char *want, const void *obj, const char *func); // a thread line
void settle(int n);                                                               // waits for n thread lines
void fail(const char *what);
pthread_t start(void *(*f)(void *), void *arg);
void join(pthread_t t);
void long_sleep(void); // an hour; comes back
#ifdef __cplusplus
}
#endif
