/* What `benchmarks/instructions.py` asks of Callgrind while it runs. Outside Callgrind each does nothing. */
#include <valgrind/callgrind.h>

/* Count from here on, from zero. */
void begin(void) {
    CALLGRIND_START_INSTRUMENTATION;
    CALLGRIND_ZERO_STATS;
}

/* Write down what was counted under a name, and count no longer. */
void end(const char *name) {
    CALLGRIND_DUMP_STATS_AT(name);
    CALLGRIND_STOP_INSTRUMENTATION;
}
