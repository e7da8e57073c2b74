"""Writing one version directory in a stream: blocks per partition, sorted in space, memory bounded by bytes held."""

from __future__ import annotations

import hashlib
import io
from collections import defaultdict
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rasterloom.access.versions.commits import DataFile
from rasterloom.access.versions.parquet import PartFile, writer_options
from rasterloom.access.workspace.files import Workspace
from rasterloom.errors import SpecError
from rasterloom.raster.order import hilbert

BLOCK_BYTES = 32 * 1024 * 1024
"""Arrow bytes that one partition holds before they are sorted and written."""
TOTAL_BYTES = 64 * 1024 * 1024
"""Arrow bytes that all partitions hold together before the largest is written."""
OPEN_FILES = 64
_PARTS = {"year": pc.year, "month": pc.month}


class _Hashing(io.RawIOBase):
    """Passes bytes on and remembers their sum and number."""

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self._sum = hashlib.sha256()
        self.size = 0
        self.failed = False
        """The file is given up: pyarrow's writer, which closes itself once more when it is collected, writes to nobody."""

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.size

    def write(self, data: Any, /) -> int:
        size = memoryview(data).nbytes
        if self.failed:
            return size
        self._sink.write(data)
        self._sum.update(data)
        self.size += size
        return size

    @property
    def sha256(self) -> str:
        return self._sum.hexdigest()


@dataclass(slots=True)
class _Block:
    """Rows of one partition that wait to be written."""

    tables: list[pa.Table] = field(default_factory=list[pa.Table])
    bytes: int = 0

    def take(self) -> pa.Table:
        table = pa.concat_tables(self.tables)
        self.tables, self.bytes = [], 0
        return table


class _OpenPart:
    """A file under way: it appears in the workspace when it is closed."""

    def __init__(self, workspace: Workspace, key: str, schema: pa.Schema, metadata: Mapping[str, str], options: Mapping[str, Any]) -> None:
        self._stack = ExitStack()
        self._sink = _Hashing(self._stack.enter_context(workspace.open_writer(key)))
        self.part = PartFile(cast(BinaryIO, self._sink), schema, metadata, options)

    def close(self, path: str) -> DataFile:
        with self._stack:
            try:
                self.part.close()
            except BaseException:
                self._sink.failed = True
                raise
        return DataFile(path=path, size=self._sink.size, sha256=self._sink.sha256, rows=self.part.rows)

    def abandon(self, error: BaseException) -> None:
        self._sink.failed = True
        self._stack.__exit__(type(error), error, error.__traceback__)


class VersionWriter:
    """Takes tables of the final schema in any order; gives the manifest when the block ends well."""

    def __init__(
        self,
        workspace: Workspace,
        home: str,
        token: str,
        *,
        schema: pa.Schema,
        metadata: Mapping[str, str],
        partition_by: tuple[str, ...] = ("year", "month"),
        compression: str = "zstd",
    ) -> None:
        """`home` is the key of the version directory; `token`, unique to this attempt, goes into every file name."""
        if set(partition_by) - set(_PARTS):
            raise SpecError(f"storage.partition_by {list(partition_by)} is not supported", remedy="use [year, month], [year] or []")
        self._workspace, self._home, self._token = workspace, home, token
        self._schema, self._metadata = schema, metadata
        self._options = writer_options(schema, compression)
        self._partition_by = partition_by
        self._blocks: dict[str, _Block] = defaultdict(_Block)
        self._open: dict[str, _OpenPart] = {}
        self._paths: dict[str, str] = {}
        self._numbers: dict[str, int] = defaultdict(int)
        self.files: list[DataFile] = []
        self.rows_held = 0
        """Rows that wait in memory now."""
        self.most_rows_held = 0

    def __enter__(self) -> VersionWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None:
            for part in self._open.values():
                part.abandon(error)
            return
        for partition in sorted(self._blocks):
            self._flush(partition)
        for partition in sorted(self._open):
            self._close(partition)

    def add(self, table: pa.Table) -> None:
        """Take in rows; writes whatever exceeds the memory that may be held."""
        for partition, rows in _partitioned(table, self._partition_by):
            block = self._blocks[partition]
            block.tables.append(rows)
            block.bytes += rows.nbytes
            self.rows_held += rows.num_rows
            self.most_rows_held = max(self.most_rows_held, self.rows_held)
            if block.bytes > BLOCK_BYTES:
                self._flush(partition)
        while sum(block.bytes for block in self._blocks.values()) > TOTAL_BYTES:
            self._flush(max(self._blocks, key=lambda name: self._blocks[name].bytes))

    def _flush(self, partition: str) -> None:
        block = self._blocks[partition]
        if not block.tables:
            return
        table = block.take()
        self.rows_held -= table.num_rows
        self._part(partition).part.add(in_space(table).select(self._schema.names).cast(self._schema))

    def _part(self, partition: str) -> _OpenPart:
        if partition not in self._open:
            if len(self._open) >= OPEN_FILES:
                self._close(next(iter(self._open)))
            self._paths[partition] = f"{partition}part-{self._token}-{self._numbers[partition]}.parquet"
            self._numbers[partition] += 1
            key = f"{self._home}/{self._paths[partition]}"
            self._open[partition] = _OpenPart(self._workspace, key, self._schema, self._metadata, self._options)
        return self._open[partition]

    def _close(self, partition: str) -> None:
        self.files.append(self._open.pop(partition).close(self._paths[partition]))


def in_space(table: pa.Table) -> pa.Table:
    """Rows along the Hilbert curve of their footprints' centres, so that a box meets few row groups."""
    west, south, east, north = (pc.struct_field(table["bbox"], name).to_numpy() for name in ("xmin", "ymin", "xmax", "ymax"))
    middle = np.where(west > east, (west + east + 360.0) / 2, (west + east) / 2)
    order = np.argsort(hilbert((middle + 180.0) % 360.0 - 180.0, (south + north) / 2), kind="stable")
    return table.take(pa.array(order))


def _partitioned(table: pa.Table, by: tuple[str, ...]) -> list[tuple[str, pa.Table]]:
    """Hive path with a trailing slash (`year=2024/month=6/`) -> its rows, in the order of the paths' values."""
    if table.num_rows == 0:
        return []
    codes = np.zeros(table.num_rows, np.int64)
    values = [_PARTS[name](table["datetime"]).to_numpy() for name in by]
    for column in values:
        codes = codes * 100_000 + column
    parts: list[tuple[str, pa.Table]] = []
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        path = "".join(f"{name}={column[rows[0]]}/" for name, column in zip(by, values, strict=True))
        parts.append((path, table if len(rows) == table.num_rows else table.take(pa.array(rows))))
    return parts
