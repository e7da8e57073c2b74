"""The rows of a collection, whoever wrote it: as STAC items, and as header rows of ours."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import cached_property
from typing import Any, cast

import pyarrow as pa
import shapely
from shapely.geometry import mapping

from rasterloom.access.cache.records import HeaderRows
from rasterloom.access.network.translate import translated
from rasterloom.access.versions.opening import Opened
from rasterloom.errors import SpecError
from rasterloom.raster.arrow import EXT_TYPE, METADATA_TYPE
from rasterloom.raster.properties import Types
from rasterloom.specs.question import Band

_METADATA, _EXT = "_metadata", "_ext"
_FIXED = ("id", "datetime", "geometry", "bbox", "assets", "proj:epsg", "crs", "collection")
_NEEDED: dict[str, tuple[Callable[[pa.DataType], bool], ...]] = {
    "id": (pa.types.is_string, pa.types.is_large_string),
    "datetime": (pa.types.is_timestamp,),
    "geometry": (pa.types.is_binary, pa.types.is_large_binary),
    "assets": (pa.types.is_struct,),
}
_HIDDEN = "properties:"
"""Before the name of a property that a column of the format has."""


@dataclass(frozen=True)
class Layout:
    """The columns of a collection."""

    types: Mapping[str, pa.DataType]
    """Of the columns in the files; those that come from the path are left out."""
    bands: Mapping[str, int]
    """Code -> 0-based sample, in the order of the columns."""

    @property
    def has_boxes(self) -> bool:
        box = self.types.get("bbox")
        return box is not None and pa.types.is_struct(box) and {"xmin", "ymin", "xmax", "ymax"} <= {field.name for field in box}

    def headers(self, band: str) -> list[str]:
        return [name for name in (f"{band}{_METADATA}", f"{band}{_EXT}") if name in self.types]

    @cached_property
    def rows(self) -> tuple[str, ...]:
        """All columns but those of the headers."""
        heavy = {name for band in self.bands for name in self.headers(band)}
        return tuple(name for name in self.types if name not in heavy)

    @cached_property
    def properties(self) -> dict[str, str]:
        """Column -> name of its property."""
        return {name: name.removeprefix(_HIDDEN) for name in self.rows if name not in _FIXED}

    @cached_property
    def declared(self) -> Types:
        """Property -> type summary of its column."""
        return {name: _summary(self.types[column]) for column, name in self.properties.items()}


def layout_of(opened: Opened) -> Layout:
    """Raises `SpecError` where the files are no collection, or none with headers."""
    with translated(f"read {opened.uri}"):
        fragment = next(iter(opened.dataset.get_fragments()), None)
        schema = opened.dataset.schema if fragment is None else fragment.physical_schema
        types = {name: opened.dataset.schema.field(name).type for name in schema.names if name in opened.dataset.schema.names}
        wrong = [name for name, kinds in _NEEDED.items() if name not in types or not any(fits(types[name]) for fits in kinds)]
        codes = [name.removesuffix(_METADATA) for name, kind in types.items() if name.endswith(_METADATA) and pa.types.is_struct(kind)]
        if wrong or not codes:
            lacks = f"its column {wrong[0]!r} is missing, or of another type" if wrong else "no column holds headers"
            raise SpecError(f"{opened.uri} is no collection: {lacks}", remedy="write table: {uri: ...} for an index without headers")
        return Layout(types=types, bands=_samples(opened, codes))


def _samples(opened: Opened, codes: Sequence[str]) -> dict[str, int]:
    """Of our own collections the question says them, of others the first rows."""
    known = {band["code"]: band["index"] for band in opened.commit.question["bands"]} if opened.commit else {}
    first = [row or {} for row in opened.dataset.head(64, columns=["assets"])["assets"].to_pylist()] if set(codes) - set(known) else []
    found = {code: [asset.get("band_index") for row in first if (asset := row.get(code))] for code in codes}
    return {code: known.get(code, next((index for index in found[code] if index is not None), 0)) for code in codes}


# --- items ------------------------------------------------------------------------------------------------------------------------


def items_of(batch: pa.RecordBatch, layout: Layout, bands: Sequence[Band]) -> list[dict[str, Any]]:
    """The rows as STAC items. Assets are named by the bands of the collection."""
    columns = dict(zip(batch.schema.names, map(_in_microseconds, batch.columns), strict=True))
    instants = columns.pop("datetime").cast(pa.timestamp("us")).to_pylist()
    rows = pa.table(columns).to_pylist()
    return [_item(row, instant, layout, bands) for row, instant in zip(rows, instants, strict=True)]


def _in_microseconds(column: pa.Array) -> pa.Array:
    """Python has no nanoseconds."""
    if not pa.types.is_timestamp(column.type) or column.type.unit != "ns":
        return column
    return column.cast(pa.timestamp("us", column.type.tz), safe=False)


def _item(row: Mapping[str, Any], instant: datetime | None, layout: Layout, bands: Sequence[Band]) -> dict[str, Any]:
    properties = {name: _json(row[column]) for column, name in layout.properties.items() if row[column] is not None}
    place = _projection(row)
    assets = row["assets"] or {}
    return {
        "type": "Feature",
        "id": row["id"],
        "collection": row.get("collection"),
        "geometry": _geojson(row["geometry"]),
        "bbox": _bbox(row.get("bbox")),
        "properties": {**properties, "datetime": None if instant is None else instant.replace(tzinfo=UTC).isoformat()},
        "assets": {band.asset: {**place, "href": asset["href"]} for band in bands if (asset := _asset(assets.get(band.asset), band))},
        "links": [],
    }


def _geojson(wkb: bytes | None) -> Any:
    """A polygon of one ring, which nearly all footprints are, without a walk through its coordinates in Python."""
    if wkb is None:
        return None
    geometry = shapely.from_wkb(wkb)
    if shapely.get_num_interior_rings(geometry) == 0 and geometry.geom_type == "Polygon" and not geometry.is_empty:
        return {"type": "Polygon", "coordinates": [shapely.get_coordinates(geometry).tolist()]}
    return json.loads(json.dumps(mapping(geometry)))


def _asset(asset: Mapping[str, Any] | None, band: Band) -> Mapping[str, Any] | None:
    """The asset of a row, where it is the sample that the band is of."""
    return asset if asset is not None and asset.get("href") and asset.get("band_index") in (None, band.index) else None


def _bbox(box: object) -> list[float] | None:
    if not isinstance(box, dict):
        return None
    values = [cast(dict[str, Any], box).get(name) for name in ("xmin", "ymin", "xmax", "ymax")]
    return None if None in values else cast(list[float], values)


def _projection(row: Mapping[str, Any]) -> dict[str, Any]:
    """The CRS of a row as the projection extension says it of an asset."""
    crs, code = row.get("crs"), row.get("proj:epsg")
    if not isinstance(crs, str) or not crs:
        return {} if code is None else {"proj:epsg": int(code)}
    if crs.lstrip().startswith("{"):
        return {"proj:projjson": json.loads(crs)}
    return {"proj:wkt2" if "[" in crs else "proj:code": crs}


def _json(value: Any) -> Any:
    """A value of a column as JSON has it."""
    match value:
        case datetime():
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC).isoformat().replace("+00:00", "Z")
        case date() | time():
            return value.isoformat()
        case Decimal():
            return float(value)
        case bytes():
            return value.hex()
        case dict():
            return {str(key): _json(inner) for key, inner in cast(dict[Any, Any], value).items()}
        case list() | tuple():
            return [_json(inner) for inner in cast(list[Any], value)]
        case _:
            return value


def _summary(kind: pa.DataType) -> dict[str, Any]:
    """Of the values that `_json` gives for a column of this type."""
    if pa.types.is_dictionary(kind):
        return _summary(kind.value_type)
    if pa.types.is_struct(kind):
        return {"kind": "struct", "fields": {field.name: _summary(field.type) for field in kind}}
    if pa.types.is_map(kind):
        return {"kind": "json"}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return {"kind": "list", "item": _summary(kind.value_type)}
    names = {"bool": pa.types.is_boolean, "int64": pa.types.is_integer, "null": pa.types.is_null}
    found = next((name for name, fits in names.items() if fits(kind)), None)
    return {"kind": found or ("double" if pa.types.is_floating(kind) or pa.types.is_decimal(kind) else "string")}


# --- headers ----------------------------------------------------------------------------------------------------------------------


def headers_of(table: pa.Table, band: str) -> HeaderRows:
    """The header columns of a band as ours are; of a writer without `{band}_ext` that column is null."""
    return HeaderRows(metadata=_like(table, f"{band}{_METADATA}", METADATA_TYPE), ext=_like(table, f"{band}{_EXT}", EXT_TYPE))


def _like(table: pa.Table, name: str, kind: pa.StructType) -> pa.StructArray:
    """A struct column in our type: members by name, null where it lacks one."""
    if name not in table.schema.names:
        return pa.nulls(table.num_rows, kind)
    chunks = table[name].chunks
    column = pa.concat_arrays(chunks) if chunks else pa.nulls(0, table.schema.field(name).type)
    if column.type == kind:
        return column
    given = {field.name: values for field, values in zip(column.type, column.flatten(), strict=True)}
    with translated(f"read the column {name}"):
        members = [given[field.name].cast(field.type) if field.name in given else pa.nulls(len(column), field.type) for field in kind]
    return pa.StructArray.from_arrays(members, fields=list(kind), mask=column.is_null())
