"""Samples as the table that Rasteret gives: one row per point, scene and band, with the points' own columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rasterloom.access.pixels.points import Sample
from rasterloom.access.pixels.values import BandFile
from rasterloom.access.pixels.vectors import Points
from rasterloom.access.sources.tablegeometry import known_crs
from rasterloom.errors import SpecError

SCHEMA = pa.schema(
    [
        pa.field("point_index", pa.int64(), nullable=False),
        pa.field("point_x", pa.float64(), nullable=False),
        pa.field("point_y", pa.float64(), nullable=False),
        pa.field("point_crs", pa.int32()),
        pa.field("record_id", pa.string(), nullable=False),
        pa.field("datetime", pa.timestamp("us")),
        pa.field("collection", pa.string(), nullable=False),
        pa.field("band", pa.string(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("raster_crs", pa.int32()),
        pa.field("valid", pa.bool_(), nullable=False),
    ]
)
"""Columns of Rasteret, and `valid`: `value` is null where the file holds nodata or a mask, of which Rasteret gives the number."""


def sampled_table(samples: Iterable[Sample], points: Points, *, collection: str, scaled: bool) -> pa.Table:
    """Rows in the order of the samples, points ascending. `collection` is the data source."""
    found = list(samples)
    owner = np.repeat(np.arange(len(found)), [len(sample.points) for sample in found])
    at = _joined([sample.points for sample in found], np.int64)
    valid = _joined([sample.valid for sample in found], np.bool_)
    values = _joined([numbers(sample, scaled=scaled) for sample in found], np.float64)
    files = [sample.file for sample in found]

    def of_file(each: Sequence[Any], kind: pa.DataType) -> pa.Array:
        return pa.array(each, kind).take(pa.array(owner))

    columns = [
        pa.array(at),
        pa.array(points.x[at]),
        pa.array(points.y[at]),
        pa.array(np.full(len(at), epsg_of(points.crs) or 0, np.int32), mask=np.full(len(at), epsg_of(points.crs) is None)),
        of_file([file.scene for file in files], pa.string()),
        of_file([file.datetime for file in files], pa.timestamp("us")),
        of_file([collection] * len(files), pa.string()),
        of_file([file.band for file in files], pa.string()),
        pa.array(values, mask=~valid),
        of_file([epsg_of(file.crs) for file in files], pa.int32()),
        pa.array(valid),
    ]
    return with_own(pa.Table.from_arrays(columns, schema=SCHEMA), points.columns, at)


def numbers(sample: Sample, *, scaled: bool) -> NDArray[np.float64]:
    """Values as float64: exact but for 64-bit integers beyond 2**53. `scaled`: times scale plus offset of the file, where it has them."""
    values = sample.values.astype(np.float64)
    return values * scale_of(sample.file) + offset_of(sample.file) if scaled else values


def scale_of(file: BandFile) -> float:
    """1 where the file names none."""
    return 1.0 if file.header.scales is None else file.header.scales[0]


def offset_of(file: BandFile) -> float:
    """0 where the file names none."""
    return 0.0 if file.header.offsets is None else file.header.offsets[0]


def with_own(table: pa.Table, own: pa.Table | None, at: NDArray[np.int64]) -> pa.Table:
    """The user's columns at the end, of the rows `at`. Raises SpecError where a name is taken."""
    if own is None:
        return table
    check_names(own.column_names, table.column_names)
    rows = own.take(pa.array(at))
    for name in own.column_names:
        table = table.append_column(own.schema.field(name), rows[name])
    return table


def check_names(own: Sequence[str], taken: Sequence[str]) -> None:
    """Raises SpecError for a column of the user that is named as one of the result."""
    both = [name for name in own if name in taken]
    if both:
        raise SpecError(f"the column {both[0]!r} is named as one of the result", remedy=f"rename it; taken are {', '.join(taken)}")


def epsg_of(crs: str | None) -> int | None:
    """4326 for longitude and latitude, as Rasteret says it; None where a system has no number."""
    return 4326 if crs is None else known_crs(crs).to_epsg()


def _joined(parts: Sequence[NDArray[Any]], dtype: Any) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.empty(0, dtype)
