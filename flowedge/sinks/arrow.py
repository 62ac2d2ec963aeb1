"""Arrow IPC files, which every data tool maps into memory as they are."""

import pyarrow as pa

from flowedge.sinks.atomic import AtomicFile
from flowedge.sinks.contract import connector
from flowedge.sinks.files import FileSink
from flowedge.sinks.part import Writer
from flowedge.types.connectors import Option, Signature


@connector("arrow")
class Arrow(FileSink):
    """Write one Arrow IPC file in record batches of exactly 65,536 rows.

    Text columns that come as dictionaries share one dictionary over the file. If a text appears
    for the first time in a later batch, the dictionary is continued there (a delta, as the format
    has it). A ``{name}`` in the address gives each of its values a file.
    """

    options = Signature(
        (
            Option(
                "compression", "text", "none", "of the buffers: none, lz4 or zstd",
                choices=("none", "lz4", "zstd"),
            ),
        )
    )  # fmt: skip

    def writer(self, file: AtomicFile, schema: pa.Schema) -> Writer:
        """Arrow's own writer."""
        compression = self.given["compression"]
        options = pa.ipc.IpcWriteOptions(
            compression=None if compression == "none" else compression,
            emit_dictionary_deltas=True,
            use_threads=False,
        )
        return pa.ipc.new_file(pa.PythonFile(file, "w"), schema, options=options)

    def writer_again(self, file: AtomicFile, schema: pa.Schema) -> Writer:
        """Behind its first 8 bytes an Arrow file is a stream, and each batch of it writes itself once more."""
        writer = self.writer(file, schema)
        with pa.memory_map(str(file.temporary)) as held:
            held.seek(8)
            with pa.ipc.open_stream(held) as stream:
                for batch in stream:
                    writer.write_batch(batch)
        return writer
