"""Rows of a collection as scenes, and scenes as the steps of a series."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Literal

import pyarrow as pa

from rasterloom.access.pixels.files import band_file, pixel_columns
from rasterloom.access.pixels.values import BandFile
from rasterloom.access.views import CLOUD_COVER
from rasterloom.errors import Unreadable

GroupBy = Literal["scene", "datetime", "solar_day"]
"""What becomes one step in time: each scene, the scenes of one instant, or those of one day by the sun."""
_NEVER = datetime(1, 1, 1)  # noqa: DTZ001  naive UTC, as all times of rows
_MORE = ("bbox", "collection", CLOUD_COVER)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SceneFiles:
    """One row, with the bands that are asked."""

    id: str
    datetime: datetime | None
    """Naive UTC."""
    collection: str | None
    cloud_cover: float | None
    """Percent."""
    longitude: float
    """Degrees, of the middle of the footprint."""
    files: tuple[BandFile, ...]
    """In the order in which the bands were asked."""

    @property
    def solar_day(self) -> date | None:
        """The day by the sun over the scene: four minutes earlier per degree west."""
        return None if self.datetime is None else (self.datetime + timedelta(hours=self.longitude / 15.0)).date()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Step:
    """Scenes that become one image: where several have a pixel, the first of them wins."""

    scenes: tuple[SceneFiles, ...]

    @property
    def datetime(self) -> datetime | None:
        """The earliest."""
        return min((scene.datetime for scene in self.scenes if scene.datetime is not None), default=None)


def scene_columns(schema: pa.Schema, bands: Sequence[str]) -> list[str]:
    """The columns that `scenes_in` needs, as far as the collection has them."""
    return [*pixel_columns(schema, bands), *(name for name in _MORE if name in schema.names)]


def scenes_in(batches: Iterable[pa.RecordBatch], bands: Sequence[str]) -> list[SceneFiles]:
    """In the order of the rows. Raises `Unreadable` (`no-header`, `crs`) with what to do."""
    return [_scene(row, bands) for batch in batches for row in batch.to_pylist()]


def by_time(scenes: Iterable[SceneFiles]) -> list[SceneFiles]:
    """Those without a time first; of one time by id."""
    return sorted(scenes, key=lambda scene: (scene.datetime or _NEVER, scene.id))


def steps_of(scenes: Sequence[SceneFiles], group_by: GroupBy) -> list[Step]:
    """Steps by time; inside of one, scenes keep their order."""
    if group_by == "scene":
        return [Step(scenes=(scene,)) for scene in scenes]
    key: Callable[[SceneFiles], Any] = (lambda scene: scene.datetime) if group_by == "datetime" else (lambda scene: scene.solar_day)
    groups: dict[Any, list[SceneFiles]] = {}
    for scene in scenes:
        groups.setdefault(key(scene), []).append(scene)
    return sorted((Step(scenes=tuple(group)) for group in groups.values()), key=lambda step: step.datetime or _NEVER)


def placed_file(row: Mapping[str, Any], band: str) -> BandFile | None:
    """One band of one row; None where it has no header, no CRS or no affine georeference."""
    try:
        file = band_file(row, band)
    except Unreadable:
        return None
    return file if file.header.transform is not None else None


def _scene(row: Mapping[str, Any], bands: Sequence[str]) -> SceneFiles:
    cloud = row.get(CLOUD_COVER)
    return SceneFiles(
        id=row["id"],
        datetime=row.get("datetime"),
        collection=row.get("collection"),
        cloud_cover=None if cloud is None or math.isnan(cloud) else float(cloud),
        longitude=_middle(row.get("bbox")),
        files=tuple(band_file(row, band) for band in bands),
    )


def _middle(bbox: Mapping[str, float] | None) -> float:
    if bbox is None:
        return 0.0
    west, east = bbox["xmin"], bbox["xmax"]
    middle = (west + east + (360.0 if west > east else 0.0)) / 2
    return middle - 360.0 if middle > 180.0 else middle
