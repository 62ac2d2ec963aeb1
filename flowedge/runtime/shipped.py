"""A compiled pipeline as one file: its plan and machine code, made where there is time, and run where there is none.

The file is magic, sha256, and msgpack. The machine code in it is run, so nothing is read of it before it is trusted: by its
sha256, or by a signature beside it (`flowedge key sign`).
"""

import hashlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgpack

from flowedge.compile import native
from flowedge.compile.kernels import library
from flowedge.compile.kernels.needed import needed
from flowedge.lang.errors import DigestError, RunError
from flowedge.runtime.models import Allowed
from flowedge.runtime.plan import MAGIC, Plan, packed, unpacked

_HEAD = len(MAGIC) + 32
FORMAT = 1


def ship(flow: Path, params: Mapping[str, str]) -> tuple[bytes, int]:
    """The bytes of such a file, and how many kernels are in it.

    Raises
    ------
    FlowError, RunError
        as `compile_flow`
    """
    data = packed(str(flow), params)
    program, _, _ = unpacked(data)
    kernels = [native.compiled(library.TEXT, {"run": run}) for run in _library_of(program)]
    content = msgpack.packb({
        "format": FORMAT, "flow": flow.name, "made_by": _maker(), "cpu": list(native.machine()), "plan": data, "kernels": kernels,
    })  # fmt: skip
    return MAGIC + hashlib.sha256(content).digest() + content, len(program.objects) + len(kernels)


def load(path: Path, trusted: Allowed, vet: Callable[[Path, str], None] | None = None) -> Plan:
    """The plan in a file, with its kernels loaded; parameters are what they were when it was made.

    Parameters
    ----------
    trusted : digests of files that may be run, and public keys of which one must have signed it
    vet : called with the path and the sha256 of the file, and of the models that it names; what it lets pass is trusted

    Raises
    ------
    RunError
        there is no such file, it is none of these, it is for another processor or version, or what it was made of has changed
    DigestError
        it is damaged, or not trusted
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RunError(f"cannot read `{path}`: {error.strerror}") from None
    if not data.startswith(MAGIC):
        raise RunError(f"`{path}` is no compiled pipeline; make one with `flowedge compile`")
    if data[len(MAGIC) : _HEAD] != hashlib.sha256(data[_HEAD:]).digest():
        raise DigestError(f"`{path}` is damaged or not whole; copy it again")
    _check_trusted(path, hashlib.sha256(data).hexdigest(), trusted, vet)
    try:
        return _plan(path, msgpack.unpackb(data[_HEAD:]), vet)
    except (ValueError, TypeError, KeyError, msgpack.UnpackException):
        raise RunError(f"`{path}` is not what `flowedge compile` writes; make it again") from None


def _plan(path: Path, told: Mapping[str, Any], vet: Callable[[Path, str], None] | None) -> Plan:
    """What is told is trusted by now; raises RunError, and ValueError and its like where it makes no sense."""
    if (told["format"], told["made_by"]) != (FORMAT, _maker()):
        raise RunError(f"`{path}` was compiled by another version of FlowEdge; compile it with this one")  # fmt: skip
    (name, features), here = told["cpu"], native.machine()
    lacking = _features(features) - _features(here[1])
    if lacking or (not features and name != here[0]):
        what = ", ".join(sorted(lacking)) or name
        raise RunError(f"`{path}` is for a processor with {what}, which this one has not; compile it on one of its kind")  # fmt: skip
    program, warnings, changed = unpacked(told["plan"], vet)
    if changed:
        raise RunError(f"{changed} is not what it was when `{path}` was compiled; compile it again")
    for run, code in zip(_library_of(program), told["kernels"], strict=True):
        library.keep(run, code)
    return Plan(program, warnings, from_cache=True)


def _check_trusted(
    path: Path, digest: str, trusted: Allowed, vet: Callable[[Path, str], None] | None
) -> None:
    if vet is not None:
        vet(path, digest)
        return
    if digest in trusted.trust.digests:
        return
    if not trusted.keys:
        raise DigestError(
            f"`{path}` holds machine code, and nothing says that it may be run; have it signed with a key that you trust: "
            f"--trust-kernels PUBLIC (or trust this very file: --trust-kernels {digest})"
        )
    from flowedge.runtime.keys import check_signed  # noqa: PLC0415  # only where one is named

    problem: DigestError | None = None
    for key in trusted.keys:
        try:
            check_signed(path, key, digest)
        except DigestError as error:
            problem = error
        else:
            return
    assert problem is not None
    raise problem


def _library_of(program: Any) -> list[library.Run]:  # noqa: ANN401  # a Program
    exact = all(model.exact for model in program.models)
    return list(needed(program.nodes, has_literals=bool(program.literals), is_exact=exact))


def _features(told: str) -> set[str]:
    """What a processor can do, of a list such as "+avx2,-sse4a"."""
    return {word[1:] for word in told.split(",") if word.startswith("+")}


@cache
def _maker() -> str:
    """A digest of the code that reads what is compiled: the same where FlowEdge is the same."""
    digest = hashlib.sha256()
    root = Path(__file__).parent.parent
    for room in ("types", "compile", "session"):
        for path in sorted((root / room).rglob("*.py")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
