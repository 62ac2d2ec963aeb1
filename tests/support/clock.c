/* The wall clock set back by an hour: all that asks for the time of day gets an hour less, from the moment on at
   which the file CLOCK_STEP exists. Clocks that only go on are left alone. Put before the C library with
   LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int is_set_back(void) {
    static const char *path;
    static int is_known;
    if (!path) path = getenv("CLOCK_STEP");
    if (!is_known && path && !access(path, F_OK)) is_known = 1;
    return is_known;
}

int clock_gettime(clockid_t clock, struct timespec *out) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int found = real(clock, out);
    if ((clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) && !found && is_set_back()) out->tv_sec -= 3600;
    return found;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone) {
    static int (*real)(struct timeval *, void *);
    if (!real) real = (int (*)(struct timeval *, void *))dlsym(RTLD_NEXT, "gettimeofday");
    int found = real(out, zone);
    if (!found && is_set_back()) out->tv_sec -= 3600;
    return found;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
