"""From the rows of a collection to what a report shows of them: a few narrow columns, 28 bytes a scene, and sums at the end."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from rasterloom.access.network.translate import translated
from rasterloom.access.reports.periods import cloud_of, timeline_of
from rasterloom.access.reports.places import map_of
from rasterloom.access.reports.values import Scenes
from rasterloom.access.views import CLOUD_COVER

MOST_FOOTPRINTS = 400
"""Different footprints that are drawn one by one; of more, a map shows how many scenes meet each cell of a grid."""
_EDGES = ("xmin", "ymin", "xmax", "ymax")
_ROWS_AT_ONCE = 16_384


class _Scan:
    """Sums over the batches of a collection."""

    def __init__(self) -> None:
        self.boxes: list[NDArray[np.float32]] = []
        self.instants: list[NDArray[np.int64]] = []
        self.clouds: list[NDArray[np.float32]] = []
        self.footprints: Counter[bytes] | None = Counter()
        """By WKB; None where there are too many."""

    def add(self, batch: pa.RecordBatch) -> None:
        box = batch["bbox"]
        edges = [pc.struct_field(box, edge).to_numpy(zero_copy_only=False) for edge in _EDGES]
        self.boxes.append(np.column_stack(edges).astype(np.float32))
        instants = batch["datetime"].cast(pa.timestamp("us"), safe=False).cast(pa.int64())
        self.instants.append(instants.fill_null(_NEVER).to_numpy(zero_copy_only=False))
        self.clouds.append(_clouds(batch))
        if self.footprints is not None:
            self.footprints.update(batch["geometry"].drop_null().to_pylist())
            if len(self.footprints) > MOST_FOOTPRINTS:
                self.footprints = None


_NEVER = np.iinfo(np.int64).min


def _clouds(batch: pa.RecordBatch) -> NDArray[np.float32]:
    """NaN where a scene does not say."""
    if CLOUD_COVER not in batch.schema.names:
        return np.full(batch.num_rows, np.nan, np.float32)
    return batch[CLOUD_COVER].cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False)


def scan(dataset: ds.Dataset, uri: str, area: BaseGeometry | None) -> Scenes:
    """What the rows say; `area` is that of the question. Raises Unavailable, AccessDenied, Unreadable."""
    seen = _Scan()
    names = [name for name in ("datetime", "bbox", "geometry", CLOUD_COVER) if _is_readable(dataset.schema, name)]
    with translated(f"read {uri}"):
        rows = 0
        for batch in dataset.to_batches(columns=names, batch_size=_ROWS_AT_ONCE):
            rows += batch.num_rows
            if {"datetime", "bbox", "geometry"} <= set(names):
                seen.add(batch)
    boxes = np.concatenate([np.empty((0, 4), np.float32), *seen.boxes])
    numbers = np.concatenate([np.empty(0, np.int64), *seen.instants])
    clouds = np.concatenate([np.empty(0, np.float32), *seen.clouds])
    said = numbers != _NEVER
    instants, dated = numbers[said].astype("datetime64[us]"), clouds[said]
    return Scenes(
        rows=rows,
        first=_instant(instants.min()) if len(instants) else None,
        last=_instant(instants.max()) if len(instants) else None,
        cloud=cloud_of(clouds),
        map=map_of(boxes[~np.isnan(boxes).any(axis=1)], _shapes(seen.footprints), area),
        timeline=timeline_of(instants, dated),
    )


def _is_readable(schema: pa.Schema, name: str) -> bool:
    """Of other writers, a property may be a text or anything else."""
    if name not in schema.names:
        return False
    kind = schema.field(name).type
    return name != CLOUD_COVER or pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _shapes(footprints: Counter[bytes] | None) -> list[tuple[BaseGeometry, int]] | None:
    if footprints is None:
        return None
    shapes = shapely.from_wkb(list(footprints), on_invalid="ignore")
    return [(shape, count) for shape, count in zip(shapes, footprints.values(), strict=True) if shape is not None and not shape.is_empty]


def _instant(value: Any) -> datetime:
    return value.astype("datetime64[us]").item()
