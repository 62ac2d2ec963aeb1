/* What one core can do at most: fused multiply-adds of vectors that do not wait for each other. */

#define WIDE 128 /* as many as the registers take on AVX-512; half of them wait in the first cache elsewhere */

double multiply_add(long rounds, double a, double b) {
    double x[WIDE];
    for (int j = 0; j < WIDE; j++) x[j] = j;
    for (long i = 0; i < rounds; i++) {
#pragma GCC unroll 1
        for (int k = 0; k < 1; k++)
#pragma GCC ivdep
            for (int j = 0; j < WIDE; j++) x[j] = __builtin_fma(x[j], a, b);
    }
    double sum = 0;
    for (int j = 0; j < WIDE; j++) sum += x[j];
    return sum;
}

long multiply_add_width(void) { return WIDE; }
