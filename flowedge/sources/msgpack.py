"""msgpack: payloads one after the other, as devices send them and as quarantine files hold them."""

from collections.abc import Iterator

import pyarrow as pa

from flowedge.lang.errors import SourceError
from flowedge.sources.contract import BATCH_ROWS, Predicate, connector
from flowedge.sources.files import FileSource
from flowedge.sources.payloads import LONGEST, CutShortError, Decoder, PayloadError
from flowedge.sources.payloads.msgpack import end_of

_BLOCK = 1 << 20
_MOST_BYTES = 4 << 20
"""Bytes read at once, at first; and bytes of payloads gathered for a batch, at most one more."""
_MOST_PAYLOADS = 16_384
"""Payloads decoded at once."""


@connector("msgpack")
class Msgpack(FileSource):
    """Read a sequence of msgpack payloads: maps, lists of maps, or columns as bytes.

    The fields have to be declared: a payload says too little of itself. A field that a reading does
    not have is missing. Files may be packed: ``.gz``, ``.bz2`` and ``.zst`` by name.
    """

    describes_itself = False
    converts = True

    def schema(self) -> pa.Schema | None:
        """The declared fields and the captures; None where nothing is declared."""
        return super().schema() if self.declared is not None else None

    def schema_of(self, path: str) -> pa.Schema:
        """The declared fields."""
        fields = [f for f in self.declared or () if f.name not in self.captures]
        if not fields:
            raise SourceError(
                f"`{path}` is msgpack, which does not say its fields; declare them: `source NAME (v: f64) from …`"
            )
        return pa.schema(fields)

    def read(
        self, path: str, columns: list[str] | None, predicate: Predicate | None, skip: int
    ) -> Iterator[pa.RecordBatch]:
        """Batches of about `BATCH_ROWS` rows, or of 4 MiB of payloads."""
        schema = self.schema_of(path)
        decoder = Decoder(schema, "msgpack", fitting=self.fitting)
        passed = size = 0
        for payloads in _groups(_payloads(path)):
            decoder.add_many(payloads)
            size += sum(map(len, payloads))
            bad = next((r for r in decoder.rejected if not r.by_policy), None)
            if bad is not None and self.on_error == "stop":
                raise SourceError(
                    f"`{path}` reading {bad.number}: {bad.reason}: `{bad.text}`; mend it, or add `on error skip` to the source"
                )
            if decoder.rows >= BATCH_ROWS or size >= _MOST_BYTES:
                yield from self._rest(path, decoder, passed, skip, columns)
                passed += self._taken
                size = 0
        yield from self._rest(path, decoder, passed, skip, columns)

    _taken = 0

    def _rest(
        self, path: str, decoder: Decoder, passed: int, skip: int, columns: list[str] | None
    ) -> Iterator[pa.RecordBatch]:
        """What the decoder holds, without rows that were read before."""
        batch = decoder.take()
        self._taken = batch.num_rows
        for bad in decoder.rejected:
            self.rejects.add(path, bad.number, bad.reason, bad.text)
        decoder.rejected = []
        for name, (nulled, clamped) in decoder.take_altered().items():
            self.rejects.alter(name, nulled=nulled, clamped=clamped)
        behind = passed + batch.num_rows
        if passed < skip:
            self.rejects.forget()
        if behind > skip:
            rest = batch.slice(max(0, batch.num_rows - (behind - skip)))
            yield rest if columns is None else rest.select(columns)


def _groups(payloads: Iterator[bytes]) -> Iterator[list[bytes]]:
    """Payloads that are decoded at once: about a mebibyte of them."""
    group: list[bytes] = []
    size = 0
    for payload in payloads:
        group.append(payload)
        size += len(payload)
        if size >= _BLOCK or len(group) >= _MOST_PAYLOADS:
            yield group
            group, size = [], 0
    if group:
        yield group


def _payloads(path: str) -> Iterator[bytes]:
    """The payloads of a file, one after the other."""
    offset = 0
    with pa.input_stream(path, compression="detect") as stream:
        held, block = b"", _BLOCK
        while True:
            data = stream.read(block)
            held += data
            at = 0
            try:
                while at < len(held):
                    end = end_of(held, at)
                    yield held[at:end]
                    at = end
                block = _BLOCK
            except CutShortError:
                # Twice as much each time, or a long payload would be walked too often.
                block = min(2 * block, LONGEST) if at == 0 else _BLOCK
                if not data:
                    raise SourceError(
                        f"`{path}` is cut short: the payload at byte {offset + at} is not whole; copy it again, or "
                        "wait until it is written"
                    ) from None
            except PayloadError as error:
                raise SourceError(
                    f"`{path}` is damaged, or no msgpack: the payload at byte {offset + at}: {error}"
                ) from None
            held, offset = held[at:], offset + at
            if not data:
                return
