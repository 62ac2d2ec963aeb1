/* Four queries of NEXMark by hand. Rows in order of time, times in ns; ids are dense from FIRST on, and direct indexes.
   Windows are [k size, k size + size), as everywhere here; what a batch leaves open stays in the arrays that are handed in. */

#include <limits.h>

#define FIRST 1000
#define PANES 5

static const long pane_ns = 2000000000L, window_ns = 10000000000L;

/* Q1: prices in another currency. */
void q1(const long *restrict price, double *restrict out, long n) {
    for (long i = 0; i < n; i++) out[i] = 0.908 * (double)price[i];
}

/* Q2: bids on some auctions. Returns how many. */
long q2(const long *restrict t, const long *restrict auction, const long *restrict price, long n,
        long *restrict out_t, long *restrict out_a, long *restrict out_p) {
    long m = 0;
    for (long i = 0; i < n; i++) {
        out_t[m] = t[i]; out_a[m] = auction[i]; out_p[m] = price[i];
        m += auction[i] % 123 == 0;
    }
    return m;
}

/* Q5: per window of 10 s, each 2 s, the auctions with the most bids. Bids are counted by pane of 2 s; a window is five panes, of
   which only the span of auctions is looked at that had a bid. `count` has PANES rows of `room` counts; `pane` is the number of
   the open one, -1 at first; `low`, `high` are the spans. Returns how many rows. */
typedef struct { long pane, low[PANES], high[PANES]; } Panes;

static long hot(const int *restrict count, long room, const Panes *s, long *out_t, long *out_a, long *out_n, long m) {
    long low = LONG_MAX, high = -1;
    for (int p = 0; p < PANES; p++) {
        if (s->low[p] < low) low = s->low[p];
        if (s->high[p] > high) high = s->high[p];
    }
    int most = 0;
    for (long a = low; a <= high; a++) {
        int n = 0;
        for (int p = 0; p < PANES; p++) n += count[p * room + a];
        most = n > most ? n : most;
    }
    if (most)
        for (long a = low; a <= high; a++) {
            int n = 0;
            for (int p = 0; p < PANES; p++) n += count[p * room + a];
            if (n == most) { out_t[m] = (s->pane + 1) * pane_ns; out_a[m] = a + FIRST; out_n[m++] = n; }
        }
    return m;
}

long q5(const long *restrict t, const long *restrict auction, long n, int *restrict count, long room, Panes *s, int last,
        long *out_t, long *out_a, long *out_n) {
    long m = 0, i = 0;
    if (s->pane < 0 && n) s->pane = t[0] / pane_ns;
    for (;;) {
        int p = (int)(s->pane % PANES);
        int *c = count + p * room;
        long stop = (s->pane + 1) * pane_ns, low = s->low[p], high = s->high[p];
        for (; i < n && t[i] < stop; i++) {
            long a = auction[i] - FIRST;
            c[a]++;
            low = a < low ? a : low;
            high = a > high ? a : high;
        }
        s->low[p] = low;
        s->high[p] = high;
        if (i == n) break;
        m = hot(count, room, s, out_t, out_a, out_n, m);
        s->pane++;
        p = (int)(s->pane % PANES);
        for (long a = s->low[p]; a <= s->high[p]; a++) count[p * room + a] = 0;
        s->low[p] = LONG_MAX;
        s->high[p] = -1;
    }
    if (last && s->pane >= 0)
        for (int more = 0; more < PANES; more++) {
            m = hot(count, room, s, out_t, out_a, out_n, m);
            s->pane++;
            int p = (int)(s->pane % PANES);
            for (long a = s->low[p]; a <= s->high[p]; a++) count[p * room + a] = 0;
            s->low[p] = LONG_MAX;
            s->high[p] = -1;
        }
    return m;
}

/* Q8: per window of 10 s, the persons who registered in it and opened an auction in it. Goes on from place to place in both
   batches; `registered` and `opened` have the end of the last window in which each person did. Returns 1 where it wants persons,
   2 where it wants auctions, 0 where both have ended. */
typedef struct { long end, low, high, person, auction, rows; } Merge;

int q8(const long *restrict pt, const long *restrict id, long persons, int last_persons, const long *restrict at, const long *restrict seller,
       long auctions, int last_auctions, long *restrict registered, long *restrict opened, Merge *s, long *out_t, long *out_id) {
    long i = s->person, j = s->auction;
    for (;;) {
        long end = s->end;
        for (; i < persons && pt[i] < end; i++) {
            long p = id[i] - FIRST;
            registered[p] = end;
            s->low = p < s->low ? p : s->low;
            s->high = p > s->high ? p : s->high;
        }
        for (; j < auctions && at[j] < end; j++) opened[seller[j] - FIRST] = end;
        s->person = i;
        s->auction = j;
        if (i == persons && !last_persons) return 1;
        if (j == auctions && !last_auctions) return 2;
        for (long p = s->low; p <= s->high; p++)
            if (registered[p] == end && opened[p] == end) { out_t[s->rows] = end; out_id[s->rows++] = p + FIRST; }
        s->low = LONG_MAX;
        s->high = -1;
        if (i == persons && j == auctions) return 0;
        long next = j == auctions || (i < persons && pt[i] < at[j]) ? pt[i] : at[j];
        s->end = (next / window_ns + 1) * window_ns;
    }
}
