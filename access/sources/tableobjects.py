"""Arrow data that a callable of the user gives: imported and called where the work runs, and read through the Arrow C stream."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from rasterloom.access.network.translate import FOREIGN, error_of, fault_of, summary
from rasterloom.errors import RasterloomError, SpecError
from rasterloom.specs.question import TableSource

ROWS = 16_384
"""Of one batch of a dataset."""
_GIVES = "return a pyarrow table, reader or dataset, a DuckDB relation, a Polars or pandas frame, or anything else with __arrow_c_stream__"


class Foreign:
    """Guards code of the user, which may raise anything: it leaves as an error of ours that says where it comes from."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not isinstance(error, Exception) or isinstance(error, RasterloomError):
            return
        if isinstance(error, FOREIGN) and fault_of(error).retryable:
            raise error_of(f"use {self._what}", error) from error
        message = f"{self._what} failed: {type(error).__name__}: {summary(error)}"
        raise SpecError(message, remedy="correct the callable, or table.params") from error


def batches_of(source: TableSource) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """What the callable of a table gives now. Raises `SpecError` where there is none, where it fails, and where it gives no Arrow data."""
    assert source.object is not None
    make = imported(source.object)
    with Foreign(source.object):
        made = make(**json.loads(source.params or "{}"))
        reader = _reader(made, source.object)
    return pa.schema([_plain(field) for field in reader.schema], metadata=reader.schema.metadata), _read(reader, source.object)


def imported(name: str) -> Callable[..., Any]:
    """The callable `pkg.module:name`. Raises `SpecError` that says what is missing."""
    module_name, _, attribute = name.partition(":")
    with Foreign(f"the import of {module_name}"):
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            remedy = "install its package where the work runs, or put its directory on PYTHONPATH"
            raise SpecError(f"{name}: there is no module {error.name!r}", remedy=remedy) from None
    found = getattr(module, attribute, None)
    if not callable(found):
        names = [other for other, value in vars(module).items() if callable(value) and not other.startswith("_")]
        near = get_close_matches(attribute, names, n=1, cutoff=0.5)
        remedy = f"did you mean {near[0]}?" if near else f"it has {', '.join(names[:12])}"
        raise SpecError(f"{name}: the module {module_name} has no callable {attribute!r}", remedy=remedy)
    return found


def _reader(made: Any, name: str) -> pa.RecordBatchReader:
    if isinstance(made, ds.Dataset):
        made = made.scanner(batch_size=ROWS, batch_readahead=2, fragment_readahead=1)
    if isinstance(made, ds.Scanner):
        return made.to_reader()
    if isinstance(made, pa.RecordBatch):
        made = pa.table(made)
    if hasattr(made, "to_wkb") and hasattr(made, "to_arrow"):
        made = made.to_arrow()  # a GeoDataFrame: as a plain DataFrame its geometries would be Python objects
    if not hasattr(made, "__arrow_c_stream__"):
        hint = "add .collect()" if type(made).__name__ == "LazyFrame" else _GIVES
        raise SpecError(f"{name} gave a {type(made).__module__}.{type(made).__name__}, which is no Arrow data", remedy=hint)
    return pa.RecordBatchReader.from_stream(made)


def _read(reader: pa.RecordBatchReader, name: str) -> Iterator[pa.RecordBatch]:
    batches = iter(reader)
    while True:
        with Foreign(name):
            batch = next(batches, None)
            if batch is not None:
                batch = without_views(batch)
        if batch is None:
            return
        yield batch


def without_views(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Polars and DuckDB hand out views, which many kernels do not know."""
    fields = [_plain(field) for field in batch.schema]
    columns = [
        column if column.type == field.type else column.cast(field.type) for column, field in zip(batch.columns, fields, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields, metadata=batch.schema.metadata))


def _plain(field: pa.Field) -> pa.Field:
    return field.with_type(_plain_type(field.type))


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_binary_view(kind):
        return pa.large_binary()
    if pa.types.is_struct(kind):
        return pa.struct([_plain(kind.field(at)) for at in range(kind.num_fields)])
    if pa.types.is_list(kind):
        return pa.list_(_plain(kind.value_field))
    if pa.types.is_large_list(kind):
        return pa.large_list(_plain(kind.value_field))
    return kind
