/* The fleet by hand: rows in order of time, devices 0 … D-1 as direct indexes, tumbling 10 s windows
   of what is above 20 degrees: count, and mean, min and max of two columns, in order of device. */

#include <math.h>
#include <string.h>

typedef struct { double n, st, lt, ht, sh, lh, hh; } Cell;

long fleet(const long *restrict t, const int *restrict k, const double *restrict temp, const double *restrict hum, long n,
           long devices, Cell *cells, long *end, int last, long *out_t, int *out_k, long *out_n, double *out) {
    long m = 0;
    const long size = 10000000000L;
    for (long i = 0; i <= n; i++) {
        if (i == n ? last : t[i] >= *end) {
            if (*end)
                for (long d = 0; d < devices; d++) {
                    Cell *c = cells + d;
                    if (c->n == 0) continue;
                    out_t[m] = *end; out_k[m] = (int)d; out_n[m] = (long)c->n;
                    double *o = out + 6 * m++;
                    o[0] = c->st / c->n; o[1] = c->lt; o[2] = c->ht; o[3] = c->sh / c->n; o[4] = c->lh; o[5] = c->hh;
                    c->n = 0;
                }
            if (i < n) *end = (t[i] / size + 1) * size;
        }
        if (i == n) break;
        double v = temp[i], h = hum[i];
        if (!(v > 20.0)) continue;
        Cell *c = cells + k[i];
        if (c->n == 0) { c->st = c->sh = 0; c->lt = c->lh = INFINITY; c->ht = c->hh = -INFINITY; }
        c->n += 1;
        c->st += v; if (v < c->lt) c->lt = v; if (v > c->ht) c->ht = v;
        c->sh += h; if (h < c->lh) c->lh = h; if (h > c->hh) c->hh = h;
    }
    return m;
}
