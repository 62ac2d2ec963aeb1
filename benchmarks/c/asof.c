/* The as-of join by hand: two streams in order of time, keys 0 … K-1 as direct indexes; each left row gets the newest right row
   of its key that is not behind it. State goes on from batch to batch: `j` rows of the right batch are taken. */

#include <math.h>

long asof(const long *restrict lt, const int *restrict lk, long n, long *at, const long *restrict rt, const int *restrict rk,
          const double *restrict rv, long m, long *taken, long *last_t, double *last_v, long *out_t, double *out_v) {
    long i = *at, j = *taken;
    for (; i < n; i++) {
        while (j < m && rt[j] <= lt[i]) { last_t[rk[j]] = rt[j]; last_v[rk[j]] = rv[j]; j++; }
        if (j == m) break; /* the next right batch may still come before this row */
        out_t[i] = last_t[lk[i]];
        out_v[i] = last_v[lk[i]];
    }
    *at = i;
    *taken = j;
    return i;
}
