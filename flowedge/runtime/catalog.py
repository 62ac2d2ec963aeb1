"""The catalogue that opens files: what self-describing sources and models say of themselves."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from flowedge.graph.catalog import CatalogError, Described, ModelShape, Tensor
from flowedge.lang.errors import DigestError, ModelError, SourceError
from flowedge.models.manifest import InputNote, Manifest, beside
from flowedge.types.connectors import ConnectorInfo
from flowedge.types.metadata import UNIT
from flowedge.types.schema import Store, Type

if TYPE_CHECKING:
    from flowedge.models.info import ModelInfo
    from flowedge.models.load import Description

STORES: dict[str, Store] = {
    "double": "f64", "float": "f32", "int64": "i64", "int32": "i32", "int16": "i16", "int8": "i8", "uint64": "u64",
    "uint32": "u32", "uint16": "u16", "uint8": "u8", "bool": "bool", "string": "string", "large_string": "string",
    "string_view": "string", "binary": "binary", "large_binary": "binary", "halffloat": "f32",
}  # fmt: skip


def type_of(field: pa.Field) -> Type:
    """The type of an Arrow field, its unit from the metadata.

    Raises
    ------
    CatalogError
        a kind of column that the engine has no use for
    """
    kind, shape = field.type, []
    while pa.types.is_fixed_size_list(kind):
        shape.append(kind.list_size)
        kind = kind.value_type
    if isinstance(kind, pa.FixedShapeTensorType):
        shape += list(kind.shape)
        kind = kind.value_type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return Type("time", shape=tuple(shape))
    if pa.types.is_duration(kind):
        return Type("i64", unit=_unit(kind.unit), shape=tuple(shape))
    store = STORES.get(str(kind))
    if store is None:
        raise CatalogError(
            f"column `{field.name}` has the type {field.type}, which has no place in a stream; "
            "write it as a number, a text or a list of fixed length, or name the columns to read in `columns=[…]`"
        )
    said = (field.metadata or {}).get(UNIT, b"").decode()
    return Type(store, unit=_unit(said), shape=tuple(shape))


def _unit(text: str) -> Any:  # noqa: ANN401  # a Unit, imported only where there is one
    if not text:
        return None
    from flowedge.types import units  # noqa: PLC0415

    try:
        return units.parse(text)
    except units.UnknownUnitError:
        return None


class FileCatalog:
    """Answers by opening what the pipeline names; remembers what it was asked, for the plan cache.

    Parameters
    ----------
    vet : called with the path and the sha256 of each model, manifest and imported file, of the very bytes that are used;
        may raise

    Attributes
    ----------
    asked : (kind, subject, digest of the answer), in order
    """

    def __init__(self, vet: Callable[[Path, str], None] | None = None) -> None:
        self._vet = vet
        self.asked: list[tuple[str, str, str]] = []

    def source(self, connector: str) -> ConnectorInfo | None:
        """The source connector of this name."""
        from flowedge.sources.catalog import about  # noqa: PLC0415  # a warm start asks no catalogue

        return about(connector)

    def sink(self, connector: str) -> ConnectorInfo | None:
        """The sink connector of this name."""
        from flowedge.sinks.catalog import about  # noqa: PLC0415

        return about(connector)

    def connectors(self) -> tuple[str, ...]:
        """All names of sources and sinks."""
        from flowedge.sinks import catalog as sinks  # noqa: PLC0415
        from flowedge.sources import catalog as sources  # noqa: PLC0415

        return tuple(sorted({*sources.names(), *sinks.names()}))

    def schema(self, connector: str, address: str, options: Mapping[str, Any]) -> Described | None:
        """Columns, rate and start of a source, from its file."""
        answer = describe(connector, address, options)
        self.asked.append(("schema", _subject(connector, address, options), answer[0]))
        return None if answer[1] is None else answer[1]()

    def model(self, path: str, kind: str = "torch") -> ModelShape | None:
        """Inputs and outputs of a model, from its file."""
        found = describe_model(path, kind, self._vet)
        self.asked.append(("model", path, found.sha256))
        self.asked.append(("manifest", path, "" if found.manifest is None else found.manifest[1]))
        return shape_of(found.info)

    def text(self, path: str) -> str:
        """The text of an imported file."""
        from flowedge.lang.parse import decode  # noqa: PLC0415

        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise CatalogError((error.strerror or str(error)).lower()) from None
        digest = hashlib.sha256(data).hexdigest()
        if self._vet is not None:
            self._vet(Path(path), digest)
        self.asked.append(("import", path, digest))
        return decode(data, path)


def still_holds(kind: str, subject: str, digest: str) -> bool:
    """Whether an answer that a cached plan rests on is the same today."""
    try:
        match kind:
            case "schema":
                connector, address, options = json.loads(subject)
                return describe(connector, address, options)[0] == digest
            case "manifest":
                told = beside(subject)
                return ("" if told is None else _sha256(told)) == digest
            case "zones":
                from flowedge.operators import zones  # noqa: PLC0415  # most plans have none

                return zones.version() == digest
            case _:
                return _sha256(Path(subject)) == digest
    except (CatalogError, OSError):
        return False


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _subject(connector: str, address: str, options: Mapping[str, Any]) -> str:
    return json.dumps([connector, address, {k: _plain(v) for k, v in options.items()}])


def _plain(value: Any) -> Any:  # noqa: ANN401
    return list(value) if isinstance(value, tuple) else value


def describe(
    connector: str, address: str, options: Mapping[str, Any]
) -> tuple[str, Callable[[], Described] | None]:
    """The digest of what a source says of itself, and what it says."""
    from flowedge.sources.catalog import get  # noqa: PLC0415

    found = get(connector)
    if found is None:
        return "", None
    known = {k: v for k, v in options.items() if found.options.option(k) is not None}
    captures = options.get("captures")
    # What becomes of a bad row is the run's to say: here one only asks which columns there are.
    on_error: Literal["skip", "stop"] = "skip" if found.converts else "stop"
    try:
        source = found(address, captures=captures, on_error=on_error, **known)
        schema, rate, start = source.schema(), source.rate_hz, source.start_ns
    except SourceError as error:
        raise CatalogError(str(error)) from None
    if schema is None:
        return "none", None
    for name in schema.names:
        if len(schema.get_all_field_indices(name)) > 1:
            raise CatalogError(f"`{address}` has two columns named `{name}`; rename one of them")
    digest = hashlib.sha256(
        schema.serialize().to_pybytes() + repr((rate, start)).encode()
    ).hexdigest()

    def answer() -> Described:
        columns = tuple((f.name, type_of(f)) for f in schema)
        times = [name for name, type_ in columns if type_.store == "time" and not type_.shape]
        time = "time" if "time" in times else (times[0] if len(times) == 1 else None)
        return Described(columns, rate, time, start)

    return digest, answer


def describe_model(
    path: str, kind: str = "torch", vet: Callable[[Path, str], None] | None = None
) -> "Description":
    """A model that was looked at; raises `CatalogError`."""
    from flowedge.models.load import describe as look  # noqa: PLC0415  # only pipelines with models

    try:
        return look(path, kind, vet)
    except DigestError:
        raise  # no mistake of the pipeline
    except ModelError as error:
        raise CatalogError(str(error)) from None


def shape_of(info: "ModelInfo") -> ModelShape:
    """What the checker asks of a model; raises `CatalogError` where its manifest is of another one."""
    told = info.manifest or Manifest()
    if told.inputs and info.inputs and len(told.inputs) != len(info.inputs):
        raise CatalogError(
            f"its manifest tells of {len(told.inputs)} inputs, the model has {len(info.inputs)}"
        )
    for text in dict.fromkeys(unit for note in told.inputs for unit in note.units):
        from flowedge.types import units  # noqa: PLC0415  # brings pint

        try:
            units.parse(text)
        except units.UnknownUnitError:
            raise CatalogError(
                f"its manifest tells of the unit `{text}`, which is unknown"
            ) from None
    notes = told.inputs or (InputNote(),) * len(info.inputs)
    return ModelShape(
        tuple(
            Tensor(t.name, t.shape, t.dtype, note.units, note.channels, note.mean, note.std)
            for t, note in zip(info.inputs, notes, strict=bool(info.inputs))
        ),
        tuple(Tensor(t.name, t.shape, t.dtype) for t in info.outputs),
        told.rate_hz,
        told.labels,
        told.output,
    )
