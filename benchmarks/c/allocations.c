/* Counts what a process asks for, when it is loaded before all else (LD_PRELOAD): calls of malloc and its like, and objects of Python.
   Only the thread that began is counted. What Python asks malloc for is counted as Python's alone. */
#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t), *__libc_memalign(size_t, size_t);

typedef struct {
    void *ctx;
    void *(*malloc)(void *, size_t);
    void *(*calloc)(void *, size_t, size_t);
    void *(*realloc)(void *, void *, size_t);
    void (*free)(void *, void *);
} Allocator;

extern void PyMem_GetAllocator(int, Allocator *) __attribute__((weak));
extern void PyMem_SetAllocator(int, Allocator *) __attribute__((weak));

static __thread int counts, inside; /* inside: Python is asking */
static long found[4];               /* calls and bytes of C, calls and bytes of Python */
static Allocator before[2];

static void note(int whose, size_t size) {
    if (counts && (whose || !inside)) {
        found[2 * whose]++;
        found[2 * whose + 1] += (long)size;
    }
}

void *malloc(size_t n) { note(0, n); return __libc_malloc(n); }
void *calloc(size_t k, size_t n) { note(0, k * n); return __libc_calloc(k, n); }
void *realloc(void *p, size_t n) { note(0, n); return __libc_realloc(p, n); }
void *memalign(size_t a, size_t n) { note(0, n); return __libc_memalign(a, n); }
void *aligned_alloc(size_t a, size_t n) { note(0, n); return __libc_memalign(a, n); }
int posix_memalign(void **out, size_t a, size_t n) {
    note(0, n);
    *out = __libc_memalign(a, n);
    return *out ? 0 : ENOMEM;
}

#define ASKED(size, call) \
    Allocator *a = ctx; \
    note(1, size); \
    inside++; \
    void *out = call; \
    inside--; \
    return out

static void *py_malloc(void *ctx, size_t n) { ASKED(n, a->malloc(a->ctx, n)); }
static void *py_calloc(void *ctx, size_t k, size_t n) { ASKED(k * n, a->calloc(a->ctx, k, n)); }
static void *py_realloc(void *ctx, void *p, size_t n) { ASKED(n, a->realloc(a->ctx, p, n)); }
static void py_free(void *ctx, void *p) { Allocator *a = ctx; a->free(a->ctx, p); }

/* Look at Python's objects, too: the domains `mem` and `obj`. Once. */
void watch_python(void) {
    for (int domain = 1; domain < 3; domain++) {
        Allocator *a = &before[domain - 1];
        PyMem_GetAllocator(domain, a);
        Allocator mine = {a, py_malloc, py_calloc, py_realloc, py_free};
        PyMem_SetAllocator(domain, &mine);
    }
}

/* Count from here on, from zero. */
void begin(void) {
    for (int k = 0; k < 4; k++) found[k] = 0;
    counts = 1;
}

/* Count no longer; what was found. */
void end(long *out) {
    counts = 0;
    for (int k = 0; k < 4; k++) out[k] = found[k];
}
