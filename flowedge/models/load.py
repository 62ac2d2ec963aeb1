"""Loading a model: the bytes are read once, verified, and those bytes are what runs."""

import hashlib
import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from flowedge.lang.errors import DigestError, FlowEdgeError, ModelError
from flowedge.models.archive import Archive
from flowedge.models.info import ModelInfo, TensorInfo
from flowedge.models.inside import has_machine_code, is_torchscript, program_in
from flowedge.models.manifest import INSIDE, beside, parse, read_beside
from flowedge.models.pt2 import Program, Runner
from flowedge.models.trust import NONE, Trust, when_trusted

if TYPE_CHECKING:
    from flowedge.models.isolated import Isolated

Array = np.ndarray[Any, Any]

LARGEST_FILE = 2**30
KINDS = {".onnx": "onnx", ".tflite": "litert"}
"""Formats by the end of a file's name; all others are Torch's."""


LIBRARIES = {
    "torch": ("torch",),
    "onnx": ("onnx", "onnxruntime"),
    "litert": ("ai_edge_litert.interpreter",),
}
"""What runs the models of a kind."""


class Network(Protocol):
    """What runs: a batch of inputs in, the outputs out."""

    info: ModelInfo

    def __call__(self, inputs: Sequence[Array]) -> list[Array]:
        """Outputs for one batch."""


class Model:
    """A verified model, ready to be called.

    Attributes
    ----------
    info : inputs and outputs
    sha256 : of the file's bytes
    """

    def __init__(self, network: Network, sha256: str) -> None:
        self.network, self.info, self.sha256 = network, network.info, sha256

    def infer(self, columns: Sequence[Array]) -> list[Array]:
        """Outputs for one batch of frames.

        Parameters
        ----------
        columns : one array for each column of the pipeline, (batch, samples, …elements of a sample) or
            (batch, …elements) for rows; they are brought to the model's inputs by `arrange`

        Raises
        ------
        ModelError
            the frames do not fit the model
        """
        return self.answer(arrange(columns, self.info.inputs))

    def shape_of(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
        """The shape of a frame in the model's one float32 input, where it is the columns of these shapes one after the other.

        None where it is not: `infer` brings them to the model's inputs then.

        Examples
        --------
        >>> info = ModelInfo((TensorInfo("x", (None, 6, None), "float32"),), ())
        >>> Model(type("Any", (), {"info": info}), "").shape_of([(128,)] * 6)
        (6, 128)
        """
        inputs = self.info.inputs
        if len(inputs) != 1 or inputs[0].dtype != "float32" or len(set(shapes)) != 1:
            return None
        want, each, n = inputs[0].shape[1:], shapes[0], len(shapes)
        ways = [each] if n == 1 else []
        ways += [(n, *each)] if len(each) == 1 else [(n, 1), (n,)] if not each else []
        return next((shape for shape in ways if _agrees(shape, want)), None)

    def answer(self, inputs: Sequence[Array]) -> list[Array]:
        """Outputs for one batch of the model's own inputs; raises ModelError."""
        try:
            return self.network(inputs)
        except (RuntimeError, IndexError, ValueError) as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            told = lines[-1] if "TorchScript" in lines[0] else lines[0]
            raise ModelError(f"the model failed on a batch: {told}") from None


def arrange(columns: Sequence[Array], inputs: Sequence[TensorInfo]) -> list[Array]:
    """Columns of frames as the inputs of a model, channels first where the model wants them so.

    What is beyond the numbers of the model's type becomes infinite. One input for each column, or one input whose channels are those of all columns in order.

    Raises
    ------
    ModelError
        numbers or lengths do not fit
    """
    with np.errstate(over="ignore"):
        if len(columns) == len(inputs):
            return [_fit([column], spec) for column, spec in zip(columns, inputs, strict=True)]
        if len(inputs) == 1:
            return [_fit(columns, inputs[0])]
    raise ModelError(
        f"the model takes {len(inputs)} inputs, the pipeline gives {len(columns)} columns"
    )


def _fit(columns: Sequence[Array], spec: TensorInfo) -> Array:
    want = spec.shape[1:]
    n = len(columns[0])
    if len(columns) == 1 and _agrees(columns[0].shape[1:], want):
        return columns[0].astype(spec.dtype, copy=False)
    if all(c.ndim == 2 for c in columns) and _agrees((len(columns), *columns[0].shape[1:]), want):
        each_by_each = np.empty((n, len(columns), columns[0].shape[1]), spec.dtype)
        if all(c.shape == columns[0].shape for c in columns):
            for k, column in enumerate(columns):  # one pass, where stacking and converting take two
                each_by_each[:, k] = column
            return each_by_each
    channels = [
        np.moveaxis(c.reshape(n, c.shape[1], -1), 1, 2) if c.ndim > 1 else c.reshape(n, 1, 1)
        for c in columns
    ]
    stacked = (
        np.concatenate(channels, axis=1)
        if len({c.shape[2] for c in channels}) == 1
        else channels[0]
    )
    for candidate in (stacked, stacked.reshape(n, -1), np.moveaxis(stacked, 1, 2)):
        if _agrees(candidate.shape[1:], want):
            return np.ascontiguousarray(candidate, dtype=spec.dtype)
    raise ModelError(
        f"the input `{spec.name}` takes {list(want)}, the frames give {[list(c.shape[1:]) for c in columns]}"
    )


def _agrees(have: tuple[int, ...], want: tuple[int | None, ...]) -> bool:
    return len(have) == len(want) and all(
        w is None or h == w for h, w in zip(have, want, strict=True)
    )


def read(path: str | Path, sha256: str | None = None) -> tuple[bytes, str]:
    """The bytes of a model file and their digest.

    Raises
    ------
    ModelError
        the file is missing, a directory, unreadable or too large
    DigestError
        `sha256` is given and differs; a prefix of at least 4 hexadecimal digits counts
    """
    file = Path(path)
    try:
        if file.stat().st_size > LARGEST_FILE:
            raise ModelError(f"model `{path}` is larger than {LARGEST_FILE >> 20} MiB")
        data = file.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"there is no model `{path}`; check the path, or train it") from None
    except OSError as error:
        raise ModelError(f"cannot read the model `{path}`: {error.strerror}") from None
    digest = hashlib.sha256(data).hexdigest()
    if sha256 is not None and not (
        len(sha256) >= 4 and digest.startswith(sha256.lower().rstrip("…"))
    ):
        raise DigestError(
            f"model `{path}` has the sha256 {digest}, the pipeline wants {sha256}; it is another file"
        )
    return data, digest


def load(
    path: str | Path,
    sha256: str | None = None,
    trusted: Trust = NONE,
    kind: str = "torch",
    *,
    device: str = "cpu",
    isolated: bool = False,
    arch: str = "",
    exact: bool = True,
) -> "Model | Isolated":
    """A model ready to run.

    Parameters
    ----------
    path : a ``.pt2`` written by torch.export, an AOTInductor package, a TorchScript archive, or weights as
        ``.safetensors``; an ONNX model; a LiteRT model
    sha256 : the digest that the pipeline asks for, None for any
    trusted : programs and classes that the user lets run
    kind : ``torch``, ``onnx`` or ``litert``
    device : ``cpu`` or ``cuda``
    isolated : run it in a process of its own
    arch : ``module:Class`` that weights belong to
    exact : a ``.pt2`` gives the bits that Torch gives; else its convolutions are by a kernel of our own

    Raises
    ------
    ModelError
        missing, damaged, not allowed, or what runs it is not installed (the extras ``flowedge[torch]``,
        ``flowedge[onnx]``, ``flowedge[litert]``)
    DigestError
        the digest differs
    """
    data, digest = read(path, sha256)
    return start(
        data, digest, path, trusted, kind, device=device, isolated=isolated, arch=arch, exact=exact
    )


def start(
    data: bytes,
    digest: str,
    path: str | Path,
    trusted: Trust,
    kind: str,
    *,
    device: str = "cpu",
    isolated: bool = False,
    arch: str = "",
    exact: bool = True,
) -> "Model | Isolated":
    """A model of bytes that were read, whose digest is known; see `load`."""
    if isolated:
        from flowedge.models.isolated import Isolated  # noqa: PLC0415  # only where it is asked for

        _permitted(data, digest, path, trusted, kind, arch)
        return Isolated(data, digest, str(path), kind, device, arch, exact=exact)
    if kind == "litert":
        _require_litert(path)
        from flowedge.models.trial import attempt  # noqa: PLC0415

        attempt(data, str(path))
    return build(data, digest, path, trusted, kind, device, arch, exact=exact)


def prepare(kind: str) -> None:
    """Import what runs models of a kind, which takes seconds."""
    for library in LIBRARIES[kind]:
        importlib.import_module(library)


def _permitted(
    data: bytes, digest: str, path: str | Path, trusted: Trust, kind: str, arch: str
) -> Archive | None:
    """The archive, where it is one; raises ModelError with the reason and the ways forward where it wants to be trusted, and is not."""
    if kind != "torch":
        return None
    if is_weights(path):
        if arch in trusted.classes:
            return None
        raise ModelError(
            f"model `{path}` holds weights for `{arch}`, a class that can do anything that Python can; export it with "
            f"torch.export to a .pt2 instead, or allow the class: --allow-class {arch}"
        )
    archive = Archive(data, str(path))
    what = "" if digest in trusted.digests else program_in(archive)
    if what:
        raise ModelError(f"model `{path}` is {what}; {when_trusted(digest)}")
    return archive


def is_weights(path: str | Path) -> bool:
    """Whether a file holds weights alone, by the end of its name."""
    return Path(path).suffix.lower() == ".safetensors"


def build(
    data: bytes,
    digest: str,
    path: str | Path,
    trusted: Trust,
    kind: str,
    device: str = "cpu",
    arch: str = "",
    *,
    exact: bool = True,
) -> Model:
    """A model of bytes that were read, whose digest is known; see `load`."""
    if kind == "onnx":
        _require_onnx(path)
        from flowedge.models.onnx import Session  # noqa: PLC0415

        return Model(Session(data, str(path), device), digest)
    if kind == "litert":
        _require_litert(path)
        from flowedge.models import litert  # noqa: PLC0415

        return Model(litert.Session(data, str(path), device), digest)
    archive = _permitted(data, digest, path, trusted, kind, arch)
    if device != "cpu":
        _require_cuda(path, archive)
    if archive is None:
        _require_torch(path)
        from flowedge.models.programs import ClassRunner  # noqa: PLC0415

        return Model(ClassRunner(data, str(path), arch), digest)
    if is_torchscript(archive):
        _require_torch(path)
        from flowedge.models.torchscript import ScriptRunner  # noqa: PLC0415

        return Model(ScriptRunner(data, str(path)), digest)
    if has_machine_code(archive):
        _require_torch(path)
        from flowedge.models.programs import PackageRunner  # noqa: PLC0415

        return Model(PackageRunner(data, str(path)), digest)
    program = Program(archive)
    _require_torch(path)
    import torch  # noqa: PLC0415

    torch.set_num_threads(1)
    try:
        return Model(Runner(program, device, digest, exact=exact), digest)
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        IndexError,
        OverflowError,
        RuntimeError,
    ) as error:
        if isinstance(error, FlowEdgeError):
            raise
        raise ModelError(
            f"model `{path}` has a graph that cannot be run ({type(error).__name__}); export it with torch.export"
        ) from None


def _require_torch(path: str | Path) -> None:
    if importlib.util.find_spec("torch") is None:
        raise ModelError(
            f"model `{path}` needs Torch, which is not installed; run: pip install 'flowedge[torch]'"
        )


def _require_cuda(path: str | Path, archive: Archive | None) -> None:
    """Only graphs that our reader runs go to a card; raises ModelError."""
    _require_torch(path)
    import torch  # noqa: PLC0415

    if archive is None or is_torchscript(archive) or has_machine_code(archive):
        raise ModelError(
            f"model `{path}` is a program, which runs on the CPU; leave `on cuda` away"
        )
    if not torch.cuda.is_available():
        raise ModelError(
            f"model `{path}` is to run on CUDA, and Torch finds no such device here; leave `on cuda` away"
        )


def _require_onnx(path: str | Path) -> None:
    if importlib.util.find_spec("onnx") is None or importlib.util.find_spec("onnxruntime") is None:
        raise ModelError(
            f"model `{path}` needs ONNX Runtime, which is not installed; run: pip install 'flowedge[onnx]'"
        )


def _require_litert(path: str | Path) -> None:
    if importlib.util.find_spec("ai_edge_litert") is None:
        raise ModelError(
            f"model `{path}` needs LiteRT, which is not installed; run: pip install 'flowedge[litert]'"
        )


def inspect(path: str | Path, kind: str | None = None) -> ModelInfo:
    """Inputs and outputs of a model, without Torch and without running anything.

    Parameters
    ----------
    path : where it lies
    kind : ``torch``, ``onnx`` or ``litert``; None: as its name ends

    Raises
    ------
    ModelError
        the file cannot be read; of a TorchScript program nothing is known: it has no inputs here
    """
    return describe(path, kind).info


@dataclass(frozen=True, slots=True)
class Description:
    """A model looked at, and not run.

    Attributes
    ----------
    info : inputs, outputs, and what the manifest says
    sha256 : of the file's bytes
    manifest : the file beside it that tells more, and its sha256; None: there is none
    program : why it does more than to compute, and wants to be trusted; empty: it does not
    """

    info: ModelInfo
    sha256: str
    manifest: tuple[Path, str] | None = None
    program: str = ""


def describe(
    path: str | Path, kind: str | None = None, vet: Callable[[Path, str], None] | None = None
) -> Description:
    """As `inspect`, with the digests of what was read; `vet` is asked with each before it is looked into, and may raise."""
    data, digest = read(path)
    if vet is not None:
        vet(Path(path), digest)
    told, program = None, ""
    kind = kind or KINDS.get(Path(path).suffix.lower(), "torch")
    if kind == "onnx":
        _require_onnx(path)
        from flowedge.models.onnx import Graph  # noqa: PLC0415

        info = Graph(data, str(path)).info
    elif kind == "litert":
        from flowedge.models import litert  # noqa: PLC0415

        info = litert.Graph(data, str(path)).info
    elif is_weights(path):
        from flowedge.models import safetensors  # noqa: PLC0415

        count = len(safetensors.tensors(data, str(path)))
        info, program = ModelInfo((), ()), f"{count} weights, for a class that you allow"
    else:
        archive = Archive(data, str(path))
        program = program_in(archive)
        runs_itself = is_torchscript(archive) or has_machine_code(archive)
        info = ModelInfo((), ()) if runs_itself else Program(archive).info()
        if archive.has(INSIDE):
            told = parse(archive.read(INSIDE), f"{path}: model.json")
    found = beside(path)
    if told is None and found is not None:
        text, sha256 = read(found)
        if vet is not None:
            vet(found, sha256)
        told = read_beside(text, found, Path(path).name)
        return Description(replace(info, manifest=told), digest, (found, sha256), program)
    return Description(replace(info, manifest=told), digest, program=program)
