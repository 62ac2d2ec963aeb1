/* The ECG chain by hand: four biquads, five-point derivative, square, mean of 54 samples.
   The mean keeps two stacks in one ring, so a spike that has left the window leaves no trace. */

#define N 54

typedef struct { double z[8], lag[4], ring[N + 1], run; long place; } State;

#define BIQUAD(k)                                                                        \
    o = sos[6 * k] * v + z##k##1;                                                        \
    z##k##1 = sos[6 * k + 1] * v - sos[6 * k + 4] * o + z##k##2;                         \
    z##k##2 = sos[6 * k + 2] * v - sos[6 * k + 5] * o;                                   \
    v = o;

void ecg_chain(const double *restrict x, double *restrict y, long n, State *s, const double *restrict sos) {
    double z01 = s->z[0], z02 = s->z[1], z11 = s->z[2], z12 = s->z[3];
    double z21 = s->z[4], z22 = s->z[5], z31 = s->z[6], z32 = s->z[7];
    double a = s->lag[0], b = s->lag[1], c = s->lag[2], d = s->lag[3], run = s->run;
    long p = s->place, i = 0;
    while (i < n) {
        long stop = i + N - p < n ? i + N - p : n;
        for (; i < stop; i++) {
            double v = x[i], o, slope;
            BIQUAD(0) BIQUAD(1) BIQUAD(2) BIQUAD(3)
            slope = 45.0 * (v + 2 * a - 2 * c - d);
            d = c; c = b; b = a; a = v;
            slope *= slope;
            run += slope;
            s->ring[p++] = slope;
            y[i] = (s->ring[p] + run) / N;
        }
        if (p == N) {
            double sum = 0;
            for (long q = N - 1; q >= 0; q--) { sum += s->ring[q]; s->ring[q] = sum; }
            p = 0;
            run = 0;
        }
    }
    s->z[0] = z01; s->z[1] = z02; s->z[2] = z11; s->z[3] = z12;
    s->z[4] = z21; s->z[5] = z22; s->z[6] = z31; s->z[7] = z32;
    s->lag[0] = a; s->lag[1] = b; s->lag[2] = c; s->lag[3] = d;
    s->run = run; s->place = p;
}

/* The same for KEYS signals whose samples come in turn, one beside the other in the lanes of vectors. */

#define KEYS 8
typedef struct { double z[8][KEYS], lag[4][KEYS], ring[N + 1][KEYS], run[KEYS]; long place; } States;

void ecg_chains(const double *restrict x, double *restrict y, long rounds, States *restrict s, const double *restrict sos) {
    long p = s->place;
    for (long i = 0; i < rounds; i++) {
        const double *restrict in = x + KEYS * i;
        double *restrict out = y + KEYS * i;
        double *restrict raw = s->ring[p], *restrict old = s->ring[p + 1];
        for (int j = 0; j < KEYS; j++) {
            double v = in[j];
            for (int k = 0; k < 4; k++) {
                double o = sos[6 * k] * v + s->z[2 * k][j];
                s->z[2 * k][j] = sos[6 * k + 1] * v - sos[6 * k + 4] * o + s->z[2 * k + 1][j];
                s->z[2 * k + 1][j] = sos[6 * k + 2] * v - sos[6 * k + 5] * o;
                v = o;
            }
            double slope = 45.0 * (v + 2 * s->lag[0][j] - 2 * s->lag[2][j] - s->lag[3][j]);
            s->lag[3][j] = s->lag[2][j];
            s->lag[2][j] = s->lag[1][j];
            s->lag[1][j] = s->lag[0][j];
            s->lag[0][j] = v;
            slope *= slope;
            s->run[j] += slope;
            raw[j] = slope;
            out[j] = (old[j] + s->run[j]) / N;
        }
        if (++p == N) {
            for (long q = N - 2; q >= 0; q--)
                for (int j = 0; j < KEYS; j++) s->ring[q][j] += s->ring[q + 1][j];
            for (int j = 0; j < KEYS; j++) s->run[j] = 0;
            p = 0;
        }
    }
    s->place = p;
}
