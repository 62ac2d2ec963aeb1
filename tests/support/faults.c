/* Faults under a process: every call that changes what is on the disk below FE_ROOT is counted, and the one
   numbered by fe_arm() goes wrong. Built by the tests and put before the C library with LD_PRELOAD.

   Kinds: 0 none, 1 killed before the call, 2 killed half-way through a write, 3 killed after the call, 4 an
   error (EIO), 5 a full disk from there on (ENOSPC), 6 the power gone: killed, and what was not synced is
   undone. Bytes last by a sync of their file, names by a sync of their directory, and neither by the other:
   the strict reading of POSIX. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NONE, BEFORE, HALF, AFTER, EIO_ONCE, FULL, POWER };
enum { CREATED, RENAMED, REMOVED, MADE, UNMADE };

struct change { int what, lasts; char old[PATH_MAX], new[PATH_MAX], kept[PATH_MAX]; };
struct lasting { ino_t inode; off_t bytes; };

static char root[PATH_MAX], aside[PATH_MAX];
static long count, at = -1, kept_count;
static int kind, is_full, inside;
static struct change *changes;
static size_t n_changes, room_changes;
static struct lasting *files;
static size_t n_files, room_files;

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

long fe_count(void) { return count; }

void fe_arm(const char *below, const char *keep, long number, int how) {
    snprintf(root, sizeof root, "%s", below);
    snprintf(aside, sizeof aside, "%s", keep);
    count = 0, at = number, kind = how, is_full = 0;
}

static int is_below(const char *path) { return root[0] && !strncmp(path, root, strlen(root)); }

static void absolute(const char *path, char *out) {
    if (path[0] == '/') snprintf(out, PATH_MAX, "%s", path);
    else {
        char here[PATH_MAX];
        if (!getcwd(here, sizeof here)) here[0] = 0;
        snprintf(out, PATH_MAX, "%.2000s/%.2000s", here, path);
    }
}

static int path_of(int fd, char *out) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, out, PATH_MAX - 1);
    if (n < 0) return 0;
    out[n] = 0;
    return is_below(out);
}

static struct lasting *lasting_of(ino_t inode) {
    for (size_t i = 0; i < n_files; i++)
        if (files[i].inode == inode) return &files[i];
    return NULL;
}

static void set_lasting(ino_t inode, off_t bytes, int only_new) {
    struct lasting *found = lasting_of(inode);
    if (found) { if (!only_new) found->bytes = bytes; return; }
    if (n_files == room_files) files = realloc(files, (room_files = 2 * room_files + 64) * sizeof *files);
    files[n_files++] = (struct lasting){inode, bytes};
}

static struct change *changed(int what, const char *old, const char *new) {
    if (n_changes == room_changes) changes = realloc(changes, (room_changes = 2 * room_changes + 64) * sizeof *changes);
    struct change *c = &changes[n_changes++];
    memset(c, 0, sizeof *c);
    c->what = what;
    snprintf(c->old, PATH_MAX, "%s", old);
    snprintf(c->new, PATH_MAX, "%s", new);
    return c;
}

/* A second name for a file that is about to lose its own. */
static void keep(const char *path, char *out) {
    struct stat s;
    out[0] = 0;
    if (stat(path, &s) || !S_ISREG(s.st_mode)) return;
    snprintf(out, PATH_MAX, "%.3000s/%d-%ld", aside, getpid(), kept_count++);
    if (link(path, out)) out[0] = 0;
}

static void is_parent_synced(struct change *c, const char *folder) {
    const char *path = c->new[0] ? c->new : c->old;
    size_t n = strlen(folder);
    if (!strncmp(path, folder, n) && path[n] == '/' && !strchr(path + n + 1, '/')) c->lasts = 1;
}

static void power_lost(void) {
    inside = 1;
    for (size_t i = n_changes; i-- > 0;) {
        struct change *c = &changes[i];
        if (c->lasts) continue;
        switch (c->what) {
        case CREATED: unlink(c->old); break;
        case RENAMED: rename(c->new, c->old); if (c->kept[0]) rename(c->kept, c->new); break;
        case REMOVED: if (c->kept[0]) rename(c->kept, c->old); break;
        case MADE: { char command[PATH_MAX + 16]; snprintf(command, sizeof command, "rm -rf '%s'", c->old); if (system(command)) {} break; }
        case UNMADE: mkdir(c->old, 0777); break;
        }
    }
    /* Files are cut by the parent, which is told how much of each lasts. */
    char path[PATH_MAX + 16];
    snprintf(path, sizeof path, "%s/lasting", aside);
    FILE *out = fopen(path, "w");
    for (size_t i = 0; out && i < n_files; i++) fprintf(out, "%lu %ld\n", (unsigned long)files[i].inode, (long)files[i].bytes);
    if (out) fclose(out);
}

static void die(void) { kill(getpid(), SIGKILL); for (;;) pause(); }

/* Before a call: 0 go on, 1 fail with errno, 2 go on and die after it, 3 half of it and die. */
static int before(int takes_room) {
    if (inside) return 0;
    long number = count++;
    if (is_full && takes_room) { errno = ENOSPC; return 1; }
    if (number != at) return 0;
    switch (kind) {
    case BEFORE: die(); return 0;
    case HALF: return 3;
    case AFTER: return 2;
    case EIO_ONCE: errno = EIO; return 1;
    case FULL: is_full = 1; errno = ENOSPC; return 1;
    case POWER: power_lost(); die(); return 0;
    default: return 0;
    }
}

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    char path[PATH_MAX];
    if (inside || !root[0] || !path_of(fd, path)) return real(fd, data, size);
    int what = before(1);
    if (what == 1) return -1;
    if (what == 3) { real(fd, data, size / 2); die(); }
    ssize_t done = real(fd, data, size);
    if (what == 2) die();
    return done;
}

static int opened(const char *path, int flags, int mode, int (*call)(const char *, int, int)) {
    char whole[PATH_MAX];
    absolute(path, whole);
    if (inside || !(flags & O_CREAT) || !is_below(whole)) return call(path, flags, mode);
    struct stat s;
    int is_new = stat(whole, &s) != 0;
    int what = before(1);
    if (what == 1) return -1;
    if (what == 3) die();
    int fd = call(path, flags, mode);
    if (fd >= 0 && !fstat(fd, &s)) {
        set_lasting(s.st_ino, is_new ? 0 : s.st_size, !is_new);
        if (is_new) changed(CREATED, whole, "");
    }
    if (what == 2) die();
    return fd;
}

static int call_open(const char *path, int flags, int mode) { REAL(open); return real(path, flags, mode); }
static int call_open64(const char *path, int flags, int mode) { REAL(open64); return real(path, flags, mode); }

int open(const char *path, int flags, ...) {
    va_list more; va_start(more, flags); int mode = va_arg(more, int); va_end(more);
    return opened(path, flags, mode, call_open);
}
int open64(const char *path, int flags, ...) {
    va_list more; va_start(more, flags); int mode = va_arg(more, int); va_end(more);
    return opened(path, flags, mode, call_open64);
}

int fsync(int fd) {
    REAL(fsync);
    char path[PATH_MAX];
    if (inside || !root[0]) return real(fd);
    if (!path_of(fd, path) && strncmp(path, root, strlen(path))) return real(fd);
    int what = before(0);
    if (what == 1) return -1;
    if (what == 3) die();
    struct stat s;
    fstat(fd, &s);
    if (S_ISDIR(s.st_mode)) for (size_t i = 0; i < n_changes; i++) is_parent_synced(&changes[i], path);
    else set_lasting(s.st_ino, s.st_size, 0);
    if (what == 2) die();
    return 0; /* the model syncs, the disk need not */
}

static int truncated(int fd, off_t size, int (*call)(int, off_t)) {
    char path[PATH_MAX];
    if (inside || !root[0] || !path_of(fd, path)) return call(fd, size);
    int what = before(0);
    if (what == 1) return -1;
    if (what == 3) die();
    int done = call(fd, size);
    struct stat s;
    fstat(fd, &s);
    struct lasting *found = lasting_of(s.st_ino);
    if (found && found->bytes > size) found->bytes = size;
    if (what == 2) die();
    return done;
}
static int call_ftruncate(int fd, off_t size) { REAL(ftruncate); return real(fd, size); }
static int call_ftruncate64(int fd, off_t size) { REAL(ftruncate64); return real(fd, size); }
int ftruncate(int fd, off_t size) { return truncated(fd, size, call_ftruncate); }
int ftruncate64(int fd, off_t size) { return truncated(fd, size, call_ftruncate64); }

int rename(const char *old, const char *new) {
    REAL(rename);
    char from[PATH_MAX], to[PATH_MAX], kept[PATH_MAX];
    absolute(old, from), absolute(new, to);
    if (inside || !is_below(to)) return real(old, new);
    int what = before(1);
    if (what == 1) return -1;
    if (what == 3) die();
    inside = 1; keep(to, kept); inside = 0;
    int done = real(old, new);
    if (!done) snprintf(changed(RENAMED, from, to)->kept, PATH_MAX, "%s", kept);
    if (what == 2) die();
    return done;
}

int unlink(const char *path) {
    REAL(unlink);
    char whole[PATH_MAX], kept[PATH_MAX];
    absolute(path, whole);
    if (inside || !is_below(whole)) return real(path);
    int what = before(0);
    if (what == 1) return -1;
    if (what == 3) die();
    inside = 1; keep(whole, kept); inside = 0;
    int done = real(path);
    if (!done) snprintf(changed(REMOVED, whole, "")->kept, PATH_MAX, "%s", kept);
    if (what == 2) die();
    return done;
}

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    char whole[PATH_MAX];
    absolute(path, whole);
    if (inside || !is_below(whole)) return real(path, mode);
    int what = before(1);
    if (what == 1) return -1;
    if (what == 3) die();
    int done = real(path, mode);
    if (!done) changed(MADE, whole, "");
    if (what == 2) die();
    return done;
}

int rmdir(const char *path) {
    REAL(rmdir);
    char whole[PATH_MAX];
    absolute(path, whole);
    if (inside || !is_below(whole)) return real(path);
    int what = before(0);
    if (what == 1) return -1;
    if (what == 3) die();
    int done = real(path);
    if (!done) changed(UNMADE, whole, "");
    if (what == 2) die();
    return done;
}
