"""Instructions that a row takes, counted by Callgrind and compared with what was accepted: figures that no busy machine changes.

Run:  python benchmarks/instructions.py [--works chain,fleet] [--accept]

Kernels are compiled for one fixed processor, natively, and counted in one process under Callgrind, which counts neither its start
nor the first turns of each work. Code that lies in no file is a kernel: what is spent there stands apart from what the interpreter,
Arrow and the C library spend around it. A change of more than 5 %, either way, fails until `--accept` writes `instructions.json`,
which is committed with the change that it is the price of.

Ends with 0 where all is within the limit, 1 where something is not, 2 where nothing could be compared.
"""

import argparse
import ctypes
import gc
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
ACCEPTED = HERE / "instructions.json"
LIMIT = 0.05
"""Of what was accepted; counts repeat to within a tenth of this, those in kernels exactly."""

TARGET = {
    "NUMBA_CPU_NAME": "x86-64-v3",
    "NUMBA_CPU_FEATURES": "+avx,+avx2,+bmi,+bmi2,+f16c,+fma,+lzcnt,+movbe,+popcnt",
}
"""As much as Valgrind knows, and any x86 server since Haswell has."""
_KEPT = ("PATH", "HOME", "TMPDIR", "FLOWEDGE_CACHE", "XDG_CACHE_HOME", "LD_LIBRARY_PATH")
"""Of the environment, which lies on the stack of each process."""


# ---- the works


@dataclass(frozen=True)
class Pipeline:
    """Pushes of a pipeline in memory.

    Parameters
    ----------
    flow : given a folder, writes there ``SOURCE.arrow`` for each source; the pipeline, and its catalog or None
    push : rows of a push for each source, which take turns
    warm : turns before anything is counted: keys are known, windows open, the interpreter has seen its code
    counted : turns that are counted
    model : shapes of its input and its output; a stand-in answers with zeros
    """

    flow: Callable[[Path, int], tuple[str, Any]]
    push: Mapping[str, int]
    warm: int
    counted: int
    model: tuple[tuple[int, ...], tuple[int, ...]] | None = None

    @property
    def rows(self) -> int:
        """Rows that are counted."""
        return self.counted * sum(self.push.values())

    def make(self, folder: Path) -> None:
        """Rows and plan as files."""
        from flowedge.compile import program
        from flowedge.runtime.plan import compile_flow

        text, catalog = self.flow(folder, self.warm + self.counted)
        (folder / "plan").write_bytes(
            program.pack(compile_flow(text=text, catalog=catalog).program)
        )

    def job(self, folder: Path) -> Callable[[int], int]:
        """What does so many turns more, and says how many rows came of them."""
        import pyarrow as pa

        from flowedge.compile import program
        from flowedge.session.session import Session

        turns = []
        for source, size in self.push.items():
            with pa.memory_map(str(folder / f"{source}.arrow")) as file:
                rows = pa.ipc.open_file(file).read_all()
            whole = rows.combine_chunks().slice(0, size * (self.warm + self.counted))
            parts = whole.to_batches(max_chunksize=size)
            if size == 1:  # a row that comes alone has memory of its own
                parts = [part.take(pa.array([0])) for part in parts]
            turns.append([(source, part) for part in parts])
        held = iter(list(zip(*turns, strict=True)))
        models = {"net": _stand_in(*self.model)} if self.model else {}
        session = Session(program.unpack((folder / "plan").read_bytes()), models)

        def go_on(count: int) -> int:
            made = 0
            for _ in range(count):
                for source, part in next(held):
                    for out in session.push(source, part).values():
                        made += out.num_rows
            return made

        return go_on


@dataclass(frozen=True)
class Network:
    """The network of W3 as one call of a kernel, frame by frame; weights are of no meaning."""

    warm: int = 4
    counted: int = 16

    @property
    def rows(self) -> int:
        """Frames that are counted."""
        return self.counted

    def make(self, folder: Path) -> None:
        """Nothing but the kernel, which is compiled where it is called."""

    def job(self, folder: Path) -> Callable[[int], int]:
        """What calls it so often, and says how many numbers came of it."""
        import numpy as np

        from flowedge.models import chain

        draw = np.random.default_rng(7)

        def weights(*shape: int) -> Any:  # noqa: ANN401
            return draw.standard_normal(shape).astype(np.float32)

        first = chain.convolution(weights(32, 6, 5), weights(32), (6, 128), 0, 1)
        second = chain.convolution(weights(64, 32, 5), weights(64), first.makes, 0, 1)
        layers = [first, second, chain.mean(second.makes), chain.dense(weights(6, 64), weights(6))]
        run, frame = chain.Chain(layers, (6,)), _Tensor(weights(1, 6, 128))

        def go_on(count: int) -> int:
            return sum(run(frame).array.size for _ in range(count))

        return go_on


@dataclass(frozen=True)
class Payloads:
    """Messages of one reading each on their way to rows, as many at once as come within a few milliseconds.

    Parameters
    ----------
    form : "msgpack" or "JSON"
    """

    form: str
    size: int = 200
    warm: int = 8
    counted: int = 8

    @property
    def rows(self) -> int:
        """Messages that are counted."""
        return self.size * self.counted

    def make(self, folder: Path) -> None:
        """The messages as a file."""
        import msgpack
        import payloads

        packed = {"msgpack": msgpack.packb, "JSON": lambda row: json.dumps(row).encode()}[self.form]
        rows = payloads.readings()[: self.size * (self.warm + self.counted)]
        (folder / "messages").write_bytes(msgpack.packb([packed(row) for row in rows]))

    def job(self, folder: Path) -> Callable[[int], int]:
        """What reads so many times `size` messages more, and says how many rows came of them."""
        import msgpack
        import pyarrow as pa

        from flowedge.sources.payloads import Decoder

        numbers = [(name, pa.float64()) for name in "xyz"]
        decoder = Decoder(pa.schema([("t", pa.timestamp("ns", "UTC")), *numbers]))
        decoder.prepare()
        messages = msgpack.unpackb((folder / "messages").read_bytes())
        held = iter([messages[k : k + self.size] for k in range(0, len(messages), self.size)])

        def go_on(count: int) -> int:
            made = 0
            for _ in range(count):
                decoder.add_many(next(held))
                made += decoder.take().num_rows
            return made

        return go_on


class _Tensor:
    """What `Chain` asks of a tensor."""

    def __init__(self, array: Any) -> None:  # noqa: ANN401
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    def contiguous(self) -> "_Tensor":
        return self

    def new_empty(self, shape: Sequence[int]) -> "_Tensor":
        import numpy as np

        return _Tensor(np.empty(shape, np.float32))

    def data_ptr(self) -> int:
        return int(self.array.ctypes.data)


def _stand_in(takes: tuple[int, ...], gives: tuple[int, ...]) -> Any:  # noqa: ANN401
    """A model that is asked as one of Torch would be, and answers with zeros."""
    import numpy as np

    from flowedge.models.info import ModelInfo, TensorInfo
    from flowedge.models.load import Model

    class Zeros:
        info = ModelInfo((TensorInfo("x", (None, *takes), "float32"),), (TensorInfo("y", (None, *gives), "float32"),))  # fmt: skip

        def __call__(self, inputs: Sequence[Any]) -> list[Any]:
            return [np.zeros((len(inputs[0]), *gives), np.float32)]

    return Model(Zeros(), "")


def _plain(**models: Any) -> Any:  # noqa: ANN401
    """``given()`` and ``expected()``, and models by the names of their files."""
    from flowedge.graph.catalog import PlainCatalog
    from flowedge.types.connectors import ConnectorInfo

    about = {"needs_address": False, "writes_files": False}
    return PlainCatalog(
        {"given": ConnectorInfo("given", "source", describes_itself=False, **about)},
        {"expected": ConnectorInfo("expected", "sink", **about)},
        models=models,
    )


def _write(path: Path, rows: Any) -> None:  # noqa: ANN401
    """Columns by name, or a table."""
    import pyarrow as pa

    rows = rows if isinstance(rows, pa.Table) else pa.table(rows)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, rows.schema) as writer:
        writer.write_table(rows)


def _times(numbers: Any) -> Any:  # noqa: ANN401
    import pyarrow as pa

    return pa.array(numbers).cast(pa.timestamp("ns", "UTC"))


def _draw(seed: int = 7) -> Any:  # noqa: ANN401
    import numpy as np

    return np.random.default_rng(seed)


PUSH = 4096


def _chain(folder: Path, turns: int) -> tuple[str, Any]:
    import ecg_chain

    _write(folder / "s.arrow", {"v": _draw().normal(size=turns * PUSH)})
    return ecg_chain.TEXT, ecg_chain.PLAIN


def _chain_of_keys(folder: Path, turns: int) -> tuple[str, Any]:
    import ecg_chain
    import numpy as np
    import pyarrow as pa

    ticks = turns * PUSH // ecg_chain.KEYS
    time = np.repeat(ecg_chain.times(ticks), ecg_chain.KEYS)
    _write(folder / "s.arrow", {
        "time": pa.array(time, pa.timestamp("ns", "UTC")), "lead": np.tile(np.arange(ecg_chain.KEYS, dtype=np.int32), ticks),
        "v": _draw().normal(size=turns * PUSH),
    })  # fmt: skip
    return ecg_chain.of_keys(ecg_chain.TEXT), ecg_chain.PLAIN


def _fleet(folder: Path, turns: int) -> tuple[str, Any]:
    import fleet

    fleet.generate(folder / "fleet.arrow", turns * 50_000)
    return fleet.TEXT.format(path=folder / "fleet.arrow", out=folder / "out.arrow"), None


def _asof(folder: Path, turns: int) -> tuple[str, Any]:
    import asof

    slow, fast = folder / "slow.arrow", folder / "fast.arrow"
    asof.generate(slow, turns * 2048, 10**7, "a", 1)
    asof.generate(fast, turns * 20_480, 10**6, "b", 0)
    return asof.TEXT.format(slow=slow, fast=fast, out=folder / "out.arrow"), None


def _rolling(folder: Path, turns: int) -> tuple[str, Any]:
    _write(folder / "s.arrow", {"v": _draw().normal(size=turns * PUSH)})
    text = """
source s (v: f64 [mV]) at 360 Hz from given()
sink s | derive m = mean(v) over 256 samples, d = std(v) over 256 samples, hi = max(v) over 256 samples, lo = min(v) over 256 samples
    to expected()
"""
    return text, _plain()


def _compress(how: str) -> Callable[[Path, int], tuple[str, Any]]:
    def flow(folder: Path, turns: int) -> tuple[str, Any]:
        walk = _draw().normal(0, 0.02, turns * PUSH).cumsum()
        _write(folder / "s.arrow", {"v": walk.round(2)})
        return f"source s (v: f64) at 10 Hz from given()\nsink s | compress {how}(0.1) to expected()\n", _plain()  # fmt: skip

    return flow


NAMES = ("ax", "ay", "az", "gx", "gy", "gz")


def _frames(folder: Path, turns: int) -> tuple[str, Any]:
    import numpy as np

    from flowedge.graph.catalog import ModelShape, Tensor

    devices, rows, draw = 64, turns * PUSH, _draw()
    ticks = np.repeat(np.arange(rows // devices), devices)
    keys = np.tile(np.arange(devices, dtype=np.int32), rows // devices)
    time_ns = ticks * 20_000_000 + keys.astype(np.int64) * (20_000_000 // devices)
    values = {name: draw.standard_normal(rows).astype(np.float32) for name in NAMES}
    _write(folder / "fleet.arrow", {"time": _times(time_ns), "device": keys, **values})
    text = f"""
source fleet (time, device: key i32, {", ".join(f"{c}: f32" for c in NAMES)}) at 50 Hz from given() time time
model net = torch("net") input ({", ".join(NAMES)}) output softmax ["lie", "sit", "stand", "walk", "run", "jump"] batch 64
sink fleet
    | window 128 samples every 64 samples
    | derive {", ".join(f"{c} = ({c} - mean({c})) / (std({c}) + 0.000001)" for c in NAMES)}
    | classify with net
    | select label, score
    to expected()
"""
    shape = ModelShape((Tensor("x", (None, 6, 128)),), (Tensor("y", (None, 6)),))
    return text, _plain(net=shape)


def _single(folder: Path, turns: int) -> tuple[str, Any]:
    import pyarrow as pa
    import single_rows

    _write(
        folder / "s.arrow", pa.Table.from_batches(single_rows.rows_of(turns, 100)).combine_chunks()
    )
    return single_rows.PLANS["W2"], single_rows.GIVEN


WORKS: dict[str, Pipeline | Network | Payloads] = {
    "chain": Pipeline(_chain, {"s": PUSH}, 16, 32),
    "chain of 8 keys": Pipeline(_chain_of_keys, {"s": PUSH}, 16, 32),
    "rolling": Pipeline(_rolling, {"s": PUSH}, 16, 32),
    "fleet": Pipeline(_fleet, {"fleet": 50_000}, 4, 2),
    "join": Pipeline(_asof, {"fast": 20_480, "slow": 2048}, 3, 4),
    "deadband": Pipeline(_compress("deadband"), {"s": PUSH}, 16, 32),
    "swing": Pipeline(_compress("swing"), {"s": PUSH}, 16, 32),
    "frames": Pipeline(_frames, {"fleet": PUSH}, 8, 16, ((6, 128), (6,))),
    "network": Network(),
    "msgpack": Payloads("msgpack"),
    "JSON": Payloads("JSON"),
    "single rows": Pipeline(_single, {"s": 1}, 2000, 1000),
}


# ---- what is done in processes of their own


def _make(folder: Path, names: Sequence[str]) -> None:
    """Compile all, and do it once, so that the cache has each kernel that is called for."""
    made = {}
    for name in names:
        work, place = WORKS[name], folder / name
        place.mkdir()
        work.make(place)
        job = work.job(place)
        job(work.warm)
        made[name] = job(work.counted)
    (folder / "made").write_text(json.dumps(made))


def _count(folder: Path, names: Sequence[str]) -> None:
    """Do it again, under Callgrind."""
    asks = ctypes.CDLL(str(folder / "asks.so"))
    expected = json.loads((folder / "made").read_text())
    for name in names:
        work = WORKS[name]
        job = work.job(folder / name)
        job(work.warm)
        gc.collect()
        gc.freeze()
        gc.disable()
        label = ctypes.c_char_p(name.encode())
        asks.begin()
        made = job(work.counted)
        asks.end(label)
        gc.enable()
        assert made == expected[name] > 0, (
            f"{name}: {made} rows, {expected[name]} without Callgrind"
        )
        assert "numba" not in sys.modules, f"{name}: a kernel was not in the cache"
    (folder / "ranges").write_text(json.dumps(_of_no_file()))


# ---- counting


class Count(NamedTuple):
    """Instructions a row."""

    kernels: float
    whole: float


def lacking() -> str:
    """What counting needs and is not here; empty where all is."""
    if platform.machine() != "x86_64" or " avx2 " not in Path("/proc/cpuinfo").read_text():
        return "x86-64 with AVX2"
    programs = [name for name in ("valgrind", "gcc") if shutil.which(name) is None]
    if programs:
        return f"the program `{programs[0]}`"
    header = subprocess.run(["gcc", "-E", "-x", "c", "-"], check=False, input=b"#include <valgrind/callgrind.h>\n", capture_output=True)  # fmt: skip
    return "" if header.returncode == 0 else "valgrind/callgrind.h"


def count(names: Iterable[str] = tuple(WORKS)) -> dict[str, Count]:
    """Count the instructions of some works."""
    from common import build

    names = list(names)
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    env = kept | TARGET | {"PYTHONPATH": str(HERE.parent), "PYTHONHASHSEED": "0"}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        build("instructions", folder / "asks.so", "-O1")
        again = [sys.executable, __file__, "--works", ",".join(names)]
        subprocess.run([*again, "--make", place], env=env, check=True)
        under = ["valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={place}/counts", "--dump-instr=yes", "--compress-strings=no", "--compress-pos=no"]  # fmt: skip
        done = subprocess.run([*under, *again, "--count", place], check=False, env=env, capture_output=True, text=True)  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        ranges = json.loads((folder / "ranges").read_text())
        counts = dict(read(path, ranges) for path in folder.glob("counts.*"))
    return {name: Count(*(x / WORKS[name].rows for x in counts[name])) for name in names}


def read(path: Path, ranges: Sequence[tuple[int, int]]) -> tuple[str, tuple[int, int]]:
    """Of a profile of Callgrind its name, and the instructions in code that is of no file and in all.

    Format after the manual of Valgrind, "Callgrind Format Specification". Which function code without symbols is counted to says nothing, so the
    addresses decide. Those of a library count from its start, and so are below its size.
    """
    name, size, in_kernels, whole, is_call = "", 0, 0, 0, False
    for line in path.read_text().splitlines():
        key, mark, value = line.partition("=")
        if line.startswith(_TRIGGER):
            name = line.removeprefix(_TRIGGER)
        elif mark:
            size = _size(value) if key == "ob" else size
            is_call = key == "calls"
        elif line.startswith("0x"):
            if not is_call:  # else it is what was spent in the function called
                address, _, *costs = line.split()
                spent, at = sum(map(int, costs)), int(address, 16)  # a cost of none is left out
                whole += spent
                if at >= size and any(start <= at < end for start, end in ranges):
                    in_kernels += spent
            is_call = False
    return name, (in_kernels, whole)


_TRIGGER = "desc: Trigger: Client Request: "


@cache
def _size(name: str) -> int:
    """Bytes of a file, 0 where there is none."""
    path = Path(name)
    return path.stat().st_size if path.is_file() else 0


def _of_no_file() -> list[tuple[int, int]]:
    """Where code lies that was made while running."""
    found = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        place, rights, _, _, node, *_name = line.split()
        if "x" in rights and node == "0":
            start, end = (int(x, 16) for x in place.split("-"))
            found.append((start, end))
    return found


@cache
def versions() -> dict[str, str]:
    """What the counts depend on besides our own text."""
    from importlib.metadata import version

    tool = subprocess.run(["valgrind", "--version"], capture_output=True, text=True, check=True)
    return {
        **{name: version(name) for name in ("llvmlite", "numba", "numpy", "pyarrow")},
        "valgrind": tool.stdout.strip().removeprefix("valgrind-"),
        "python": platform.python_version(),
        "interpreter": sys.version,
        "libc": " ".join(platform.libc_ver()),
        "processor": _processor(),
    }


def _processor() -> str:
    """By which the C library chooses how it copies memory: maker, family and model."""
    words = ("vendor_id", "cpu family", "model")
    lines = (line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines())
    found = {key.strip(): value.strip() for key, _, value in reversed(list(lines))}
    return " ".join(found.get(word, "?") for word in words)


# ---- comparing

COMPILER = ("llvmlite", "numba", "numpy", "python", "valgrind")
"""Where one of these is another, all figures are; of another build of the interpreter, or another processor, only those around the kernels."""


def differing(accepted: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    """Names of the versions that are not those accepted."""
    return [name for name in here if accepted.get(name) != here[name]]


def parts_of(others: Sequence[str]) -> tuple[str, ...]:
    """Which figures can be compared where some versions differ."""
    if set(others) & set(COMPILER):
        return ()
    return ("kernels",) if others else Count._fields


def told_of(accepted: Mapping[str, str], here: Mapping[str, str]) -> str:
    """What differs, what follows, and what to do about it; empty where nothing differs."""
    others = differing(accepted, here)
    if not accepted or not others:
        return (
            ""
            if accepted
            else "nothing was accepted so far; benchmarks/instructions.py --accept does"
        )
    told = ", ".join(f"{name} is {here[name]} and was {accepted.get(name)}" for name in others)
    what = "instructions in kernels alone are" if parts_of(others) else "nothing is"
    return f"{told}: {what} compared. Count the commit before with these too, to see what they change; then benchmarks/instructions.py --accept"  # fmt: skip


@dataclass(frozen=True)
class Change:
    """A figure beside the one accepted."""

    work: str
    part: str
    found: float | None
    accepted: float | None

    @property
    def share(self) -> float | None:
        """By how much it changed; None where there is nothing to compare."""
        if self.found is None or self.accepted is None:
            return None
        return self.found / self.accepted - 1

    @property
    def is_within(self) -> bool:
        """Whether it may stand."""
        return self.share is not None and abs(self.share) <= LIMIT

    def __str__(self) -> str:
        """In a line."""
        told = [f"{self.work}, {self.part}:"]
        told += ["not counted" if self.found is None else f"{self.found:,.1f} instructions a row"]
        told += ["(new)" if self.accepted is None else f"(accepted {self.accepted:,.1f})"]
        return " ".join(told) + ("" if self.share is None else f", {self.share:+.1%}")


def compared(found: Mapping[str, Count], accepted: Mapping[str, Count]) -> list[Change]:
    """Each figure of each work, counted or accepted, beside the other."""
    return [
        Change(work, part, getattr(found.get(work), part, None), getattr(accepted.get(work), part, None))
        for work in dict.fromkeys([*found, *accepted])
        for part in Count._fields
    ]  # fmt: skip


class Accepted(NamedTuple):
    """What `instructions.json` holds."""

    versions: dict[str, str]
    works: dict[str, Count]


def read_accepted() -> Accepted:
    """The figures that were accepted last; none where there is no file."""
    if not ACCEPTED.exists():
        return Accepted({}, {})
    told = json.loads(ACCEPTED.read_text("utf-8"))
    return Accepted(told["versions"], {name: Count(**x) for name, x in told["works"].items()})


def accept(found: Mapping[str, Count]) -> None:
    """Write them down, with the versions that they were counted with."""
    works = {
        name: {part: round(x, 2) for part, x in c._asdict().items()} for name, c in found.items()
    }
    text = json.dumps({"versions": versions(), "works": works}, indent=2, sort_keys=True)
    ACCEPTED.write_text(text + "\n", "utf-8")


def table(changes: Sequence[Change]) -> Iterator[str]:
    """Lines of Markdown."""
    yield "| work | part | instructions a row | accepted | change |"
    yield "|---|---|---|---|---|"
    for c in changes:
        cells = ["–" if x is None else f"{x:,.1f}" for x in (c.found, c.accepted)]
        yield f"| {c.work} | {c.part} | {' | '.join(cells)} | {'–' if c.share is None else f'{c.share:+.2%}'} |"


def main() -> int:
    """Count, print the table, and accept where that is asked for; 1 where a change is not within the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--works", default=",".join(WORKS), help="names, with commas between")
    parser.add_argument("--accept", action="store_true", help="write instructions.json")
    for step in ("--make", "--count"):
        parser.add_argument(step, type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    names = given.works.split(",")
    if unknown := set(names) - set(WORKS):
        parser.error(f"no such work: {', '.join(sorted(unknown))}; there are {', '.join(WORKS)}")
    if given.make or given.count:
        (_make if given.make else _count)(given.make or given.count, names)
        return 0
    if what := lacking():
        print(f"{what} is not there", file=sys.stderr)
        return 2
    if given.accept and set(names) != set(WORKS):
        parser.error("--accept takes all works")
    accepted, here, found = read_accepted(), versions(), count(names)
    if told := told_of(accepted.versions, here):
        print(told, file=sys.stderr)
    parts = parts_of(differing(accepted.versions, here))
    changes = compared(found, {name: x for name, x in accepted.works.items() if name in found})
    print(*table(changes), sep="\n")
    if given.accept:
        accept(found)
        return 0
    if not parts:
        return 2
    return 0 if all(c.is_within for c in changes if c.part in parts) else 1


if __name__ == "__main__":
    sys.exit(main())
