"""Frames that `flowedge windows` wrote, as a data set for PyTorch: a network learns from what it will see.

::

    from flowedge.torch import FrameDataset

    frames = FrameDataset("train.arrow", labels=["N", "S", "V", "F", "Q"])
    train, test = frames.split(by="patient", hold_out=["100", "200"])
    for x, y in torch.utils.data.DataLoader(train, batch_size=64, shuffle=True):
        ...  # x is (64, channels, samples), as the model node will call the network
"""

import copy
import json
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from pyarrow import parquet
from torch.utils.data import Dataset

from flowedge.lang.diagnostics import did_you_mean
from flowedge.models.info import TensorInfo
from flowedge.models.load import arrange
from flowedge.types.metadata import FRAMES

Array = np.ndarray[Any, Any]


class FrameDataset(Dataset[Any]):
    """Frames with their labels, laid out as the model node lays them before a network.

    Parameters
    ----------
    path : one or several files that `flowedge windows` wrote, ``.arrow`` or ``.parquet``. Arrow files are mapped into
        memory, so that only what is looked at is read; Parquet is read as a whole
    label : the column with the label; None: the one that `flowedge windows --labels` joined. Where there is none the
        data set gives inputs alone
    labels : the classes in the order of the network's outputs; None: those that the pipeline's model declares, or
        where it declares none those that are there, in order. A column of numbers with a fraction has no classes: its
        values are what a network shall give. Neither has a column of lists, such as a clean signal beside a noisy one
    others : what becomes of frames with a label that is not among `labels`: ``refuse`` (ValueError), or ``drop``
    min_share : frames of which the label covers less are left out, where `flowedge windows` told the share
    each : a tensor for each column, for a network that takes several inputs; otherwise one, whose channels are those
        of all columns in order
    shapes : of the inputs that the network takes, the batch left out, where they are laid out in another way than
        (channels, samples): as of `arrange`
    dtype : of the inputs, as NumPy calls it

    Attributes
    ----------
    labels : the classes; ``labels[y]`` is the name of ``y``. Empty where there are none
    rows : (frames,) the row of the files where each frame stands
    targets : (frames,) the number of each frame's class, or its value; (frames, …, samples) of lists
    left_out : how many frames of the files are not here, by the reason: unlabelled, mixed, others

    Raises
    ------
    ValueError
        it is no file of frames, columns or labels are not there, or the columns do not fit in one tensor
    OSError
        a file cannot be read

    Notes
    -----
    ``frames[i]`` is ``(inputs, y)``: a tensor (channels, samples) or a tuple of them, and the number of the class.
    They have the bits that the network gets in `flowedge run`: `arrange` of the engine lays them out here too. Split
    by who or what was measured, never by frame: frames of one person are alike.
    """

    def __init__(
        self,
        path: str | Path | Sequence[str | Path],
        label: str | None = None,
        labels: Sequence[Hashable] | None = None,
        *,
        others: str = "refuse",
        min_share: float = 0.0,
        each: bool = False,
        shapes: Sequence[Sequence[int]] | None = None,
        dtype: str = "float32",
    ) -> None:
        if others not in ("refuse", "drop"):
            message = f"others={others!r}: give 'refuse' or 'drop'"
            raise ValueError(message)
        self.paths = [Path(x) for x in ([path] if isinstance(path, str | Path) else path)]
        self._open()
        self._specs = _specs(self.about["inputs"], each=each, shapes=shapes, dtype=dtype)
        self.label = label or self.about["label"]
        self.left_out: dict[str, int] = {}
        self.labels: tuple[str, ...] = ()
        self.targets: torch.Tensor | None = None
        keep = np.ones(self._table.num_rows, bool)
        if self.label is not None:
            targets = self._targets(self._column(self.label), labels, others, keep)
            if min_share > 0:
                share = self._column(self.about["share"] or f"{self.label}_share").to_numpy()
                self._leave_out("mixed", ~(share >= min_share), keep)
            self.targets = torch.from_numpy(targets[keep])
        self.rows = np.flatnonzero(keep)

    def __len__(self) -> int:
        """How many frames there are."""
        return len(self.rows)

    def __getitem__(self, i: int) -> Any:  # noqa: ANN401  # inputs, and the target where there is one
        """The inputs of a frame, and its target where it has one."""
        return self.__getitems__([range(len(self))[i]])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Several frames, fetched together: what a DataLoader asks for."""
        found = [torch.from_numpy(x) for x in self._inputs(self.rows[np.asarray(indices)])]
        inputs = list(found[0]) if len(found) == 1 else list(zip(*found, strict=True))
        if self.targets is None:
            return inputs
        return [(x, self.targets[i]) for x, i in zip(inputs, indices, strict=True)]

    def groups(self, name: str) -> Array:
        """The value of a column (a key, the time) for each frame, to split or to group by."""
        values = self._column(name)
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        return values.to_numpy()[self.rows]

    def split(self, by: str, hold_out: Iterable[Hashable]) -> tuple["FrameDataset", "FrameDataset"]:
        """The frames of all others, and those that are held out.

        Parameters
        ----------
        by : a column that says of whom a frame is
        hold_out : its values that are held out

        Raises
        ------
        ValueError
            one of them is not there
        """
        groups = self.groups(by).tolist()
        known, wanted = set(groups), set(hold_out)
        for value in wanted - known:
            near = did_you_mean(str(value), map(str, known))
            raise ValueError(f"no frame has {value!r} in `{by}`; {near}")
        is_out = np.array([x in wanted for x in groups], bool)
        return self._only(~is_out), self._only(is_out)

    # ---- how it is kept

    def _open(self) -> None:
        """The table, and its inputs as views of the file: arrays for each of its pieces."""
        self._table, self.about = _read(self.paths)
        self._columns = self._table.column_names
        names = [x["name"] for x in self.about["inputs"]]
        pieces = [x for x in self._table.select(names).to_batches() if x.num_rows]
        told = self.about["inputs"]
        self._pieces = [
            [_array(column, one) for column, one in zip(piece.columns, told, strict=True)]
            for piece in pieces
        ]
        self._starts = np.cumsum([0, *(x.num_rows for x in pieces)])

    def __getstate__(self) -> dict[str, Any]:
        """Without what is mapped into memory: a process that gets it opens the files itself."""
        return {k: v for k, v in self.__dict__.items() if k not in ("_table", "_pieces")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the files again."""
        self.__dict__.update(state)
        self._open()

    def _column(self, name: str) -> pa.ChunkedArray:
        if name not in self._columns:
            near = did_you_mean(name, self._columns)
            raise ValueError(f"the frames have no column `{name}`; {near}")
        return self._table.column(name)

    def _inputs(self, rows: Array) -> list[Array]:
        """The inputs of a network for some rows of the files, in arrays of their own."""
        piece = np.searchsorted(self._starts, rows, side="right") - 1
        columns = []
        for k in range(len(self.about["inputs"])):
            parts = [
                self._pieces[n][k][r - self._starts[n]] for n, r in zip(piece, rows, strict=True)
            ]
            columns.append(np.stack(parts))
        return [np.array(x) for x in arrange(columns, self._specs)]

    def _only(self, mask: Array) -> "FrameDataset":
        out = copy.copy(self)
        out.rows = self.rows[mask]
        out.targets = None if self.targets is None else self.targets[torch.from_numpy(mask)]
        return out

    def _leave_out(self, why: str, which: Array, keep: Array) -> None:
        count = int((which & keep).sum())
        if count:
            self.left_out[why] = count
        keep &= ~which

    def _targets(
        self,
        column: pa.ChunkedArray,
        labels: Sequence[Hashable] | None,
        others: str,
        keep: Array,
    ) -> Array:
        """The number of each frame's class, or its value; what has none is taken from `keep`."""
        if pa.types.is_fixed_size_list(column.type):
            return _signals(column, self.label or "")
        is_number = pa.types.is_floating(column.type) and labels is None
        if (
            self.label == self.about["label"]
        ):  # the one that most samples of whole numbers have is a float
            is_number = is_number and not self.about["is_class"]
        values = column.to_pylist()
        if is_number:
            numbers = np.array([np.nan if x is None else x for x in values], np.float32)
            self._leave_out("unlabelled", np.isnan(numbers), keep)
            return numbers
        values = [None if x != x else x for x in values]  # noqa: PLR0124  # NaN
        names = [None if x is None else _name(x) for x in values]
        self._leave_out("unlabelled", np.array([x is None for x in names], bool), keep)
        there = [_name(x) for x in sorted({x for x in values if x is not None})]
        classes = [_name(x) for x in labels] if labels is not None else self.about["classes"] or there  # fmt: skip
        self.labels = tuple(classes)
        unknown = [x for x in there if x not in self.labels]
        if unknown and others == "refuse":
            raise ValueError(
                f"frames are labelled {', '.join(map(repr, unknown[:8]))}, which is none of the classes "
                f"{', '.join(map(repr, self.labels))}; give labels=[…], or others='drop'"
            )
        number = {x: k for k, x in enumerate(self.labels)}
        self._leave_out("others", np.array([x in unknown for x in names], bool), keep)
        return np.array([-1 if x is None else number.get(x, -1) for x in names], np.int64)


def _name(value: object) -> str:
    """A label as a class is called."""
    is_whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if is_whole else str(value)  # type: ignore[call-overload]


def _read(paths: Sequence[Path]) -> tuple[pa.Table, dict[str, Any]]:
    """The rows of files of frames, and what they tell of them."""
    tables, about = [], None
    for path in paths:
        if path.suffix.lower() == ".parquet":
            table = parquet.read_table(path, memory_map=True)
        else:
            try:
                table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            except pa.ArrowInvalid as error:
                raise ValueError(f"`{path}` is no Arrow file: {error}") from None
        told = (table.schema.metadata or {}).get(FRAMES)
        if told is None:
            raise ValueError(f"`{path}` has no frames in it; write them with `flowedge windows`")
        found = json.loads(told)
        if about is not None and found["inputs"] != about["inputs"]:
            raise ValueError(f"`{path}` has frames with other inputs than `{paths[0]}`")
        about = about or found
        tables.append(table)
    if about is None:
        message = "give at least one file"
        raise ValueError(message)
    return pa.concat_tables(tables, promote_options="default"), about


def _array(column: pa.Array, told: dict[str, Any]) -> Array:
    """A column of a piece, (frames, …), as the model node has it."""
    if column.null_count:
        message = f"`{told['name']}` has frames that are missing"
        raise ValueError(message)
    rows = len(column)
    while pa.types.is_fixed_size_list(column.type):
        column = column.flatten()
    if told["store"] == "bool":
        values = column.to_numpy(zero_copy_only=False).astype(np.uint8)
    else:
        values = column.to_numpy()
    return values.reshape(rows, *told["shape"])


def _signals(column: pa.ChunkedArray, name: str) -> Array:
    """Lists as targets, in float32, channels first as the inputs."""
    kind, shape = column.type, []
    while pa.types.is_fixed_size_list(kind):
        shape.append(kind.list_size)
        kind = kind.value_type
    told = {"name": name, "shape": shape, "store": str(kind)}
    parts = [_array(x, told) for x in column.chunks]
    whole = np.concatenate(parts) if parts else np.empty((0, *shape))
    return np.ascontiguousarray(np.moveaxis(whole, 1, -1), np.float32)


def _specs(
    inputs: Sequence[dict[str, Any]],
    *,
    each: bool,
    shapes: Sequence[Sequence[int]] | None,
    dtype: str,
) -> list[TensorInfo]:
    """What a network takes, in the words of `arrange`."""
    if shapes is not None:
        if len(shapes) not in (1, len(inputs)):
            raise ValueError(f"{len(shapes)} shapes for {len(inputs)} columns")
        return [TensorInfo("", (None, *shape), dtype) for shape in shapes]
    sizes = [(int(np.prod(x["shape"][1:])), *x["shape"][:1]) for x in inputs]
    if each:
        return [TensorInfo(x["name"], (None, *size), dtype) for x, size in zip(inputs, sizes, strict=True)]  # fmt: skip
    if len({size[1:] for size in sizes}) > 1:
        raise ValueError(
            "the columns have frames of different lengths; take a tensor for each: each=True"
        )
    whole = (sum(size[0] for size in sizes), *sizes[0][1:])
    return [TensorInfo("frame", (None, *whole), dtype)]
