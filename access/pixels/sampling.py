"""Points over the scenes of a collection: what `Collection.sample_points` does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from rasterloom.access.pixels.engine import Engine
from rasterloom.access.pixels.points import PointIndex, PointResampling, newest_samples, samples
from rasterloom.access.pixels.pointtable import SCHEMA, check_names, sampled_table
from rasterloom.access.pixels.stacks import ResamplingChoice, resamplings
from rasterloom.access.pixels.vectors import Points
from rasterloom.access.views import any_of, touches
from rasterloom.errors import SpecError

Rows = Callable[[pc.Expression], Iterator[pa.RecordBatch]]
"""Rows of a view that meet a filter, with `pixel_columns` and `bbox`."""
MATCHES = ("all", "latest")


def point_resamplings(bands: Sequence[str], choice: ResamplingChoice) -> dict[str, PointResampling]:
    """Of each band. Raises SpecError."""
    found: dict[str, PointResampling] = {}
    for band, resampling in zip(bands, resamplings(bands, choice), strict=True):
        if resampling not in ("nearest", "bilinear"):
            raise SpecError(f"a point has no {resampling}", remedy="ask for resampling nearest or bilinear")
        found[band] = resampling
    return found


def sampled(
    rows: Rows, points: Points, bands: Mapping[str, PointResampling], *, engine: Engine, match: str, collection: str, scaled: bool
) -> pa.Table:
    """See `Collection.sample_points`. Raises SpecError, and the first error of a file."""
    if match not in MATCHES:
        raise SpecError(f"match is {match!r}", remedy=f"choose one of {', '.join(MATCHES)}")
    check_names(() if points.columns is None else points.columns.column_names, SCHEMA.names)
    index = PointIndex(points)
    boxes = index.boxes()
    found = rows(any_of([touches(box) for box in boxes])) if boxes else iter(())
    if match == "latest":
        every = list(found)
        chosen = newest_samples(engine, pa.Table.from_batches(every), bands, index, len(points)) if every else iter(())
    else:
        chosen = samples(engine, found, bands, index)
    return sampled_table(chosen, points, collection=collection, scaled=scaled)
