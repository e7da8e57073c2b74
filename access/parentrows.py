"""Headers that the committed version of a collection holds: the last source before the network, where the caches are gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from rasterloom.access.commits import Commit, latest, version_key
from rasterloom.access.files import Workspace
from rasterloom.access.headercache import Found
from rasterloom.access.records import HeaderRows, concatenated
from rasterloom.access.values import Asset, Scene
from rasterloom.raster.arrow import EXT_TYPE, METADATA_TYPE
from rasterloom.raster.header import PARSER_VERSION

PARSER = "rasterloom headers"
"""Key of the parser's version in a commit's `software`."""


def rows_of_parent(workspace: Workspace, name: str, scenes: Sequence[Scene], wanted: Sequence[tuple[int, Asset]]) -> Found:
    """Headers of `wanted` (position of the scene, asset) out of the newest version: the same href, sample, `updated` and size."""
    commit = latest(workspace, name)
    if commit is None or commit.software.get(PARSER) != str(PARSER_VERSION) or not wanted:
        return Found.nothing()
    dataset = _dataset(workspace, name, commit)
    bands = [band["code"] for band in commit.question["bands"] if _fits(dataset.schema, band["code"])]
    there = [column for column in ("id", "updated", "assets") if column in dataset.schema.names]
    ids = pa.array([scenes[row].id for row in dict.fromkeys(row for row, _ in wanted)])
    columns = [*there, *(f"{band}{ending}" for band in bands for ending in ("_metadata", "_ext"))]
    return _picked(dataset.to_table(columns=columns, filter=ds.field("id").isin(ids)), bands, scenes, wanted)


def _dataset(workspace: Workspace, name: str, commit: Commit) -> ds.Dataset:
    home = version_key(name, commit.dir)
    paths = [workspace.path_of(f"{home}/{file.path}") for file in commit.files if workspace.size(f"{home}/{file.path}") == file.size]
    return (
        ds.dataset(paths, format="parquet", filesystem=workspace.filesystem()) if paths else ds.dataset(pa.table({"id": [""]}).slice(0, 0))
    )


def _fits(schema: pa.Schema, band: str) -> bool:
    types = {field.name: field.type for field in schema}
    return types.get(f"{band}_metadata") == METADATA_TYPE and types.get(f"{band}_ext") == EXT_TYPE and "assets" in types


def _picked(table: pa.Table, bands: Sequence[str], scenes: Sequence[Scene], wanted: Sequence[tuple[int, Asset]]) -> Found:
    rows = concatenated([_rows(table, band) for band in bands])
    places: dict[tuple[str, int], tuple[int, str | None, int | None]] = {}
    stamps = table["updated"].to_pylist() if "updated" in table.schema.names else [None] * table.num_rows
    for number, band in enumerate(bands):
        sizes = rows.ext.field("size").slice(number * table.num_rows, table.num_rows).to_pylist()
        valid = table[f"{band}_metadata"].is_valid().to_pylist()
        for row, asset in enumerate(asset[band] for asset in table["assets"].to_pylist()):
            if asset is not None and valid[row]:
                places[asset["href"], asset["band_index"]] = (number * table.num_rows + row, stamps[row], sizes[row])
    taken = [(position, place) for position, (row, asset) in enumerate(wanted) if (place := _place(places, scenes[row], asset)) is not None]
    return Found.at([position for position, _ in taken], rows, [place for _, place in taken])


def _rows(table: pa.Table, band: str) -> HeaderRows:
    return HeaderRows(metadata=table[f"{band}_metadata"].combine_chunks(), ext=table[f"{band}_ext"].combine_chunks())


def _place(places: Mapping[tuple[str, int], tuple[int, Any, int | None]], scene: Scene, asset: Asset) -> int | None:
    place, updated, size = places.get((asset.href, asset.band_index), (None, None, None))
    differs = (scene.updated is not None and scene.updated != updated) or (
        asset.size is not None and size is not None and asset.size != size
    )
    return None if differs else place
