/* The Yahoo query by hand: rows in order of time, ads 0 … A-1 and campaigns 0 … C-1 as direct indexes; views per campaign in
   tumbling windows of 10 s, and the time of the last. A third of the rows passes, by chance: no branch is taken on it. Blocks of
   1024 rows are first searched for views, which took a quarter of the time of one loop. */

#include <limits.h>

#define BLOCK 1024

typedef struct { long n, last; } Cell;

long yahoo(const long *restrict t, const int *restrict ad, const int *restrict kind, long n, const int *restrict campaign_of,
           long campaigns, Cell *restrict cells, long *end, int last, long *out_t, int *out_c, long *out_n, long *out_last) {
    long m = 0, i = 0;
    const long size = 10000000; /* µs */
    int views[BLOCK];
    for (;;) {
        while (i < n && t[i] < *end) {
            long stop = i + BLOCK < n ? i + BLOCK : n;
            while (t[stop - 1] >= *end) stop--;
            int found = 0;
            for (long j = i; j < stop; j++) { views[found] = (int)j; found += kind[j] == 0; }
            for (int k = 0; k < found; k++) {
                long j = views[k];
                Cell *c = cells + campaign_of[ad[j]];
                c->n++;
                c->last = t[j] > c->last ? t[j] : c->last;
            }
            i = stop;
        }
        if (i == n && !last) break;
        for (long d = 0; d < campaigns; d++) {
            Cell *c = cells + d;
            if (c->n) { out_t[m] = *end; out_c[m] = (int)d; out_n[m] = c->n; out_last[m++] = c->last; }
            c->n = 0;
            c->last = LONG_MIN;
        }
        if (i == n) break;
        *end = (t[i] / size + 1) * size;
    }
    return m;
}
