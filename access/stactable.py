"""Rows of a collection as STAC GeoParquet 1.0: items again, for tools that know STAC and nothing of tile tables.

Rules: stac-geoparquet specification 1.0.0 (properties at the top level, `assets` a struct, datetimes as UTC timestamps).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc

MEDIA_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"
STAC_VERSION = "1.0.0"
METADATA = {"stac-geoparquet": json.dumps({"version": "1.0.0"})}
"""Schema metadata of a file, beside `geo`."""

_UTC = pa.timestamp("us", tz="UTC")
_LINK = pa.struct([("href", pa.string()), ("rel", pa.string()), ("type", pa.string()), ("title", pa.string())])
_ASSET = pa.struct([("href", pa.string()), ("type", pa.string()), ("roles", pa.list_(pa.string())), ("band_index", pa.int64())])
_FIXED = ("id", "datetime", "geometry", "bbox", "assets", "collection", "crs", "proj:epsg", "year", "month")
_HEADERS = ("_metadata", "_ext")
_PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"


def stac_schema(schema: pa.Schema) -> pa.Schema:
    """Columns of the items of a collection of this schema."""
    bands = [field.name for field in schema.field("assets").type]
    fixed: dict[str, pa.DataType] = {
        "type": pa.string(),
        "stac_version": pa.string(),
        "stac_extensions": pa.list_(pa.string()),
        "id": pa.string(),
        "geometry": pa.binary(),
        "bbox": schema.field("bbox").type,
        "collection": pa.string(),
        "links": pa.list_(_LINK),
        "assets": pa.struct([(band, _ASSET) for band in bands]),
        "datetime": _UTC,
        "proj:code": pa.string(),
    }
    fields = [pa.field(name, kind) for name, kind in fixed.items()]
    return pa.schema([*fields, *(schema.field(name) for name in _properties(schema.names, bands))])


def stac_items(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The rows of a collection of this `schema` as STAC items, in the columns of `stac_schema`."""
    wanted = stac_schema(schema)
    for batch in batches:
        rows = pa.table(batch)
        count = rows.num_rows
        columns: dict[str, pa.Array | pa.ChunkedArray] = {
            "type": pa.repeat(pa.scalar("Feature"), count),
            "stac_version": pa.repeat(pa.scalar(STAC_VERSION), count),
            "stac_extensions": pa.array([[_PROJECTION]] * count, wanted.field("stac_extensions").type),
            "links": pa.array([[]] * count, wanted.field("links").type),
            "assets": _assets(rows["assets"].combine_chunks(), wanted.field("assets").type),
            "datetime": rows["datetime"].cast(_UTC),
            "proj:code": _code(rows),
        }
        columns |= {name: rows[name] for name in wanted.names if name not in columns}
        yield from pa.table([columns[name] for name in wanted.names], schema=wanted).to_batches()


def _properties(names: Iterable[str], bands: Iterable[str]) -> list[str]:
    hidden = {*_FIXED, *(f"{band}{ending}" for band in bands for ending in _HEADERS)}
    return [name for name in names if name not in hidden]


def _assets(stored: pa.StructArray, kind: pa.StructType) -> pa.StructArray:
    columns = [_asset(pc.struct_field(stored, band.name)) for band in kind]
    return pa.StructArray.from_arrays(columns, fields=list(kind))


def _asset(stored: pa.StructArray) -> pa.StructArray:
    count, absent = len(stored), stored.is_null()
    parts: Mapping[str, pa.Array] = {
        "href": pc.struct_field(stored, "href"),
        "type": pa.repeat(pa.scalar(MEDIA_TYPE), count),
        "roles": pa.array([["data"]] * count, pa.list_(pa.string())),
        "band_index": pc.struct_field(stored, "band_index"),
    }
    return pa.StructArray.from_arrays(list(parts.values()), fields=list(_ASSET), mask=absent)


def _code(rows: pa.Table) -> pa.ChunkedArray:
    """`EPSG:n`; a CRS without a code has no short name and is left to the file's header."""
    return pc.if_else(pc.starts_with(rows["crs"], "EPSG:"), rows["crs"], pa.scalar(None, pa.string()))
