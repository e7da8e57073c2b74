"""Tables as sources: Parquet files of any address, or Arrow data of a callable; their rows as STAC items, page by page.

A row group is judged by its statistics, its rows by a few narrow columns, and only what passes is read whole and becomes an item.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from rasterloom.access.archive.shared import shared_stores
from rasterloom.access.credentials.secrets import Secrets
from rasterloom.access.items.pages import Page
from rasterloom.access.network.translate import translated
from rasterloom.access.sources.tablefiles import Files, Meter, TableFile
from rasterloom.access.sources.tablelayout import Layout, layout_of
from rasterloom.access.sources.tableobjects import batches_of
from rasterloom.access.sources.tablerows import Rows
from rasterloom.access.sources.tablesieve import Mask, Sieve, by_ids, sieve_of
from rasterloom.errors import SpecError, Unreadable
from rasterloom.specs.effort import Effort
from rasterloom.specs.question import Question, Shard, TableSource

PAGE = 500
"""Items of one page."""
_NARROW_ROWS, _WHOLE_ROWS = 65_536, 4096
"""Rows of one batch of a few narrow columns, and of all that make an item."""
_ONE_GO = 1 << 20
"""Bytes of a row group up to which all columns are read at once: a second request costs more."""
_HEAVY = 64 << 20
"""Bytes of a row group above which its columns are streamed: otherwise they are fetched together, in few requests."""
_BUFFER = 1 << 20
"""Bytes of one column that are held while it is streamed."""

Judge = Callable[[Layout], Sieve]


def search(question: Question, shard: Shard, *, effort: Effort, secrets: Secrets) -> Iterator[Page]:
    """The rows that may answer one shard; the caller checks every item again.

    Raises `SpecError` where there is no such table, column or callable, `Unreadable` where a file is broken, and as
    `Transfer.range` where it is remote.
    """
    yield from _pages(_source(question), question, lambda layout: sieve_of(question, shard, layout), effort, secrets)


def search_ids(question: Question, ids: Sequence[str], *, effort: Effort, secrets: Secrets) -> Iterator[Page]:
    """The rows of these ids that the table still has, whatever else of them changed. Raises as `search`."""
    wanted = set(ids)
    for page in _pages(_source(question), question, lambda layout: by_ids(ids, layout), effort, secrets):
        page.items[:] = [item for item in page.items if item["id"] in wanted]
        yield page


def _source(question: Question) -> TableSource:
    assert isinstance(question.source, TableSource)
    return question.source


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Some rows that passed."""

    how: Rows
    rows: pa.Table


def _pages(source: TableSource, question: Question, judge: Judge, effort: Effort, secrets: Secrets) -> Iterator[Page]:
    """At least one, so that the requests are counted somewhere."""
    meter = Meter()
    chunks = _of_object(source, question, judge) if source.uri is None else _of_files(source, question, judge, effort, secrets, meter)
    seen: set[str] = set()
    for chunk in chunks:
        for start in range(0, chunk.rows.num_rows, PAGE):
            yield _page(chunk.how.items(chunk.rows.slice(start, PAGE)), seen, meter)
    yield _page([], seen, meter)


def _page(items: list[dict[str, Any]], seen: set[str], meter: Meter) -> Page:
    """`duplicates` counts over the whole search."""
    before = len(seen)
    seen.update(str(item["id"]) for item in items)
    page = Page(items=items, matched=None, bytes=meter.bytes, requests=meter.requests, duplicates=len(items) - len(seen) + before)
    meter.requests = meter.bytes = 0
    return page


def _of_object(source: TableSource, question: Question, judge: Judge) -> Iterator[_Chunk]:
    schema, batches = batches_of(source)
    layout = layout_of(schema, question, where=str(source.object), whole=True)
    how, sieve = Rows(layout=layout, source=source, base=None), judge(layout)
    for batch in batches:
        rows = pa.table(batch)
        mask = sieve.mask(rows)
        if mask.any():
            yield _Chunk(how, rows if mask.all() else rows.filter(pa.array(mask)))


def _of_files(source: TableSource, question: Question, judge: Judge, effort: Effort, secrets: Secrets, meter: Meter) -> Iterator[_Chunk]:
    assert source.uri is not None
    stores = shared_stores(effort.auth, effort=effort, secrets=secrets, source=source.uri)
    files = Files(source.uri, stores, effort, meter)
    found = files.files()
    for file in found:
        with files.open(file) as opened, _reading(file):
            table = _Table(opened, file)
            layout = layout_of(table.schema, question, where=file.shown, whole=len(found) == 1)
            how = Rows(layout=layout, source=source, base=file.uri)
            yield from (_Chunk(how, rows) for rows in table.passing(judge(layout)))


@contextmanager
def _reading(file: TableFile) -> Generator[None]:
    with translated(f"read the table {file.shown}"):
        try:
            yield
        except OSError as error:
            if type(error) is not OSError or error.errno is not None:
                raise
            # what pyarrow says of pages that do not decode
            raise Unreadable(f"the table {file.shown} is damaged: {error}", reason="not-parquet", remedy="write it again") from None


class _Table:
    """One Parquet file, open."""

    def __init__(self, opened: pa.NativeFile, file: TableFile) -> None:
        self._opened = opened
        try:
            self._fragment = ds.ParquetFileFormat().make_fragment(opened)
            self._metadata = self._fragment.metadata
        except pa.ArrowInvalid as error:
            remedy = "give Parquet or GeoParquet; read other formats by a callable: table: {object: pkg.module:callable}"
            raise SpecError(f"the table {file.shown} is no Parquet file: {error}", remedy=remedy) from None
        leaves = self._metadata.schema
        self._leaves = [leaves.column(at).path for at in range(len(leaves))]
        schema = self._parquet().schema_arrow
        self._partition = {name: value for name, value in file.partition.items() if name not in schema.names}
        self.schema = pa.schema([*schema, *(pa.field(name, pa.scalar(value).type) for name, value in self._partition.items())])
        self.schema = self.schema.with_metadata(schema.metadata)

    def passing(self, sieve: Sieve) -> Iterator[pa.Table]:
        """The rows that pass, with the columns that make items."""
        if not sieve.admits(self._partition):
            return
        chosen = {*sieve.layout.wanted(self._leaves), *self._narrow(sieve)}
        whole = [leaf for leaf in self._leaves if leaf in chosen]
        for group in self._groups(sieve):
            yield from self._rows(group, whole, sieve)

    def _narrow(self, sieve: Sieve) -> list[str]:
        columns = sieve.columns
        return [leaf for leaf in self._leaves if any(leaf == column or leaf.startswith(f"{column}.") for column in columns)]

    def _groups(self, sieve: Sieve) -> list[int]:
        """Row groups whose statistics leave it open. A rule that does not fit the columns of the file leaves all of them."""
        kept, schema = self._fragment, self._fragment.physical_schema
        for rule in sieve.rules():
            with suppress(pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowKeyError, pa.ArrowTypeError):
                kept = kept.subset(filter=rule, schema=schema)
        return [group.id for group in kept.row_groups]

    def _rows(self, group: int, whole: Sequence[str], sieve: Sieve) -> Iterator[pa.Table]:
        narrow = self._narrow(sieve)
        known: Mask | None = None
        if narrow and self._size(group) > _ONE_GO:
            known = np.concatenate([sieve.mask(rows) for rows in self._batches(group, narrow, _NARROW_ROWS)])
            if not known.any():
                return
        start = 0
        for rows in self._batches(group, whole, _WHOLE_ROWS):
            mask = sieve.mask(rows) if known is None else known[start : start + rows.num_rows]
            start += rows.num_rows
            if mask.any():
                yield rows if mask.all() else rows.filter(pa.array(mask))

    def _batches(self, group: int, leaves: Sequence[str], size: int) -> Iterator[pa.Table]:
        file = self._parquet(streamed=self._size(group) > _HEAVY)
        for batch in file.iter_batches(size, row_groups=[group], columns=list(leaves), use_threads=False):
            yield _with_constants(pa.table(batch), self._partition)

    def _size(self, group: int) -> float:
        """Bytes of a row group, about: what it is without compression, times what the file gains by it.

        pyarrow knows them of each column, but asking for that ends the process where a footer is damaged (a C++ exception that its
        `RowGroupMetaData.column` does not catch).
        """
        plain = [max(1, self._metadata.row_group(at).total_byte_size) for at in range(self._metadata.num_row_groups)]
        return plain[group] * min(1.0, self._opened.size() / sum(plain))

    def _parquet(self, *, streamed: bool = False) -> pq.ParquetFile:
        local = isinstance(self._opened, pa.OSFile)
        buffered = _BUFFER if streamed or local else 0
        return pq.ParquetFile(self._opened, metadata=self._metadata, pre_buffer=not buffered, buffer_size=buffered)


def _with_constants(rows: pa.Table, partition: Mapping[str, str | int]) -> pa.Table:
    for name, value in partition.items():
        rows = rows.append_column(name, pa.repeat(value, rows.num_rows))
    return rows
