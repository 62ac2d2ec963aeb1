"""A small world for the checker: connectors, files and models that tests speak of."""

from flowedge.graph.catalog import CatalogError, Described, ModelShape, PlainCatalog, Tensor
from flowedge.graph.check import check
from flowedge.lang.diagnostics import FlowError
from flowedge.types.connectors import NEEDED, ConnectorInfo, Option, Signature
from flowedge.types.schema import F64, TIME, Type
from flowedge.types.units import parse as unit

FLEET = Described(
    (("time", TIME), ("ts", TIME), ("device", Type("string")), ("site", Type("string")),
     ("temperature", Type("f64", unit("degC"))), ("humidity", Type("f64", unit("percent")))),
)  # fmt: skip
FILES = {
    "typed.arrow": Described((("time", TIME), ("v", F64))),
    "rate250.arrow": Described((("v", F64),), rate_hz=250.0),
    "fleet.parquet": FLEET,
    "fleet/*.parquet": FLEET,
    "t.csv": Described((("time", TIME), ("v", F64))),
}
NPZ = (("t", F64), ("value", Type("f64", shape=(6,))), ("time", TIME), ("box", Type("u16")), ("track", Type("u16")), ("address", Type("i32")),
       ("src", Type("i16")), ("data", Type("binary")), ("acc", Type("f32", shape=(3,))), ("gyro", Type("f32", shape=(3,))), ("a", Type("f32")),
       ("azimuth", Type("f32")), ("conf", Type("f32")))  # fmt: skip
MODELS = {
    "two.pt2": ModelShape((Tensor("x", (None, 1, 64)),), (Tensor("y", (None, 2)),)),
    "recurrent.pt2": ModelShape(
        (Tensor("x", (None, 1, 64)), Tensor("h", (None, 8))),
        (Tensor("y", (None, 2)), Tensor("g", (None, 8))),
    ),
    "single.pt2": ModelShape((Tensor("x", (1, 1, 64)),), (Tensor("y", (1, 2)),)),
    "volts.pt2": ModelShape((Tensor("x", (None, 1, 64), units=("V",)),), (Tensor("y", (None, 2)),)),
    "at100.pt2": ModelShape(
        (Tensor("x", (None, 1, 64)),), (Tensor("y", (None, 2)),), rate_hz=100.0
    ),
}


class World(PlainCatalog):
    """As the files above say; any other file is there, but says nothing."""

    def schema(self, connector, address, options):
        """What the file says."""
        if address == "missing.arrow":
            raise CatalogError(f"`{address}` does not exist", "check the path")
        if connector == "npz":
            return Described(NPZ)
        return FILES.get(address)

    def model(self, path, kind="torch"):
        """What the model says."""
        if path == "missing.pt2":
            raise CatalogError(f"`{path}` does not exist", "check the path")
        return MODELS.get(path)


def info(name, side, *options, **more):
    """A connector."""
    return ConnectorInfo(name, side, Signature(options), **more)


CSV = (Option("sep", "text", ",", ""), Option("null", "texts", (), ""), Option("header", "flag", True, ""),
       Option("index", "flag", False, ""), Option("timestamp", "text", "", ""))  # fmt: skip
SOURCES = {
    "arrow": info("arrow", "source", Option("columns", "names", (), "")), "parquet": info("parquet", "source"), "csv": info("csv", "source", *CSV),
    "tsv": info("tsv", "source", *CSV), "npz": info("npz", "source", Option("pad", "integer", 0, "")), "wfdb": info("wfdb", "source"),
    "wav": info("wav", "source"), "flac": info("flac", "source"),
    "simulate.imu": info("simulate.imu", "source", Option("seed", "integer", 0, ""), Option("noise", "number", 0.0, ""),
                         Option("length", "duration", 60.0, ""), needs_address=False, writes_files=False),
    "feed": info("feed", "source", is_live=True, writes_files=False),
    **{n: info(n, "source", planned=True, is_live=True, needs_address=n != "host", writes_files=False) for n in ("mqtt", "nats", "video", "edgex", "host")},
}  # fmt: skip
SINKS = {
    "arrow": info("arrow", "sink"), "jsonl": info("jsonl", "sink"), "csv": info("csv", "sink"),
    "parquet": info("parquet", "sink", Option("partition", "names", (), ""), Option("roll", "limit", None, "")),
    "console": info("console", "sink", needs_address=False, writes_files=False),
    "vault": info("vault", "sink", Option("password", "secret", NEEDED, "")),
    "safe": info("safe", "sink", Option("token", "secret", "", ""), Option("credentials", "secret", "", ""), Option("tls", "flag", False, ""), writes_files=False),
    "queue": info("queue", "sink", Option("qos", "integer", 1, ""), writes_files=False,
                  promises=lambda given, _: "at least once" if given.get("qos", 1) else "at most once"),
    "table": info("table", "sink", writes_files=False, promises=lambda *_: "exactly once"),
    **{n: info(n, "sink", planned=True, writes_files=False) for n in ("mqtt", "postgres", "sqlite", "http", "edgex")},
}  # fmt: skip
WORLD = World(sources=SOURCES, sinks=SINKS)


def no_imports(path):
    """No file can be imported."""
    raise FileNotFoundError(2, "No such file or directory", path)


def graph_of(text, imports=no_imports, **params):
    """The graph of a pipeline."""
    return check(text, "a.flow", params=params, catalog=WORLD, imports=imports)


def problems(text, imports=no_imports, **params):
    """All diagnostics of a pipeline, warnings too."""
    try:
        return list(graph_of(text, imports, **params).warnings)
    except FlowError as error:
        return list(error.diagnostics)


def codes(text, imports=no_imports, **params):
    """Their codes."""
    return [d.code for d in problems(text, imports, **params)]
