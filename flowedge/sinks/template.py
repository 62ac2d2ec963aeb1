"""Names in braces in an address: which rows go into which file."""

import glob
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flowedge.lang.errors import SinkError
from flowedge.types.compute import pc

_NAME = re.compile(r"\{([^\W\d]\w*)\}")
_UNSAFE = re.compile(r'[/\\:*?"<>|%={}\x00-\x1f\x7f]|^[. ]|[. ]$')
NULL = "__HIVE_DEFAULT_PARTITION__"
"""What Hive writes in the place of a missing value."""

_CALENDAR = {"year": "%Y", "month": "%Y-%m", "day": "%Y-%m-%d", "hour": "%Y-%m-%dT%H"}
"""Parts of the time, in UTC, for which no column is needed."""


@dataclass(frozen=True, slots=True)
class Template:
    """An address with names of columns in it.

    Attributes
    ----------
    text : the address
    names : the columns, each once
    """

    text: str
    names: tuple[str, ...]

    @classmethod
    def of(cls, address: str, wanted: Sequence[str] | None) -> "Template":
        """Names in braces; with `wanted` only those, the others are literal."""
        names = dict.fromkeys(_NAME.findall(address))
        return cls(address, tuple(n for n in names if wanted is None or n in wanted))

    def check(self, schema: pa.Schema) -> None:
        """Refuse names that are no columns, or no texts, numbers or times.

        Raises
        ------
        SinkError : the name
        """
        for name in self.names:
            if name in schema.names:
                kind = schema.field(name).type
                if pa.types.is_nested(kind) or pa.types.is_binary(kind):
                    raise SinkError(
                        f"`{self.text}`: the column `{name}` is {kind}, which makes no file name"
                    )
            elif name not in _CALENDAR or "time" not in schema.names:
                raise SinkError(
                    f"`{self.text}`: the stream has no column `{name}`; it has "
                    + ", ".join(f"`{n}`" for n in schema.names)
                )

    def fill(
        self, values: Sequence[str | None], part: Callable[[str | None], str] | None = None
    ) -> str:
        """The address of the rows with these values; `part` makes a value a part of it, `safe` if None."""
        by_name = dict(zip(self.names, values, strict=True))
        made = part or safe

        def put(match: re.Match[str]) -> str:
            return made(by_name[match[1]]) if match[1] in by_name else match[0]

        return _NAME.sub(put, self.text)

    def matches(self, path: str) -> bool:
        """Whether some values make this path.

        Examples
        --------
        >>> Template("out/{device}.csv", ("device",)).matches("out/17.csv")
        True
        """
        parts = _NAME.split(self.text)
        pattern = "".join(
            re.escape(part) if k % 2 == 0
            else "[^/]+" if part in self.names
            else re.escape(f"{{{part}}}")
            for k, part in enumerate(parts)
        )  # fmt: skip
        return re.fullmatch(pattern, path) is not None

    def glob(self, text: str) -> str:
        """A pattern for all paths that a text with the names may stand for.

        Examples
        --------
        >>> Template("out/{device}.csv", ("device",)).glob("{device}.csv")
        '*.csv'
        """
        return "".join(
            glob.escape(part) if k % 2 == 0
            else "*" if part in self.names
            else f"{{{part}}}"
            for k, part in enumerate(_NAME.split(text))
        )  # fmt: skip

    def split(
        self, block: pa.RecordBatch
    ) -> Iterator[tuple[tuple[str | None, ...], pa.RecordBatch, npt.NDArray[np.int64]]]:
        """The rows of each combination of values in order of first appearance, with their places."""
        if block.num_rows == 0:
            return
        codes: npt.NDArray[np.int64] = np.zeros(block.num_rows, np.int64)
        texts: list[list[str | None]] = []
        strides: list[int] = []
        for name in self.names:
            column = self._text(block, name).dictionary_encode(null_encoding="encode")
            texts.append(column.dictionary.to_pylist())
            strides.append(len(texts[-1]))
            codes = codes * len(texts[-1]) + column.indices.to_numpy(zero_copy_only=False)
        _, first, group = np.unique(codes, return_index=True, return_inverse=True)
        order = np.argsort(group, kind="stable")
        ends = np.cumsum(np.bincount(group))
        for g in np.argsort(first):
            rows = order[ends[g - 1] if g else 0 : ends[g]]
            code = int(codes[rows[0]])
            values: list[str | None] = []
            for n, column_texts in zip(reversed(strides), reversed(texts), strict=True):
                values.insert(0, column_texts[code % n])
                code //= n
            whole = len(rows) == block.num_rows
            yield tuple(values), block if whole else block.take(pa.array(rows)), rows

    def _text(self, block: pa.RecordBatch, name: str) -> pa.Array:
        if name not in block.schema.names:
            return pc.strftime(block.column("time"), _CALENDAR[name])
        column = block.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_timestamp(column.type):
            return pc.strftime(column, "%Y-%m-%dT%H-%M-%SZ")
        return column.cast(pa.string())


def safe(value: str | None) -> str:
    """A value as one part of a path: what means something to a file system is written ``%2F``.

    Examples
    --------
    >>> safe("../etc")
    '%2E.%2Fetc'
    """
    if value is None or value == "":
        return NULL
    return _UNSAFE.sub(lambda m: "".join(f"%{b:02X}" for b in m[0].encode()), value)
