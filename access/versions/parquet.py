"""How the files of a collection are encoded: small, quick to skip through, and plain Parquet for every reader."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

ROWS_PER_GROUP = 1000
FAT_ROWS_PER_GROUP = 500
_FAT_ROW = 40_000
"""Arrow bytes of a row (large tile tables) from which a row group has fewer rows."""
_SPLIT_ENDINGS = (".list.element",)
_UNIQUE = ("id", "geometry", "bbox.xmin", "bbox.ymin", "bbox.xmax", "bbox.ymax", "datetime")
"""Leaves whose values hardly repeat: a dictionary would only be written beside them."""
_BLOOM = "bloom_filter_options" in inspect.signature(pq.ParquetWriter.__init__).parameters
"""pyarrow 26 and later."""
_GEOMETRY_NAMES = {
    1: "Point",
    2: "LineString",
    3: "Polygon",
    4: "MultiPoint",
    5: "MultiLineString",
    6: "MultiPolygon",
    7: "GeometryCollection",
}
_BBOX_NAMES = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True, slots=True)
class Leaf:
    """One Parquet column chunk: a leaf of the schema tree."""

    path: str
    physical: str
    """Parquet physical type, e.g. `INT64`."""


def leaves(schema: pa.Schema) -> list[Leaf]:
    """The leaf columns that pyarrow makes of a schema, by writing an empty file."""
    sink = pa.BufferOutputStream()
    pq.ParquetWriter(sink, schema).close()
    columns = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    return [Leaf(columns.column(index).path, columns.column(index).physical_type) for index in range(len(columns.names))]


def writer_options(schema: pa.Schema, compression: str) -> dict[str, Any]:
    """Keyword arguments of `pyarrow.parquet.ParquetWriter`.

    Integers of lists (tile offsets and byte counts) are byte-stream-split: measured smaller than both a dictionary and
    DELTA_BINARY_PACKED. They have no statistics: nothing searches them, and they would make half of the footer. From level 13 on
    zstd ends its blocks where one byte stream ends, and at level 17 it does so well: a fifteenth of the file for 0.1 ms per header
    of 121 tiles; levels 18 and 19 take twice as long for another hundredth. No page index: a column of a row group is one page.
    """
    paths = leaves(schema)
    split = [leaf.path for leaf in paths if leaf.path.endswith(_SPLIT_ENDINGS) and leaf.physical in ("INT32", "INT64")]
    plain = {*split, *_UNIQUE}
    options: dict[str, Any] = {
        "compression": compression,
        "compression_level": {leaf.path: 17 if leaf.path in split else 3 for leaf in paths} if compression == "zstd" else None,
        "column_encoding": dict.fromkeys(split, "BYTE_STREAM_SPLIT"),
        "use_dictionary": [leaf.path for leaf in paths if leaf.path not in plain],
        "write_statistics": [leaf.path for leaf in paths if "_metadata." not in leaf.path and "_ext." not in leaf.path],
        "write_page_index": False,
        "store_schema": False,
    }
    if _BLOOM:
        options["bloom_filter_options"] = {"id": {"ndv": ROWS_PER_GROUP, "fpp": 0.01}}
    return options


def rows_per_group(table: pa.Table) -> int:
    return FAT_ROWS_PER_GROUP if table.nbytes > _FAT_ROW * max(1, table.num_rows) else ROWS_PER_GROUP


@dataclass(slots=True)
class Extent:
    """What the `geo` metadata of one file says; grows with every block."""

    types: set[str] = field(default_factory=set[str])
    box: tuple[float, float, float, float] | None = None

    def add(self, table: pa.Table) -> None:
        """Take in the geometries and boxes of a block."""
        self.types.update(geometry_types(table["geometry"]))
        edges = [_numbers(table["bbox"], name) for name in _BBOX_NAMES]
        crosses = bool((edges[0] > edges[2]).any())
        west, east = (-180.0, 180.0) if crosses else (float(edges[0].min()), float(edges[2].max()))
        block = (west, float(edges[1].min()), east, float(edges[3].max()))
        old = self.box or block
        self.box = (min(old[0], block[0]), min(old[1], block[1]), max(old[2], block[2]), max(old[3], block[3]))

    def geo(self) -> str:
        """GeoParquet 1.1 metadata; no `crs` means OGC:CRS84."""
        covering = {"bbox": {name: ["bbox", name] for name in _BBOX_NAMES}}
        column: dict[str, Any] = {"encoding": "WKB", "geometry_types": sorted(self.types), "covering": covering}
        if self.box is not None:
            column["bbox"] = list(self.box)
        return json.dumps({"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}, sort_keys=True)


def geometry_types(column: pa.ChunkedArray) -> set[str]:
    """GeoJSON names of the WKB geometries of a column, from their type codes alone."""
    heads = pc.unique(pc.binary_slice(pc.drop_null(column), 0, 5))
    return {_geometry_type(head) for head in heads.to_pylist()}


def _geometry_type(head: bytes) -> str:
    """ISO WKB adds 1000 for Z, EWKB sets high bits: scenes are 2-D, so neither is expected."""
    code = int.from_bytes(head[1:5], "little" if head[0] == 1 else "big")
    return _GEOMETRY_NAMES.get(code % 1000, "GeometryCollection")


def _numbers(column: pa.ChunkedArray, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    return pc.struct_field(column, name).to_numpy()


class PartFile:
    """One Parquet file of a collection, written block by block."""

    def __init__(self, sink: BinaryIO, schema: pa.Schema, metadata: Mapping[str, str], options: Mapping[str, Any]) -> None:
        self._writer = pq.ParquetWriter(sink, schema, **options)
        self._metadata = dict(metadata)
        self._extent = Extent()
        self.rows = 0

    def add(self, table: pa.Table) -> None:
        self._writer.write_table(table, row_group_size=rows_per_group(table))
        self._extent.add(table)
        self.rows += table.num_rows

    def close(self) -> None:
        """Write the footer. `store_schema` is off (its copy of the schema is the larger part of a footer), so the metadata go in here."""
        self._writer.add_key_value_metadata({**self._metadata, "geo": self._extent.geo()})
        self._writer.close()


def ordered_columns(bands: Sequence[str], properties: Iterable[str]) -> list[str]:
    """Column names of a collection file, in their order."""
    tail = [f"{band}{ending}" for ending in ("_metadata", "_ext") for band in bands]
    return ["id", "datetime", "geometry", "bbox", "assets", *properties, "proj:epsg", "crs", "collection", *tail]
