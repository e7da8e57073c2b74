"""Which scenes a job reads, and what their headers say: enough to plan by, without the tables of tiles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from rasterloom.access.collection import Collection
from rasterloom.access.items.arrowfilters import chosen
from rasterloom.access.pixels.files import band_file, pixel_columns
from rasterloom.access.pixels.stacks import is_classes
from rasterloom.access.reads.job import ReadJob, scene_digest
from rasterloom.access.views import all_of, geometries_of
from rasterloom.errors import SpecError, Unreadable
from rasterloom.raster.header import Affine
from rasterloom.specs.dates import parse_dates
from rasterloom.specs.expressions import parse_expression
from rasterloom.specs.reads import Read

_INSTANT = pa.timestamp("us")
_LONG_AGO = datetime(1, 1, 1)  # noqa: DTZ001  naive, as the column is


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """One band of one scene, as its header has it."""

    dtype: str
    """numpy name."""
    nodata: float | None
    scale: float
    offset: float
    """value = stored * scale + offset."""
    crs: str
    affine: Affine | None
    """Of the corner of a pixel; None where the file is not georeferenced."""
    is_classes: bool = False
    """Whether it holds classes or bits, which must not be mixed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedScene:
    id: str
    datetime: datetime | None
    """Naive UTC."""
    digest: str
    """64 hex digits of all that the collection says of the bands that the job reads (`scene_digest`)."""
    middle: float
    """Longitude of the middle of its footprint, degrees."""
    files: Mapping[str, FileFacts]
    """Band -> facts; a band without a header is not in it."""


def view_of(job: ReadJob, collection: Collection) -> Collection:
    """The scenes that the job reads: those of its dates, filter and area."""
    read = job.model
    view = collection
    if read.dates is not None:
        view = view.where(_within(read.dates))
    if read.filter is not None:
        view = view.where(chosen(read.filter, view.dataset.schema))
    area = read.area or job.area
    return view if area is None else view.subset(geometries=geometries_of(area))


def _within(dates: str | tuple[str, str]) -> pc.Expression:
    interval = parse_dates(dates)
    parts: list[pc.Expression] = []
    if interval.start is not None:
        parts.append(pc.field("datetime") >= _naive(interval.start))
    if interval.end is not None:
        parts.append(pc.field("datetime") < _naive(interval.end))
    return all_of(parts)


def _naive(instant: datetime) -> pa.Scalar[Any]:
    return pa.scalar(instant.astimezone(UTC).replace(tzinfo=None), _INSTANT)


def output_bands(read: Read, known: Sequence[str]) -> tuple[str, ...]:
    """The bands that go into the output as they are. Raises SpecError for one that the collection does not have."""
    return _checked(read.bands or (() if read.expressions else tuple(known)), known)


def read_bands(read: Read, known: Sequence[str]) -> tuple[str, ...]:
    """All bands that are read: those of the output, of expressions and of the mask. Raises SpecError."""
    mask = tuple(each.band for each in read.mask or ())
    named = [band for text in (read.expressions or {}).values() for band in parse_expression(text).bands]
    return _checked(tuple(dict.fromkeys((*output_bands(read, known), *named, *mask))), known)


def _checked(bands: tuple[str, ...], known: Sequence[str]) -> tuple[str, ...]:
    for band in bands:
        if band not in known:
            raise SpecError(f"the collection has no band {band!r}", remedy=f"use some of {', '.join(known)}")
    return bands


def planned_scenes(job: ReadJob, view: Collection, bands: Sequence[str] | None = None) -> list[PlannedScene]:
    """The scenes of a view by time, then id; `bands` default to all that the job reads. Raises SpecError where there is none."""
    wanted = tuple(bands or read_bands(job.model, view.bands))
    found = sorted(_planned(view, wanted), key=lambda scene: (scene.datetime or _LONG_AGO, scene.id))
    if not found:
        raise SpecError(
            f"reads.{job.read}: no scene of {job.name} answers its area, dates and filter", remedy="widen them; see `rasterloom info`"
        )
    return found


def _planned(view: Collection, bands: tuple[str, ...]) -> Iterator[PlannedScene]:
    for batch in view.to_batches([*pixel_columns(view.dataset.schema, bands), "bbox"]):
        for row in batch.to_pylist():
            files = {band: facts for band in bands if (facts := facts_of(row, band)) is not None}
            yield PlannedScene(
                id=row["id"], datetime=row["datetime"], digest=scene_digest(row, bands), middle=_middle(row["bbox"]), files=files
            )


def facts_of(row: Mapping[str, Any], band: str) -> FileFacts | None:
    """None where the collection has no header of the band."""
    try:
        file = band_file(row, band)
    except Unreadable:
        return None
    header = file.header
    return FileFacts(
        dtype=header.dtype,
        nodata=header.nodata,
        scale=header.scales[0] if header.scales else 1.0,
        offset=header.offsets[0] if header.offsets else 0.0,
        crs=file.crs,
        affine=header.transform,
        is_classes=is_classes(file),
    )


def _middle(bbox: Mapping[str, float] | None) -> float:
    if bbox is None:
        return 0.0
    west, east = bbox["xmin"], bbox["xmax"]
    middle = (west + east + (360.0 if west > east else 0.0)) / 2
    return middle - 360.0 if middle > 180.0 else middle
