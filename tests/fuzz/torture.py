"""A long attack: ``python tests/fuzz/torture.py [TARGET …] --inputs N``; ends with 1 where anything was found.

Targets in Python are searched along their coverage where `atheris` is installed (``pip install
flowedge[torture]``, ``--guided``); the others, and all without it, by mutations of valid inputs at a high rate.
"""

import argparse
import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from fuzz.guard import Report, attack
from fuzz.targets import TARGETS, Target, expected


def run(name: str, inputs: int, seed: int) -> Report:
    """Mutations of a target's seeds."""
    target = TARGETS[name]
    seeds = target.seeds()
    return attack(
        lambda data: expected(target.one_input, data),
        lambda number: target.make(seeds, number, seed),
        inputs,
        warm=tuple(seeds),
    )


def guided(target: Target, inputs: int, seed: int, kept: Path) -> None:
    """Follow the coverage of a target; never returns. Ends with 77 where libFuzzer found something."""
    import atheris  # noqa: PLC0415

    for data in target.seeds():
        expected(target.one_input, data)
    for function in functions(target.guided):
        atheris.instrument_func(function)
    kept.mkdir(parents=True, exist_ok=True)
    for data in target.seeds():
        (kept / hashlib.sha1(data).hexdigest()).write_bytes(data)  # a name only
    options = [
        f"-runs={inputs}",
        f"-seed={seed + 1}",
        "-timeout=10",
        "-rss_limit_mb=2048",
        f"-max_len={max(4096, *(2 * len(data) for data in target.seeds()))}",
        f"-artifact_prefix={kept.parent}/found-",
    ]
    atheris.Setup([sys.argv[0], *options, str(kept)], lambda data: expected(target.one_input, data))
    atheris.Fuzz()


def functions(packages: tuple[str, ...]) -> Iterator[FunctionType]:
    """What was written in Python in these packages, as far as they are loaded; what Numba compiles is left alone."""
    for name, module in list(sys.modules.items()):
        if any(name == package or name.startswith(f"{package}.") for package in packages):
            inside = [
                one for one in vars(module).values() if getattr(one, "__module__", "") == name
            ]
            methods = [m for one in inside if isinstance(one, type) for m in vars(one).values()]
            for one in [*inside, *methods]:
                function = getattr(one, "fget", getattr(one, "__func__", one))
                if isinstance(function, FunctionType):
                    yield function


def told(name: str, report: Report) -> str:
    """One line."""
    rate = report.inputs / max(report.seconds, 1e-9)
    return (
        f"{name:15} {report.inputs:>9,} inputs {rate:>8,.0f}/s  slowest {report.slowest_s * 1e3:7.1f} ms (#{report.slowest})  "
        f"growth {report.growth >> 20:4} MB  violations {len(report.violations)}"
    )


def main() -> int:
    """Attack, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument(
        "--inputs", type=int, default=int(os.environ.get("FLOWEDGE_FUZZ_INPUTS", "10000"))
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--out", type=Path, default=Path("out/fuzz"), help="where inputs that did harm are kept"
    )
    parser.add_argument(
        "--guided", action="store_true", help="one target in Python, along its coverage (atheris)"
    )
    args = parser.parse_args()
    unknown = set(args.targets) - set(TARGETS)
    if unknown:
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    if args.guided:
        if len(args.targets) != 1 or not TARGETS[args.targets[0]].guided:
            parser.error("--guided takes one target that is written in Python")
        guided(TARGETS[args.targets[0]], args.inputs, args.seed, args.out / args.targets[0])
    failed = False
    for name in args.targets or TARGETS:
        report = run(name, args.inputs, args.seed)
        print(told(name, report), flush=True)
        for one in report.violations:
            failed = True
            args.out.mkdir(parents=True, exist_ok=True)
            path = args.out / f"{name}-{one.kind}-{one.number}"
            path.write_bytes(one.data)
            last = one.told.strip().splitlines()[-1:] or [""]
            print(f"    {one.kind} #{one.number}: {last[0][:160]}  ({path})", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
