/* Lossy compressions by hand: each keeps points of a series so that none of its samples errs by more than `e`.
   `at` and `value` take the points; the number of points is given back. */

#include <math.h>

/* Constant pieces with the middle of their range, as long as they can be (PMC-MR). */
long constant(const double *restrict x, long n, double e, long *restrict at, double *restrict value) {
    long k = 0;
    double low = x[0], high = x[0];
    at[0] = 0;
    for (long i = 1; i < n; i++) {
        double l = x[i] < low ? x[i] : low, h = x[i] > high ? x[i] : high;
        if (h - l > 2 * e) {
            value[k++] = 0.5 * (low + high);
            at[k] = i;
            l = h = x[i];
        }
        low = l;
        high = h;
    }
    value[k++] = 0.5 * (low + high);
    return k;
}

/* Swinging door with its doors at half the bound, since the lines between kept samples err by twice their setting. */
long door(const double *restrict x, long n, double e, long *restrict at, double *restrict value) {
    long k = 0, first = 0;
    double base = x[0], up = -INFINITY, down = INFINITY;
    e *= 0.5;
    at[k] = 0;
    value[k++] = base;
    for (long i = 1; i < n; i++) {
        double r = 1.0 / (double)(i - first), u = (x[i] - base - e) * r, d = (x[i] - base + e) * r;
        up = u > up ? u : up;
        down = d < down ? d : down;
        if (up > down) {
            first = i - 1;
            base = x[first];
            at[k] = first;
            value[k++] = base;
            up = x[i] - base - e;
            down = x[i] - base + e;
        }
    }
    at[k] = n - 1;
    value[k++] = x[n - 1];
    return k;
}

/* Connected lines that need not meet a sample, each with the middle of the slopes that are left (swing filter). */
long swing(const double *restrict x, long n, double e, long *restrict at, double *restrict value) {
    long k = 0, first = 0;
    double base = x[0], low = -INFINITY, high = INFINITY;
    at[k] = 0;
    value[k++] = base;
    for (long i = 1; i < n; i++) {
        double r = 1.0 / (double)(i - first), h = (x[i] - base + e) * r, l = (x[i] - base - e) * r;
        double nl = l > low ? l : low, nh = h < high ? h : high;
        if (nl > nh) {
            base += 0.5 * (low + high) * (double)(i - 1 - first);
            first = i - 1;
            at[k] = first;
            value[k++] = base;
            nl = x[i] - base - e;
            nh = x[i] - base + e;
        }
        low = nl;
        high = nh;
    }
    at[k] = n - 1;
    value[k++] = base + 0.5 * (low + high) * (double)(n - 1 - first);
    return k;
}

/* Every sample to the nearest multiple of twice the bound; one is kept where it changes. */
long quantize(const double *restrict x, long n, double e, long *restrict at, double *restrict value) {
    long k = 0;
    double step = 2 * e, kept = NAN;
    for (long i = 0; i < n; i++) {
        double v = floor(x[i] / step + 0.5) * step;
        at[k] = i;
        value[k] = v;
        k += v != kept;
        kept = v;
    }
    return k;
}
