"""Expressions of one row as source text.

A value is a tuple of texts, one for each element (a scalar has one). Floats are Python floats with
NaN for missing; integers, times and text ids are ints with `MISSING` (or -1 for text) for missing;
a bool is the int 0, 1 or 2 (missing), and inside conditions a Python bool.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from flowedge.compile.emit.passes import MARK, Calm
from flowedge.compile.emit.rolling import emit_rolling
from flowedge.compile.emit.state import State
from flowedge.compile.emit.writer import literal
from flowedge.compile.memory import LANES, SECTION_STATE
from flowedge.graph.expressions import (
    Apply,
    Arithmetic,
    Cast,
    Choose,
    Compare,
    Const,
    Element,
    Expr,
    Fold,
    IsMissing,
    Lead,
    Logic,
    Negative,
    Not,
    Previous,
    Read,
    Rolling,
    Vector,
)
from flowedge.lang.errors import InternalError
from flowedge.operators.contract import Context, Step
from flowedge.operators.filters.iir import biquad
from flowedge.types.schema import F64, Type

Value = tuple[str, ...]

INT_RANGE = {
    "i8": (-(2**7), 2**7 - 1), "i16": (-(2**15), 2**15 - 1), "i32": (-(2**31), 2**31 - 1),
    "u8": (0, 2**8 - 1), "u16": (0, 2**16 - 1), "u32": (0, 2**32 - 1),
}  # fmt: skip


@dataclass
class Values:
    """Turns expressions into text for the row at hand, writing statements where state is stepped.

    Attributes
    ----------
    read : gives the value of a column by name
    text_id : the number that the session's pool will give to a text of the pipeline
    time : text of the row's time
    bound : columns as they stand at this point of the chain
    """

    state: State
    read: Callable[[str, Type], Value]
    text_id: Callable[[str], int]
    time: str = "t"
    bound: dict[str, Value] = field(default_factory=dict)
    pending: list[tuple[str, Type, Sequence[str], str]] = field(default_factory=list)
    folds: "dict[Fold, Value]" = field(default_factory=dict)
    """Aggregates over the frame at hand, computed before its samples."""
    lags: dict[Expr, int] = field(default_factory=dict)
    """How far back `lag` looks at an expression of the stage at hand, where more than one does."""
    floats: set[str] = field(default_factory=set)
    """Variables that hold float64, whatever the data."""
    calms: list[Calm] = field(default_factory=list)
    """What may stand in place of marked lines where nothing is odd."""
    sound: dict[str, str] = field(default_factory=dict)
    """Functions, and those that do the same for values that are there, without a branch."""
    steady: list[tuple[tuple[str, str], Sequence[str]]] = field(default_factory=list)
    """What such a function takes and gives, which is to be finite, and cells that are to hold a number."""
    _stepped: dict[object, Value] = field(default_factory=dict)

    # ---- entry points

    def value(self, expr: Expr) -> Value:
        """The texts of an expression, one for each element."""
        match expr:
            case Const(value=value, type=type_):
                return (self._constant(value, type_),) * type_.size
            case Read(name=name, type=type_):
                return self.column(name, type_)
            case Vector(values=values):
                return tuple(self.scalar(v) for v in values)
            case Element(value=value, index=index):
                return (self.value(value)[index],)
            case Arithmetic() | Negative():
                return self._arithmetic(expr)
            case Cast(value=value, type=type_):
                return tuple(self._cast(v, value.type, type_) for v in self.value(value))
            case Choose():
                return self._choose(expr)
            case Compare() | Logic() | Not() | IsMissing():
                return (f"(1 if {self.condition(expr)} else 0)",)
            case Apply():
                return self._apply(expr)
            case Rolling():
                return self._rolling(expr)
            case Previous():
                return self._previous(expr)
            case Fold() if expr in self.folds:
                return self.folds[expr]
            case Lead():
                raise InternalError(
                    "`lead` reached a kernel", expected="an Ahead node", seen=str(expr)
                )
            case _:
                raise InternalError(
                    "an aggregate outside a window", expected="a row value", seen=str(expr)
                )

    def scalar(self, expr: Expr) -> str:
        """The text of an expression that has one element."""
        (text,) = self.value(expr)
        return text

    def named(self, expr: Expr, stem: str) -> Value:
        """The same, held in local variables, whose names no function has."""
        return tuple(self._noted(self.hold(v, f"v_{stem}"), expr.type) for v in self.value(expr))

    def _noted(self, name: str, type_: Type) -> str:
        if type_.is_float:
            self.floats.add(name)
        return name

    def number(self, expr: Expr) -> Value:
        """An expression as floats."""
        return tuple(self._float(v, expr.type) for v in self.value(expr))

    def condition(self, expr: Expr) -> str:
        """A bool expression as a Python condition; missing is false."""
        match expr:
            case Compare():
                return self._compare(expr)
            case Logic(op=op, values=values):
                return "(" + f" {op} ".join(self.condition(v) for v in values) + ")"
            case Not(value=value):
                return f"(not {self.condition(value)})"
            case IsMissing(value=value):
                return (
                    "(" + " or ".join(self._missing(v, value.type) for v in self.value(value)) + ")"
                )
            case Const(value=value):
                return "True" if value else "False"
            case _:
                return f"({self.scalar(expr)} == 1)"

    def hold(self, text: str, stem: str = "v") -> str:
        """A local variable for a text, or the text itself if it is a name or a number already."""
        if text.isidentifier() or _is_number(text):
            return text
        name = self.state.sheet.fresh(stem)
        self.state.sheet(f"{name} = {text}")
        return name

    def column(self, name: str, type_: Type) -> Value:
        """A column as it stands; read from memory at the first use."""
        if name == "time":
            return (self.time,)
        if name not in self.bound:
            self.bound[name] = self.read(name, type_)
        return self.bound[name]

    def settle(self, final: dict[str, Value]) -> None:
        """Keep for the next row what `prev` will ask for; at the end of a stage."""
        for name, type_, cells, seen in self.pending:
            values = final[name] if name in final else self.column(name, type_)
            for cell, value in zip(cells, values, strict=True):
                self.state.put(cell, value)
            self.state.put(seen, "1")
        self.pending.clear()

    # ---- kinds of expression

    def _constant(self, value: float | int | bool | str | None, type_: Type) -> str:
        if value is None:
            return {"f": "nan", "s": "-1", "b": "2"}.get(
                "f" if type_.is_float else "s" if type_.store in ("string", "binary") else
                "b" if type_.store == "bool" else "i", "MISSING",
            )  # fmt: skip
        if isinstance(value, str):
            return str(self.text_id(value))
        if type_.is_float:
            return literal(float(value))
        return literal(int(value))

    def _float(self, text: str, type_: Type) -> str:
        if type_.is_float:
            return text
        if _is_number(text):
            return literal(float(text))
        name = self.hold(text, "k")
        if type_.store == "bool":
            return f"(nan if {name} == 2 else float({name}))"
        if type_.store in ("string", "binary"):
            return f"(nan if {name} == -1 else float({name}))"
        return f"(nan if {name} == MISSING else float({name}))"

    def _missing(self, text: str, type_: Type) -> str:
        if type_.is_float:
            name = self.hold(text)
            return f"{name} != {name}"
        if type_.store in ("string", "binary"):
            return f"{text} == -1"
        return f"{text} == {'2' if type_.store == 'bool' else 'MISSING'}"

    def _pairs(self, left: Value, right: Value) -> list[tuple[str, str]]:
        n = max(len(left), len(right))
        return list(zip(left * (n // len(left)), right * (n // len(right)), strict=True))

    def _arithmetic(self, expr: Arithmetic | Negative) -> Value:
        if isinstance(expr, Negative):
            if expr.type.is_float:
                return tuple(f"(-{v})" for v in self.number(expr.value))
            held = self.named(expr.value, "k")
            return tuple(f"(MISSING if {v} == MISSING else -{v})" for v in held)
        left, right, op = expr.left, expr.right, expr.op
        if left.type.store == "time" or right.type.store == "time":
            return self._time_arithmetic(expr)
        if expr.type.is_float:
            if op == "^" and isinstance(right, Const) and right.value in (2, 3):
                held = tuple(self.hold(v, "v") for v in self.number(left))
                return tuple("(" + " * ".join([v] * int(right.value)) + ")" for v in held)
            sign = "**" if op == "^" else op
            return tuple(
                f"({a} {sign} {b})" for a, b in self._pairs(self.number(left), self.number(right))
            )
        pairs = self._pairs(self.named(left, "k"), self.named(right, "k"))
        out = []
        for a, b in pairs:
            guards = [f"{x} == MISSING" for x in (a, b) if not _is_number(x)]
            if op == "%":
                guards.append(f"{b} == 0")
            body = f"{a} {op} {b}"
            out.append(f"(MISSING if {' or '.join(guards)} else {body})" if guards else f"({body})")
        return tuple(out)

    def _time_arithmetic(self, expr: Arithmetic) -> Value:
        a, b = self.hold(self.scalar(expr.left), "t"), self.hold(self.scalar(expr.right), "t")
        both = expr.left.type.store == expr.right.type.store == "time"
        if both:
            return (f"(nan if {a} == MISSING or {b} == MISSING else ({a} - {b}) * 1e-9)",)
        if expr.left.type.store != "time":
            a, b = b, a
            other = expr.left.type
        else:
            other = expr.right.type
        seconds = self.hold(self._float(b, other), "d")
        return (f"shift_time({a}, {'-' if expr.op == '-' else ''}{seconds})",)

    def _cast(self, text: str, source: Type, target: Type) -> str:
        if target.is_float:
            value = self._float(text, source)
            return f"round_f32({value})" if target.store == "f32" else value
        if target.store == "bool":
            if source.is_float:
                name = self.hold(text)
                return f"(2 if {name} != {name} else (1 if {name} != 0.0 else 0))"
            name = self.hold(text, "k")
            return f"(2 if {name} == MISSING else (1 if {name} != 0 else 0))"
        if target.store == source.store or not (target.is_integer or target.store == "time"):
            return text
        if source.store == "bool":
            name = self.hold(text, "k")
            return f"(MISSING if {name} == 2 else {name})"
        if source.is_float:
            low, high = INT_RANGE.get(target.store, (-(2**63) + 1, 2**63 - 1))
            return f"to_int({text}, {float(low)!r}, {float(high)!r})"
        if target.store in INT_RANGE:
            low, high = INT_RANGE[target.store]
            name = self.hold(text, "k")
            return f"({name} if {low} <= {name} <= {high} else MISSING)"
        return text

    def _choose(self, expr: Choose) -> Value:
        condition = self.hold(self.condition(expr.condition), "c")
        if expr.type.is_float:
            pairs = self._pairs(self.number(expr.then), self.number(expr.otherwise))
        else:
            pairs = self._pairs(self.value(expr.then), self.value(expr.otherwise))
        return tuple(f"({a} if {condition} else {b})" for a, b in pairs)

    def _compare(self, expr: Compare) -> str:
        left, right, op = expr.left, expr.right, expr.op
        tests: list[str] = []
        if (
            left.type.is_number
            and right.type.is_number
            and (left.type.is_float or right.type.is_float)
        ):
            for a, b in self._pairs(self.number(left), self.number(right)):
                if op == "!=":
                    a, b = self.hold(a), self.hold(b)  # noqa: PLW2901
                    known = [f"{x} == {x}" for x in (a, b) if not _is_number(x)]
                    tests.append("(" + " and ".join([*known, f"{a} != {b}"]) + ")")
                else:
                    tests.append(f"({a} {op} {b})")
        else:
            missing = {"string": "-1", "binary": "-1", "bool": "2"}.get(left.type.store, "MISSING")
            for a, b in self._pairs(self.named(left, "k"), self.named(right, "k")):
                known = [f"{x} != {missing}" for x in (a, b) if not _is_number(x)]
                tests.append("(" + " and ".join([*known, f"{a} {op} {b}"]) + ")")
        return tests[0] if len(tests) == 1 else "(" + " and ".join(tests) + ")"

    # ---- functions with and without state

    def _apply(self, expr: Apply) -> Value:
        if expr.function.name == "lag" and expr.type.size == 1 and expr.args[0] in self.lags:
            return (self._shared_lag(expr),)
        context = Context(rate_hz=expr.rate_hz)
        scalars = tuple(a.type.element() for a in expr.args)
        steps = expr.function.steps(scalars, context)
        exact = expr.function.exact
        args = [
            self.number(a)
            if a.type.is_float or (a.type.is_integer and not exact)
            else self.value(a)
            for a in expr.args
        ]
        if expr.function.stateful:
            args = [tuple(self.hold(v, "x") for v in a) for a in args]
        width = max((len(a) for a in args), default=1)
        out = []
        for j in range(width):
            one = [a[j] if len(a) == width else a[0] for a in args]
            out.append(self._cascade(expr, steps, one))
        return tuple(out)

    def _cascade(self, expr: Apply, steps: tuple[Step, ...], args: list[str]) -> str:
        key = (expr.function, expr.rate_hz, tuple(args), self.state.sheet.depth, self.time)
        if expr.function.stateful and key in self._stepped:
            return self._stepped[key][0]
        name = expr.function.name
        if steps and steps[0].skips_missing:
            return self._guarded(expr, steps, args, key)
        for step in steps:
            call = self.state.names.function(
                step.run, f"{name}_{'step' if step.start else 'value'}"
            )
            constants = [literal(c) for c in step.constants]
            time = [self.time] if step.needs_time else []
            if not step.start:
                args = [f"{call}({', '.join([*time, *args, *constants])})"]
                continue
            cells = [self.state.cell(f"{name}_{j}", start) for j, start in enumerate(step.start)]
            ring = [self.state.ring(step.ring)] if step.ring else []
            for cell, most in zip(cells, step.at_most, strict=False):
                self.state.within(0, cell, most)
            state = "(" + ", ".join(self.state.get(c) for c in cells) + ",)"
            y = self.state.sheet.fresh(name)
            if step.sound is not None and self.state.strips:
                self.sound[call] = self.state.names.function(step.sound, f"{call}_sound")
                self.steady.append(((args[0], y), cells))
            targets = "(" + ", ".join(self.state.target(c) for c in cells) + ",)"
            self.state.sheet(
                f"{targets}, {y} = {call}({', '.join([state, *ring, *time, *args, *constants])})"
            )
            for c in cells:
                self.state.store(c)
            args = [y]
        if expr.function.stateful:
            self._stepped[key] = (args[0],)
        return args[0]

    def _shared_lag(self, expr: Apply) -> str:
        """One shift register serves every `lag` of the same value."""
        value = expr.args[0]
        x = self.hold(self.number(value)[0], "x")
        key = ("lag", x, self.state.sheet.depth)
        if key not in self._stepped:
            cells = [self.state.cell("lag", float("nan")) for _ in range(self.lags[value])]
            before = tuple(self.state.sheet.fresh("lag") for _ in cells)
            self.floats.update((x, *before))
            for name, cell in zip(before, cells, strict=True):
                self.state.sheet(f"{name} = {self.state.get(cell)}")
            for cell, new in zip(cells, (x, *before[:-1]), strict=True):
                self.state.put(cell, new)
            self._stepped[key] = before
        return self._stepped[key][expr.function.n - 1]  # type: ignore[attr-defined]  # it is a Lag

    def _guarded(self, expr: Apply, steps: tuple[Step, ...], args: list[str], key: object) -> str:
        """A cascade behind one branch: NaN and infinities go by, and no state moves."""
        sheet = self.state.sheet
        y = sheet.fresh(expr.function.name)
        inner = tuple(replace(s, skips_missing=False) for s in steps)
        x = self.hold(args[0], "x")
        self.floats.update((x, y))
        lanes = len(steps) > 1 and not self.state.keyed and all(s.run is biquad for s in steps)
        sheet(MARK)
        if lanes:
            sheet(f"CALM {len(self.calms)}")
        known = len(self.state.registers)
        with sheet.block(f"if abs({x}) < inf"):
            out = self._cascade(expr, inner, [x, *args[1:]])
            sheet(f"{y} = {out}")
        with sheet.block("else"):
            sheet(f"{y} = {x}")
        if lanes:
            sheet("CALMED")
            cells = [c.name for c in self.state.registers[known:]]
            self.calms.append(
                Calm(x, f"abs({x}) < inf", result=y, strip=_side_by_side(cells, steps))
            )
        sheet(MARK)
        self._stepped[key] = (y,)
        return y

    def _rolling(self, expr: Rolling) -> Value:
        args = tuple(tuple(self.hold(v, "x") for v in self.number(a)) for a in expr.args)
        if any(len(a) > 1 for a in args):
            return tuple(
                emit_rolling(self, expr, [a[j] if len(a) > 1 else a[0] for a in args])[0]
                for j in range(max(len(a) for a in args))
            )
        flat = [a[0] for a in args]
        key = (expr.aggregate, expr.extent, expr.count, tuple(flat), self.state.sheet.depth)
        if key not in self._stepped:
            self.state.sheet(MARK)
            self._stepped[key] = emit_rolling(self, expr, flat)
            self.state.sheet(MARK)
            self.floats.update((*flat, *self._stepped[key]))
        return self._stepped[key]

    def _previous(self, expr: Previous) -> Value:
        initial = self.number(expr.initial) if expr.type.is_float else self.value(expr.initial)
        start: float | int = float("nan") if expr.type.is_float else MISSING_INT
        cells = [self.state.cell(f"prev_{expr.name}", start) for _ in range(expr.type.size)]
        seen = self.state.cell(f"seen_{expr.name}", 0)
        held = self.state.sheet.fresh("has")
        self.state.sheet(f"{held} = {self.state.get(seen)} == 1")
        out = []
        for j, cell in enumerate(cells):
            first = initial[j] if len(initial) > 1 else initial[0]
            name = self.state.sheet.fresh(f"prev_{expr.name}")
            self.state.sheet(f"{name} = {self.state.get(cell)} if {held} else {first}")
            out.append(name)
        self.pending.append((expr.name, expr.type, cells, seen))
        return tuple(out)


MISSING_INT = -(2**63)


def _side_by_side(cells: Sequence[str], steps: Sequence[Step]) -> tuple[str, ...]:
    """Calls of `cascade` that run second-order sections over a strip, up to four at a time."""
    groups = -(-len(steps) // LANES)
    out, at, source = [], 0, "{x}"
    for k in range(groups):
        size = len(steps) // groups + (k < len(steps) % groups)
        state = ", ".join(cells[SECTION_STATE * at : SECTION_STATE * (at + size)])
        constants = ", ".join(literal(c) for s in steps[at : at + size] for c in s.constants)
        out.append(f"({state}) = cascade({source}, {{y}}, {{rows}}, ({state}), ({constants}))")
        at, source = at + size, "{y}"
    return tuple(out)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text not in ("nan", "inf", "-inf")


def as_float(type_: Type) -> Type:
    """The type of a number once it is computed with."""
    return F64 if type_.shape == () else Type("f64", shape=type_.shape)
