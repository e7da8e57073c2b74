"""Points and polygons as users hold them: any table, a file, GeoJSON, shapely, coordinates; with their CRS and their own columns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray
from shapely import GeometryType
from shapely.geometry.base import BaseGeometry

from rasterloom.access.sources.tablegeometry import Shapes, crs_text, footprints_of, known_crs, primary_column, shapes_of
from rasterloom.access.sources.tableobjects import without_views
from rasterloom.access.views import geometries_of
from rasterloom.errors import SpecError

_XY = (("x", "y"), ("lon", "lat"), ("longitude", "latitude"), ("lng", "lat"))
"""Columns that are taken for coordinates where a table has no geometry: those that Rasteret takes."""
_GEOMETRY = ("geometry", "geom", "wkb_geometry")
_POINTS = "give points, or polygons to zonal statistics"
_POLYGONS = "give polygons, or points to sample_points"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Points:
    """Shape (n,) each, NaN where a row has no point."""

    x: NDArray[np.float64]
    """Easting or longitude, in the units of `crs`."""
    y: NDArray[np.float64]
    crs: str | None
    """As pyproj takes it; None is longitude and latitude."""
    columns: pa.Table | None
    """What else the rows hold; None where nothing."""

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Zones:
    """Polygons, shape (n,)."""

    shapes: Shapes
    """In `crs`; None or empty where a row has none."""
    crs: str | None
    """As pyproj takes it; None is longitude and latitude."""
    columns: pa.Table | None
    """What else the rows hold; None where nothing."""

    def __len__(self) -> int:
        return len(self.shapes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What a user says about a table: where its geometries stand, and their CRS. None: found in the table."""

    geometry: str | None = None
    x: str | None = None
    y: str | None = None
    crs: Any = None
    """EPSG number, text, or a pyproj CRS."""


def points_of(source: Any, named: Named = Named()) -> Points:
    """The points of any table, path, GeoJSON, geometry, or coordinates: pairs, an array of shape (n, 2), two arrays.

    Raises SpecError for what holds no points, and for degrees that are none.
    """
    coordinates = None if isinstance(source, (str, bytes, Path, Mapping, BaseGeometry)) else _coordinates(source)
    if coordinates is not None:
        return _checked(Points(x=coordinates[0], y=coordinates[1], crs=_given(named.crs, None), columns=None))
    table = _table(source)
    if table is not None:
        return _checked(_points_in(table, named))
    shapes = _flat(_shapes(source))
    return _checked(_as_points(shapes, crs=_given(named.crs, None), columns=None))


def zones_of(source: Any, named: Named = Named()) -> Zones:
    """The polygons of any table, path, GeoJSON or geometries. Raises SpecError for what holds none."""
    table = _table(source)
    if table is not None:
        shapes, crs, columns = _shapes_in(table, named)
    else:
        shapes, crs, columns = _shapes(source), _given(named.crs, None), None
    there = shapes[~shapely.is_missing(shapes)]
    odd = there[~np.isin(shapely.get_type_id(there), (GeometryType.POLYGON, GeometryType.MULTIPOLYGON))]
    if len(odd):
        raise SpecError(f"a zone is a {odd[0].geom_type}", remedy=_POLYGONS)
    return Zones(shapes=shapes, crs=crs, columns=columns)


def table_in(path: Path) -> pa.Table:
    """The rows of a GeoParquet, GeoJSON or CSV file. Raises SpecError."""
    try:
        return table_of(path.read_bytes(), str(path))
    except OSError as error:
        reason = "there is no file" if isinstance(error, FileNotFoundError) else f"{error.strerror or error}:"
        raise SpecError(f"{reason} {path}", remedy="write its path as it stands on the machine where this runs") from None


def table_of(data: bytes, name: str) -> pa.Table:
    """The rows of a file, by the ending of its name. Raises SpecError."""
    ending = name.rpartition(".")[2].lower()
    try:
        if ending in ("parquet", "geoparquet", "pq"):
            return pq.read_table(pa.BufferReader(data))
        if ending == "csv":
            import pyarrow.csv  # noqa: PLC0415  not loaded by who reads no CSV

            return pyarrow.csv.read_csv(pa.BufferReader(data))
        document = json.loads(data)
        return _features(document) or _features({"type": "Feature", "geometry": document})
    except (pa.ArrowException, ValueError, TypeError, AttributeError, shapely.errors.GEOSException) as error:
        reason = str(error).partition("\n")[0][:160]
        raise SpecError(f"{name} cannot be read: {reason}", remedy="write GeoParquet, GeoJSON, or CSV with lon and lat") from error


def _table(source: Any) -> pa.Table | None:
    """None where it is no table."""
    if isinstance(source, Path) or (isinstance(source, str) and not source.lstrip().startswith("{")):
        return table_in(Path(source).expanduser())
    if isinstance(source, str):
        source = json.loads(source)
    if isinstance(source, Mapping):
        return _features(source) if "type" in source else pa.table(dict(source))
    if isinstance(source, pa.Table):
        return source
    if hasattr(source, "to_wkb") and hasattr(source, "to_arrow"):
        # a GeoDataFrame or GeoSeries: as plain pandas their geometries would be Python objects
        return pa.table((source.to_frame("geometry") if hasattr(source, "to_frame") else source).to_arrow())
    if hasattr(source, "__arrow_c_stream__") and not isinstance(source, pa.ChunkedArray):
        read = pa.RecordBatchReader.from_stream(source)
        batches = [without_views(batch) for batch in read]
        return pa.Table.from_batches(batches) if batches else read.schema.empty_table()
    if isinstance(source, pa.RecordBatch):
        return pa.Table.from_batches([source])
    return None


def _features(document: Mapping[str, Any]) -> pa.Table | None:
    """Properties as columns and the geometry as WKB; None for a geometry alone."""
    if document.get("type") not in ("Feature", "FeatureCollection"):
        return None
    features = [document] if document["type"] == "Feature" else document.get("features") or []
    rows = [{**({"id": each["id"]} if "id" in each else {}), **(each.get("properties") or {})} for each in features]
    names = dict.fromkeys(name for row in rows for name in row)
    shapes = shapely.from_geojson([json.dumps(each.get("geometry")) if each.get("geometry") else None for each in features])
    columns = {name: _column([row.get(name) for row in rows]) for name in names if name != "geometry"}
    return pa.table({**columns, "geometry": pa.array(shapely.to_wkb(shapes), pa.binary())})


def _column(values: Sequence[Any]) -> pa.Array:
    """GeoJSON may hold anything in a property: what is of no one type is kept as JSON text."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else json.dumps(value) for value in values])


def _shapes(source: Any) -> Shapes:
    if isinstance(source, (pa.Array, pa.ChunkedArray)):
        array = source.combine_chunks() if isinstance(source, pa.ChunkedArray) else source
        return _decoded(array, pa.schema([pa.field("geometry", array.type)]), "geometry")
    return np.array(geometries_of(source), dtype=object)


def _points_in(table: pa.Table, named: Named) -> Points:
    xy = _xy(table.column_names, named)
    if xy is None:
        shapes, crs, columns = _shapes_in(table, named)
        return _as_points(shapes, crs=crs, columns=columns)
    x, y = (pc.cast(table[name], pa.float64(), safe=False).to_numpy() for name in xy)
    return Points(x=x, y=y, crs=_given(named.crs, None), columns=_plain(table))


def _xy(names: Sequence[str], named: Named) -> tuple[str, str] | None:
    """The columns of coordinates; None where the table has a geometry."""
    if named.x is not None and named.y is not None:
        missing = [name for name in (named.x, named.y) if name not in names]
        if missing:
            raise SpecError(f"the table has no column {missing[0]!r}", remedy=f"it has {', '.join(names[:12])}")
        return named.x, named.y
    if named.geometry is not None or any(name in names for name in _GEOMETRY):
        return None
    return next(((x, y) for x, y in _XY if x in names and y in names), None)


def _shapes_in(table: pa.Table, named: Named) -> tuple[Shapes, str | None, pa.Table | None]:
    column = named.geometry or _geometry_column(table.schema)
    if column is None or column not in table.column_names:
        what = "geometry" if column is None else repr(column)
        raise SpecError(f"the table has no column {what}", remedy=f"name one with geometry_column; it has {', '.join(table.column_names)}")
    shapes = _decoded(table[column].combine_chunks(), table.schema, column)
    return shapes, _given(named.crs, footprints_of(table.schema, column).crs), _plain(table.drop_columns([column]))


def _geometry_column(schema: pa.Schema) -> str | None:
    """By GeoParquet's metadata, else the one column of GeoArrow, else by its name."""
    tagged = [
        field.name
        for field in schema
        if (field.metadata or {}).get(b"ARROW:extension:name", getattr(field.type, "extension_name", "").encode()).startswith(b"geoarrow.")
    ]
    found = primary_column(schema) or (tagged[0] if len(tagged) == 1 else None)
    return found or next((name for name in _GEOMETRY if name in schema.names), None)


def _decoded(array: pa.Array, schema: pa.Schema, column: str) -> Shapes:
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    shapes, broken = shapes_of(array, footprints_of(schema, column))
    if broken.any():
        raise SpecError(f"the geometry of row {int(np.flatnonzero(broken)[0])} cannot be decoded", remedy="correct that row")
    return shapes


def _as_points(shapes: Shapes, *, crs: str | None, columns: pa.Table | None) -> Points:
    there = ~shapely.is_missing(shapes)
    odd = shapes[there][shapely.get_type_id(shapes[there]) != GeometryType.POINT]
    if len(odd):
        raise SpecError(f"a geometry is a {odd[0].geom_type} and no point", remedy=_POINTS)
    x, y = np.full(len(shapes), np.nan), np.full(len(shapes), np.nan)
    there &= ~shapely.is_empty(shapes)
    x[there], y[there] = shapely.get_x(shapes[there]), shapely.get_y(shapes[there])
    return Points(x=x, y=y, crs=crs, columns=columns)


def _flat(shapes: Shapes) -> Shapes:
    """The parts of multi-points, where geometries stand alone and no columns with them."""
    return shapely.get_parts(shapes) if len(shapes) and (shapely.get_type_id(shapes) == GeometryType.MULTIPOINT).any() else shapes


def _coordinates(source: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Of a pair, pairs, an array of shape (n, 2), or a tuple of two arrays; None for what is none of them."""
    if isinstance(source, tuple) and len(source) == 2 and all(isinstance(part, np.ndarray) for part in source):
        x, y = (np.asarray(part, np.float64).ravel() for part in source)
        if len(x) != len(y):
            raise SpecError(f"there are {len(x)} x and {len(y)} y", remedy="give as many of both")
        return x, y
    if not isinstance(source, (np.ndarray, list, tuple)):
        return None
    try:
        values = np.asarray(source, np.float64)
    except (TypeError, ValueError):
        return None
    if values.size == 0:
        return np.empty(0), np.empty(0)
    values = values.reshape(1, 2) if values.shape == (2,) else values
    if values.ndim != 2 or values.shape[1] != 2:
        raise SpecError(f"coordinates of shape {values.shape} are no points", remedy="give pairs (longitude, latitude), shape (n, 2)")
    return np.ascontiguousarray(values[:, 0]), np.ascontiguousarray(values[:, 1])


def _given(crs: Any, known: str | None) -> str | None:
    """The CRS that was said or found. Raises SpecError where the two differ."""
    if crs is None:
        return known
    said = crs.to_json() if hasattr(crs, "to_json") else f"EPSG:{crs}" if isinstance(crs, int) else str(crs)
    if known is not None and known_crs(said) != known_crs(known):
        raise SpecError(f"the geometries are in {known_crs(known).name}, not in {known_crs(said).name}", remedy="leave the CRS out")
    return crs_text(said)


def _plain(table: pa.Table) -> pa.Table | None:
    """The columns without the metadata of a geometry that is not among them any more."""
    return table.replace_schema_metadata(None) if table.num_columns else None


def _checked(points: Points) -> Points:
    if points.crs is None:
        odd = np.flatnonzero((np.abs(points.y) > 90) | (np.abs(points.x) > 360))
        if len(odd):
            at = f"({points.x[odd[0]]:g}, {points.y[odd[0]]:g})"
            raise SpecError(f"point {odd[0]} at {at} is not in degrees", remedy="give longitude first, or say the CRS: geometry_crs=32632")
    return points
