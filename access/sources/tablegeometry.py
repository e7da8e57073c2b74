"""Footprints as tables spell them: WKB, GeoArrow's native lists, GeoJSON or WKT text, in any CRS; and boxes as structs or lists."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyproj
import shapely
from numpy.typing import NDArray
from pyproj.exceptions import ProjError
from shapely import GeometryType

from rasterloom.errors import SpecError

Shapes = NDArray[Any]
"""Shapely geometries, None where there is none."""
Boxes = NDArray[np.float64]
"""Shape (rows, 4): west, south, east, north; NaN where there is none."""

BROKEN: Mapping[str, Any] = {"type": "unreadable"}
"""Stands for a geometry that cannot be decoded: it is refused as a broken item, and not taken for one without a footprint."""
_DEGREES = frozenset({("OGC", "CRS84"), ("OGC", "CRS84h"), ("EPSG", "4326"), ("EPSG", "4979")})
_SEGMENTS = 8
"""An edge is cut so often per side of its footprint before it moves to another CRS, where it may be bent."""
_NATIVE = {
    "point": GeometryType.POINT,
    "linestring": GeometryType.LINESTRING,
    "polygon": GeometryType.POLYGON,
    "multipoint": GeometryType.MULTIPOINT,
    "multilinestring": GeometryType.MULTILINESTRING,
    "multipolygon": GeometryType.MULTIPOLYGON,
}
_BY_DEPTH = (GeometryType.POINT, GeometryType.LINESTRING, GeometryType.POLYGON, GeometryType.MULTIPOLYGON)


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprints:
    """How a column holds footprints."""

    column: str
    encoding: str | None
    """GeoParquet's or GeoArrow's name of it, lower case; None where nobody says it."""
    crs: str | None
    """As pyproj takes it; None is longitude and latitude."""


def footprints_of(schema: pa.Schema, column: str) -> Footprints:
    """What the schema says of a geometry column: `geo` of GeoParquet, or the extension type of GeoArrow."""
    known = _geoparquet(schema, column) or _geoarrow(schema.field(column))
    encoding = known.get("encoding")
    return Footprints(column=column, encoding=encoding.lower() if isinstance(encoding, str) else None, crs=crs_text(known.get("crs")))


def primary_column(schema: pa.Schema) -> str | None:
    """The geometry column that the GeoParquet metadata name."""
    name = _geo(schema).get("primary_column")
    return name if isinstance(name, str) and name in schema.names else None


def covering(schema: pa.Schema, column: str) -> str | None:
    """The struct column of boxes that GeoParquet 1.1 names for a geometry column."""
    found = _geoparquet(schema, column).get("covering")
    path = found.get("bbox", {}).get("xmin") if isinstance(found, dict) and isinstance(found.get("bbox"), dict) else None
    return path[0] if isinstance(path, list) and len(path) == 2 and path[1] == "xmin" and path[0] in schema.names else None


def _geo(schema: pa.Schema) -> dict[str, Any]:
    try:
        found = json.loads((schema.metadata or {}).get(b"geo", b"{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _geoparquet(schema: pa.Schema, column: str) -> dict[str, Any]:
    columns = _geo(schema).get("columns")
    found = columns.get(column) if isinstance(columns, dict) else None
    return found if isinstance(found, dict) else {}


def _geoarrow(field: pa.Field) -> dict[str, Any]:
    """The extension's metadata, whether its type is registered in this process or not."""
    metadata = field.metadata or {}
    name, text = metadata.get(b"ARROW:extension:name", b""), metadata.get(b"ARROW:extension:metadata", b"")
    if isinstance(field.type, pa.BaseExtensionType):
        name = getattr(field.type, "extension_name", "").encode()
        serialize = getattr(field.type, "__arrow_ext_serialize__", None)
        text = serialize() if serialize else text
    try:
        found = json.loads(text or b"{}")
    except ValueError:
        found = {}
    return {"encoding": name.decode().rpartition(".")[2] or None, "crs": found.get("crs") if isinstance(found, dict) else None}


def crs_text(crs: object) -> str | None:
    """As `Footprints.crs` spells it: None for nothing, and for longitude and latitude."""
    if isinstance(crs, dict):
        text = json.dumps(crs, sort_keys=True)
    elif isinstance(crs, str) and crs:
        text = crs
    else:
        return None
    return None if _is_degrees(text) else text


@lru_cache(maxsize=16)
def _is_degrees(crs: str) -> bool:
    return known_crs(crs).to_authority(min_confidence=90) in _DEGREES


@lru_cache(maxsize=16)
def known_crs(crs: str) -> pyproj.CRS:
    """Raises SpecError."""
    try:
        return pyproj.CRS.from_user_input(json.loads(crs) if crs.startswith("{") else crs)
    except (ProjError, ValueError, TypeError) as error:
        raise SpecError(f"the CRS of the table's footprints is not known: {crs[:80]}", remedy="write them as OGC:CRS84") from error


@lru_cache(maxsize=16)
def _to_degrees(crs: str) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(known_crs(crs), "OGC:CRS84", always_xy=True)


def bounds_in(crs: str, box: tuple[float, float, float, float]) -> tuple[float, float, float, float] | None:
    """A box of degrees as bounds in `crs`, a little wider; None where the CRS does not reach it."""
    try:
        found = _to_degrees(crs).transform_bounds(*box, densify_pts=21, direction="INVERSE", errcheck=False)
    except ProjError:
        return None
    west, south, east, north = found
    if not np.isfinite(found).all() or west > east:
        return None
    more = 0.01 * max(east - west, north - south)
    return west - more, south - more, east + more, north + more


# --- decoding ---------------------------------------------------------------------------------------------------------------------


def shapes_of(column: pa.Array, how: Footprints) -> tuple[Shapes, NDArray[np.bool_]]:
    """The footprints of a column in its own CRS, 2-D, and which of them were there but could not be decoded."""
    storage = column.storage if isinstance(column, pa.ExtensionArray) else column
    there = storage.is_valid().to_numpy(zero_copy_only=False)
    kind = storage.type
    if pa.types.is_null(kind):
        shapes = np.full(len(storage), None, dtype=object)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        shapes = _from_text(storage)
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        shapes = shapely.from_wkb(storage.to_numpy(zero_copy_only=False), on_invalid="ignore")
    else:
        shapes = np.full(len(storage), None, dtype=object)
        shapes[there] = _from_native(storage.drop_null(), how.encoding)
    return shapely.force_2d(shapes), there & shapely.is_missing(shapes)


def _from_text(texts: pa.Array) -> Shapes:
    found = texts.to_numpy(zero_copy_only=False)
    first = next((text for text in found if text), "")
    read = shapely.from_geojson if first.lstrip().startswith("{") else shapely.from_wkt
    return read(found, on_invalid="ignore")


def _from_native(array: pa.Array, encoding: str | None) -> Shapes:
    """GeoArrow: nested lists of coordinates, separated (struct) or interleaved (lists of fixed size)."""
    offsets: list[NDArray[Any]] = []
    while pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        starts = array.offsets.to_numpy(zero_copy_only=False)
        offsets.append(starts - starts[0])
        array = array.flatten()
    if pa.types.is_struct(array.type):
        points = np.column_stack([pc.struct_field(array, name).to_numpy(zero_copy_only=False) for name in ("x", "y")])
    elif pa.types.is_fixed_size_list(array.type):
        points = array.flatten().to_numpy(zero_copy_only=False).reshape(-1, array.type.list_size)[:, :2]
    else:
        raise SpecError(f"footprints of type {array.type} are not read", remedy="write them as WKB")
    kind = _NATIVE.get(encoding or "") or _BY_DEPTH[min(len(offsets), 3)]
    return shapely.from_ragged_array(kind, np.ascontiguousarray(points, np.float64), tuple(reversed(offsets)) or None)


def in_degrees(shapes: Shapes, crs: str | None) -> Shapes:
    """Footprints moved to longitude and latitude; edges of others are cut first, because they may be bent there."""
    if crs is None:
        return shapes
    bounds = shapely.bounds(shapes)
    longest = np.nan_to_num(np.maximum(bounds[:, 2] - bounds[:, 0], bounds[:, 3] - bounds[:, 1]), nan=0.0)
    cut = shapely.segmentize(shapes, np.where(longest > 0, longest / _SEGMENTS, 1.0))
    move: Any = _to_degrees(crs).transform
    return shapely.transform(cut, move, interleaved=False)


def geojson_of(shapes: Shapes, broken: NDArray[np.bool_]) -> list[Any]:
    """As members of items; `BROKEN` where it was not decoded."""
    texts = shapely.to_geojson(shapes)
    return [BROKEN if bad else None if text is None else json.loads(text) for text, bad in zip(texts, broken, strict=True)]


# --- boxes ------------------------------------------------------------------------------------------------------------------------


def boxes_of(column: pa.Array) -> Boxes:
    """Boxes of a struct column (`xmin`, ...) or of lists of 4 or 6 numbers; NaN where a row has none or an odd one."""
    kind = column.type
    if pa.types.is_struct(kind):
        parts = [pc.cast(pc.struct_field(column, name), pa.float64()).to_numpy(zero_copy_only=False) for name in edges_of(kind)]
        return np.column_stack(parts)
    boxes = np.full((len(column), 4), np.nan)
    if not _is_list(kind):
        return boxes
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    for size, picked in ((4, [0, 1, 2, 3]), (6, [0, 1, 3, 4])):
        rows = np.flatnonzero(lengths == size)
        if len(rows):
            flat = pc.cast(column.take(pa.array(rows)).flatten(), pa.float64()).to_numpy(zero_copy_only=False)
            boxes[rows] = flat.reshape(-1, size)[:, picked]
    return boxes


def edges_of(kind: pa.DataType) -> tuple[str, ...]:
    """Names of the edges in a struct of a box, or none where it is no such struct."""
    names = ("xmin", "ymin", "xmax", "ymax")
    if pa.types.is_struct(kind):
        return names if all(_is_number(kind, name) for name in names) else ()
    return ()


def _is_number(kind: pa.StructType, name: str) -> bool:
    at = kind.get_field_index(name)
    return at >= 0 and (pa.types.is_floating(kind.field(at).type) or pa.types.is_integer(kind.field(at).type))


def is_boxes(kind: pa.DataType) -> bool:
    """Whether a column of this type holds boxes."""
    return bool(edges_of(kind)) or _is_list(kind)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def box_lists(boxes: Boxes) -> list[list[float] | None]:
    """As members of items."""
    return [None if any(part != part for part in box) else box for box in boxes.tolist()]
