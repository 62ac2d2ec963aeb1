"""Random expressions: numbers, conditions, functions and aggregates of the registry, with their arguments."""

from support.operators import choices

from flowedge.operators import discover
from flowedge.operators.contract import REQUIRED, Context, Function, Refused
from flowedge.types.schema import BOOL, F64, TIME

SPANS = ("0.3 s", "1 s", "2.5 s", "7 s")
CLASSES = discover()


class Expressions:
    """Draws expressions over the columns of a stream.

    Attributes
    ----------
    random : what draws
    type, rate : of the stream
    words : operators drawn so far
    """

    def __init__(self, rng):
        self.random, self.words = rng, set()
        self.type, self.rate = None, None

    def numbers(self):
        return [c.name for c in self.type.columns if c.type.is_number and not c.type.shape]

    def number(self, depth=2):
        rng, columns = self.random, self.numbers()
        if not columns or rng.random() < 0.05:
            return rng.choice(["0.5", "2", "1e6"])
        if depth == 0 or rng.random() < 0.3:
            return rng.choice(columns)
        way = rng.random()
        if way < 0.25:
            return f"({self.number(depth - 1)} {rng.choice('+-*/%')} {self.number(depth - 1)})"
        if way < 0.32:
            return f"if({self.condition(depth - 1)}, {self.number(depth - 1)}, {self.number(depth - 1)})"
        if way < 0.5:
            extent = rng.choice([*SPANS, "4 samples", "9 samples"])
            return f"{self.aggregate(depth - 1)} over {extent}"
        if way < 0.57:
            return f"{rng.choice(['lead', 'lag'])}({rng.choice(columns)}, {rng.choice([1, 2, 5])})"
        if way < 0.63:
            return f"prev({rng.choice(columns)}, 0)"
        return self.call(F64, depth - 1)

    def condition(self, depth=1):
        rng = self.random
        flags = [c.name for c in self.type.columns if c.type.store == "bool" and not c.type.shape]
        way = rng.random()
        if depth == 0 or way < 0.45:
            if flags and rng.random() < 0.3:
                return rng.choice(flags)
            return f"{self.number(0)} {rng.choice(['<', '>', '<=', '>='])} {rng.choice(['0', '0.5', '-1'])}"
        if way < 0.65:
            return f"({self.condition(depth - 1)} {rng.choice(['and', 'or'])} {self.condition(depth - 1)})"
        if way < 0.8:
            return f"not {self.condition(depth - 1)}"
        if way < 0.87:
            names = [c.name for c in self.type.columns if not c.type.shape] or ["time"]
            return f"missing({rng.choice(names)})"
        return self.call(BOOL, depth - 1)

    def call(self, wanted, depth):
        """A function of the registry that gives such a value."""
        name, takes = self.random.choice(_FUNCTIONS[wanted.store])
        cls = CLASSES["function", name]
        least, most = cls.inputs if isinstance(cls.inputs, tuple) else (cls.inputs, cls.inputs)
        values = [
            {"f64": self.number, "bool": self.condition, "time": lambda _: "time"}[takes](depth)
            for _ in range(self.random.randint(least, most))
        ]
        self.words.add(name)
        return f"{name}({', '.join([*values, *self.arguments(cls)])})"

    def aggregate(self, depth=1):
        name, cls = self.random.choice(_AGGREGATES)
        least, most = cls.inputs if isinstance(cls.inputs, tuple) else (cls.inputs, cls.inputs)
        values = [self.number(min(depth, 1)) for _ in range(self.random.randint(least, most))]
        self.words.add(name)
        return f"{name}({', '.join([*values, *self.arguments(cls)])})"

    def arguments(self, cls):
        return [
            f"{p.name}={shown}"
            for p in cls.parameters
            if p.default is REQUIRED or self.random.random() < 0.4
            if (shown := self._argument(p)) is not None
        ]

    def _argument(self, parameter):
        rng, rate = self.random, self.rate or 10.0
        if parameter.name == "at_most":
            return "6 s"
        match parameter.kind:
            case "duration":
                return rng.choice(SPANS)
            case "frequency":
                return f"{rate * rng.choice([0.05, 0.1, 0.2]):g} Hz"
            case "band":
                return f"{rate * 0.05:g} Hz .. {rate * rng.choice([0.2, 0.3]):g} Hz"
            case "extent":
                return rng.choice(["3 samples", "5 samples", "7 samples"])
            case "same" | "difference":
                return rng.choice(["0.25", "0.5", "2"])
            case "number":
                return rng.choice(["0.5", "0.75"]) if parameter.default is not REQUIRED else "2"
            case "integer":
                return rng.choice(["1", "2", "3"]) if parameter.name != "ddof" else rng.choice("01")
            case "flag":
                return rng.choice(["true", "false"])
            case "numbers":
                return rng.choice(["[0.25, 0.5, 0.25]", "[1, -1]"])
            case "zone":
                return rng.choice(['"Europe/Brussels"', '"UTC"'])
            case "threshold":
                return rng.choice(["0.5", "adaptive(2 s)"])
        return None


def _functions():
    """For each kind of result the functions that give it: (name, what they take)."""
    found = {"f64": [], "bool": []}
    context = Context(rate_hz=10.0)
    for (kind, name), cls in CLASSES.items():
        if kind != "function" or not issubclass(cls, Function):
            continue
        for takes in (F64, BOOL, TIME):
            count = cls.inputs[0] if isinstance(cls.inputs, tuple) else cls.inputs
            try:
                given = {p.name: v for p, v in _samples(cls)}
                out = cls(**given).out((takes,) * count, context)
            except (Refused, TypeError, AttributeError):
                continue
            key = "bool" if out.store == "bool" else "f64" if out.is_number else None
            if key is not None:
                found[key].append((name, takes.store))
                break
    return found


def _samples(cls):
    """A value for each parameter of a class, defaults where there are any."""
    given = choices(cls.parameters)[0]
    return [(p, given.get(p.name, p.default)) for p in cls.parameters]


_FUNCTIONS = _functions()
_AGGREGATES = [(n, c) for (k, n), c in CLASSES.items() if k == "aggregate"]
