"""Each operator with the arguments that the battery tries it with, and ways to run it by itself."""

import math
from itertools import pairwise

import numpy as np

from flowedge.operators import discover
from flowedge.operators.contract import (
    MISSING_TIME,
    REQUIRED,
    Context,
    Extent,
)
from flowedge.types.schema import BOOL, F64, TIME

RATE_HZ = 100.0
SAMPLES = {
    "duration": (0.05,), "frequency": (7.0,), "extent": (Extent(samples=5), Extent(seconds=0.09)), "band": ((5.0, 20.0),),
    "same": (0.5,), "difference": (0.5, 2.0), "number": (2.0,), "integer": (1, 3), "flag": (True,), "text": ("a",),
    "numbers": ((0.5, 0.25, -1.0), (2.0,), tuple(0.1 * k for k in range(40))), "zone": ("Europe/Brussels", "UTC"),
}  # fmt: skip
"""Values of each kind of parameter; every operator is tried with each of them in turn."""
OWN = {
    "std": ({"ddof": 0}, {"ddof": 1}),
    "var": ({"ddof": 0}, {"ddof": 1}),
    "lag": ({"n": 1}, {"n": 3}, {"n": 30}),
    "savgol": ({"length": Extent(samples=5)}, {"length": Extent(samples=21), "order": 3}),
    "mel": ({"bands": 3, "band": (0.0, 50.0)}, {"bands": 8, "band": (2.0, 40.0)}),
    "clock": ({"zone": "Europe/Brussels"}, {"zone": "America/Havana"}),
    "weekday": ({"zone": "Europe/Brussels"}, {"zone": "UTC"}),
    "date": ({"zone": "Europe/Brussels"}, {"zone": "America/Havana"}),
    "band": ({"band": (0.0, 50.0)}, {"band": (5.0, 20.0)}),
}
"""Parameters that must fit together."""
CONDITIONS = frozenset({"edge", "held", "latch", "since"})
TIMES = frozenset({"clock", "weekday", "date"})


def all_of(kind):
    """Every operator of a class, made with sample parameters: (label, operator)."""
    for (_, name), cls in discover().items():
        if issubclass(cls, kind):
            for given in OWN.get(name) or choices(cls.parameters):
                shown = ", ".join(f"{k}={v}" for k, v in given.items())
                yield f"{name}({shown})"[:60], cls(**given)


def choices(parameters):
    """Sample values for each parameter; as many sets as the longest list of them."""
    needed = [p for p in parameters if p.default is REQUIRED]
    rounds = max((len(SAMPLES[p.kind]) for p in needed), default=1)
    return [
        {p.name: SAMPLES[p.kind][r % len(SAMPLES[p.kind])] for p in needed} for r in range(rounds)
    ]


def arity(operator):
    """How many inputs to try."""
    return operator.inputs if isinstance(operator.inputs, tuple) else (operator.inputs,)


def types_of(operator, count):
    """The types that its inputs are tried with."""
    if operator.name in TIMES:
        return (TIME,)
    return ((BOOL if operator.name in CONDITIONS else F64),) * count


def inputs_for(operator, count, rng, n):
    """Columns of n values with runs of missing ones, for as many inputs."""
    if operator.name in TIMES:
        t = rng.integers(0, 4 * 10**18, n)
        t[rng.random(n) < 0.1] = MISSING_TIME
        return (t,)
    if operator.name in CONDITIONS:
        return tuple(rng.choice([0, 1, 1, 2], n).astype(np.int64) for _ in range(count))
    return tuple(with_gaps(rng, np.round(rng.normal(0, 2, n), 1)) for _ in range(count))


def with_gaps(rng, x):
    """The same with runs of NaN."""
    x = x.copy()
    for start in np.flatnonzero(rng.random(len(x)) < 0.05):
        x[start : start + rng.integers(1, 6)] = np.nan
    return x


def times(n, rate_hz=RATE_HZ):
    """Times of a signal [ns]."""
    return 1_600_000_000 * 10**9 + np.round(np.arange(n) * 1e9 / rate_hz).astype(np.int64)


class Machine:
    """The steps of a function with their state, as a kernel holds it for one key."""

    def __init__(self, function, types, context):
        function.out(types, context)
        self.steps = function.steps(types, context)
        self.state = [s.start for s in self.steps]
        # What a ring holds at the start is undefined, so it holds what would be noticed.
        self.rings = [np.full(s.ring, 1e300) for s in self.steps]

    def push(self, time_ns, *columns):
        """Rows in, values out, one at a time."""
        return [
            self.row(int(time_ns[k]), *(c[k].item() for c in columns)) for k in range(len(time_ns))
        ]

    def row(self, t, *values):
        """One row through the cascade."""
        if self.steps[0].skips_missing and not math.isfinite(values[0]):
            return values[0]
        for k, step in enumerate(self.steps):
            when = (t,) if step.needs_time else ()
            if not step.start:
                values = (step.run(*when, *values, *step.constants),)
                continue
            ring = (self.rings[k],) if step.ring else ()
            self.state[k], y = step.run(self.state[k], *ring, *when, *values, *step.constants)
            values = (y,)
        return values[0]

    def snapshot(self):
        """A copy of all that it remembers."""
        return list(self.state), [r.copy() for r in self.rings]

    def restore(self, kept):
        """Go on from a copy."""
        self.state, self.rings = list(kept[0]), [r.copy() for r in kept[1]]


def run(function, time_ns, columns, types, cuts=(), restart=True, rate_hz=RATE_HZ):
    """A function over columns cut at places; at each cut it goes on in a new machine from a copy."""
    context = Context(rate_hz=rate_hz)
    machine, out = Machine(function, types, context), []
    edges = sorted({0, len(time_ns), *(c % (len(time_ns) + 1) for c in cuts)})
    for a, b in pairwise(edges):
        out += machine.push(time_ns[a:b], *(c[a:b] for c in columns))
        if restart:
            kept = machine.snapshot()
            machine = Machine(function, types, context)
            machine.restore(kept)
    return np.array(out, dtype=None if out else float)


def fold(aggregate, time_ns, columns, types, order=None):
    """A fold over a window: one part after the other, or in an order of merges (random numbers)."""
    context = Context(rate_hz=RATE_HZ, in_frame=True, length=len(time_ns))
    constants = aggregate.constants(types, context)
    cls = type(aggregate)
    rows = [
        cls.lift(int(time_ns[k]), *(c[k].item() for c in columns), *constants)
        for k in range(len(time_ns))
    ]
    if order is None:
        state = tuple(cls.zero)
        for row in rows:
            state = cls.merge(state, row)
    else:
        parts = [tuple(cls.zero), *rows, tuple(cls.zero)]
        while len(parts) > 1:
            at = order.integers(0, len(parts) - 1)
            parts[at : at + 2] = [cls.merge(parts[at], parts[at + 1])]
        (state,) = parts
    return cls.result(state, *constants)


def finish(aggregate, columns, types):
    """A collecting aggregate over a window, as a kernel calls it."""
    (x,) = columns
    x = x if aggregate.needs_rate else x[~np.isnan(x)]
    context = Context(rate_hz=RATE_HZ, in_frame=True, length=len(columns[0]))
    constants = aggregate.constants(types, context)
    # Scratch memory holds what others left there.
    work = np.full(2 * max(len(x), 1), 1e300)
    length = aggregate.length(types, context)
    out = (
        work if length == 1 and not aggregate.out(types, context).shape else np.full(length, np.nan)
    )
    found = type(aggregate).finish(x.copy(), len(x), work, out, *constants)
    return out.copy() if out is not work else found
