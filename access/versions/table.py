"""The final columns of a collection: the staged ones, with every STAC property in a column typed from all items."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import pyarrow as pa

from rasterloom.access.cache.records import ASSET, BBOX, PROPERTIES
from rasterloom.access.versions.parquet import ordered_columns
from rasterloom.raster.arrow import EXT_TYPE, METADATA_TYPE
from rasterloom.raster.properties import arrow_field, column, merge

_REPLACED = {"proj:epsg"}
"""Properties whose place is taken by a column that the headers decide."""
_TAKEN = {"year", "month"}
"""Hive columns: they come from the path and must not stand in the files."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Schema of all files of one version, and how a staged table gets it."""

    schema: pa.Schema
    summaries: Mapping[str, Any]
    """Property name -> type summary over all items."""
    names: Mapping[str, str]
    """Property name -> column name."""

    def typed(self, staged: pa.Table) -> pa.Table:
        """The staged rows in the final columns. Every property of every row finds its place."""
        rows = [json.loads(text) for text in staged[PROPERTIES].to_pylist()]
        columns = {name: staged[name].combine_chunks() for name in staged.column_names if name != PROPERTIES}
        for name, summary in self.summaries.items():
            columns[self.names[name]] = column([row.get(name) for row in rows], summary)
        return pa.table([columns[name] for name in self.schema.names], schema=self.schema)


def shape_of(bands: Sequence[str], types: Sequence[Mapping[str, Any]]) -> Shape:
    """The schema that the type summaries of all searches ask for; property columns in the order of their names."""
    merged: Mapping[str, Any] = reduce(lambda left, right: merge(dict(left), dict(right)), types, {})
    summaries = {name: merged[name] for name in sorted(merged) if name not in _REPLACED}
    fixed = _fixed_fields(bands)
    names = {name: f"properties:{name}" if name in fixed or name in _TAKEN else name for name in summaries}
    typed = {names[name]: arrow_field(names[name], summary) for name, summary in summaries.items()}
    fields = {**typed, **fixed}
    return Shape(pa.schema([fields[name] for name in ordered_columns(bands, names.values())]), summaries, names)


def _fixed_fields(bands: Sequence[str]) -> dict[str, pa.Field]:
    types: dict[str, pa.DataType] = {
        "id": pa.string(),
        "datetime": pa.timestamp("us"),
        "geometry": pa.binary(),
        "bbox": BBOX,
        "assets": pa.struct([(band, ASSET) for band in bands]),
        "proj:epsg": pa.int32(),
        "crs": pa.string(),
        "collection": pa.string(),
        **{f"{band}_metadata": METADATA_TYPE for band in bands},
        **{f"{band}_ext": EXT_TYPE for band in bands},
    }
    return {name: pa.field(name, kind) for name, kind in types.items()}
