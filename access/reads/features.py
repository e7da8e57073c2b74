"""The points or polygons of a read: loaded once per task, known by their content, and kept as a unit of their own.

Units of scenes depend on where features lie and not on what else their rows hold, so that a corrected name reads no pixel again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from rasterloom.access.archive.wholefile import is_web, whole_file
from rasterloom.access.credentials.secrets import Secrets
from rasterloom.access.pixels.points import PointIndex
from rasterloom.access.pixels.pointtable import check_names
from rasterloom.access.pixels.vectors import Points, Zones, points_of, table_of, zones_of
from rasterloom.access.reads.job import Made, Unit, unit_key
from rasterloom.access.sources.tablegeometry import Shapes, known_crs
from rasterloom.access.workspace.place import is_remote, open_workspace
from rasterloom.errors import SpecError, Unavailable
from rasterloom.specs.effort import Effort

FILE = "features.parquet"
_VERSION = 1


def loaded(source: Mapping[str, Any] | str, *, effort: Effort, secrets: Secrets) -> Any:
    """What `points_of` and `zones_of` take: inline GeoJSON, a path, or the rows of a file in an object store or behind http(s)."""
    if not isinstance(source, str):
        return source
    if "://" not in source:
        return Path(source)
    if is_web(source):
        return table_of(whole_file(source, effort=effort, secrets=secrets), urlsplit(source).path)
    if not is_remote(source):
        raise SpecError(f"{source} is not read from here", remedy="give a path, https://, s3://, gs:// or az://")
    folder, _, name = source.rpartition("/")
    data = open_workspace(folder).read(name)
    if data is None:
        raise SpecError(f"there is no file {source}", remedy="correct its address")
    return table_of(data, name)


def features_unit(kind: str, features: Points | Zones) -> Unit:
    """The unit that keeps the rows: `points` or `zones`. Raises SpecError where there are none."""
    if not len(features):
        raise SpecError(f"there are no {kind}", remedy="give a file with at least one")
    sink = pa.BufferOutputStream()
    table = features_table(features).combine_chunks()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    digest = hashlib.sha256(sink.getvalue()).hexdigest()
    return Unit(key=unit_key("features", _VERSION, digest), label=kind, payload={"features": True})


def check_own(features: Points | Zones, taken: Sequence[str]) -> None:
    """Raises SpecError where a column is named as one of the output."""
    check_names(() if features.columns is None else features.columns.column_names, [*taken, "geometry"])


def make_features(kind: str, features: Points | Zones, unit: Unit, folder: Path) -> Made:
    """Raises Unavailable where they have changed since the plan."""
    if features_unit(kind, features).key != unit.key:
        raise _changed(kind)
    pq.write_table(features_table(features), folder / FILE, compression="zstd")
    return Made(meta={"rows": len(features)})


def features_table(features: Points | Zones) -> pa.Table:
    """Own columns, and the geometry as GeoParquet spells it."""
    shapes = features.shapes if isinstance(features, Zones) else _points(features)
    geometry = pa.array(shapely.to_wkb(shapes), pa.binary())
    table = pa.table({"geometry": geometry}) if features.columns is None else features.columns.append_column("geometry", geometry)
    return table.replace_schema_metadata({"geo": geo_metadata(shapes, features.crs)})


def geo_metadata(shapes: Shapes, crs: str | None) -> str:
    """Of a GeoParquet 1.1 file whose `geometry` is WKB; no CRS means longitude and latitude there."""
    kinds = sorted({shape.geom_type for shape in shapes if shape is not None})
    column: dict[str, Any] = {"encoding": "WKB", "geometry_types": kinds}
    if crs is not None:
        column["crs"] = known_crs(crs).to_json_dict()
    return json.dumps({"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}, sort_keys=True)


def _points(points: Points) -> Shapes:
    """None where a row has no point."""
    shapes = np.full(len(points), None, dtype=object)
    there = np.isfinite(points.x) & np.isfinite(points.y)
    shapes[there] = shapely.points(points.x[there], points.y[there])
    return shapes


def places_digest(features: Points | Zones) -> str:
    """64 hex digits of where the features lie."""
    if isinstance(features, Points):
        parts = [features.x.tobytes(), features.y.tobytes()]
    else:
        parts = [shape or b"\0" for shape in shapely.to_wkb(features.shapes)]
    digest = hashlib.sha256(repr((features.crs, [len(part) for part in parts])).encode())
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Features that a unit of a scene is made for; hashable, so that they are prepared once for all units of a process."""

    text: str
    """JSON of what the spec says: inline GeoJSON, or an address."""
    places: str
    """`places_digest` of the plan."""
    effort: Effort = field(compare=False)
    secrets: Secrets = field(compare=False, repr=False)

    def loaded(self) -> Any:
        return loaded(json.loads(self.text), effort=self.effort, secrets=self.secrets)


def source_of(said: Mapping[str, Any] | str, places: str, *, effort: Effort, secrets: Secrets) -> Source:
    return Source(text=json.dumps(said, sort_keys=True), places=places, effort=effort, secrets=secrets)


@lru_cache(maxsize=2)
def point_index(source: Source) -> PointIndex:
    """Raises Unavailable where the points have moved since the plan."""
    points = points_of(source.loaded())
    if places_digest(points) != source.places:
        raise _changed("points")
    return PointIndex(points)


@lru_cache(maxsize=2)
def zones_of_source(source: Source) -> Zones:
    """Raises Unavailable where the zones have moved since the plan."""
    zones = zones_of(source.loaded())
    if places_digest(zones) != source.places:
        raise _changed("zones")
    return zones


def _changed(kind: str) -> Unavailable:
    return Unavailable(f"the {kind} have changed since the read was planned", remedy="run it again")
