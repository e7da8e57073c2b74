"""The rows of a committed version as a source: of headers, where the caches are gone, and of items that the catalog no longer has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from rasterloom.access.cache.headers import Found
from rasterloom.access.cache.records import HeaderRows, concatenated
from rasterloom.access.cache.staging import read_items
from rasterloom.access.values import Asset, ItemsRef, Scene
from rasterloom.access.versions.commits import Commit, DataFile, latest, version_key
from rasterloom.access.workspace.files import Workspace
from rasterloom.errors import Unavailable
from rasterloom.raster.arrow import EXT_TYPE, METADATA_TYPE
from rasterloom.raster.header import PARSER_VERSION

PARSER = "rasterloom headers"
"""Key of the parser's version in a commit's `software`."""
_NO_PROPERTIES = ("id", "datetime", "geometry", "bbox", "assets", "proj:epsg", "crs", "collection")


@dataclass(frozen=True)
class Parent:
    """One committed version of a collection, read as far as it still stands."""

    workspace: Workspace
    name: str
    commit: Commit

    @property
    def home(self) -> str:
        return version_key(self.name, self.commit.dir)

    @cached_property
    def partitions(self) -> dict[str, list[DataFile]]:
        """Hive path with a trailing slash -> its files; partitions of which a file is gone or cut are left out."""
        sizes = {entry.key: entry.size for entry in self.workspace.list(self.home)}
        parts: dict[str, list[DataFile]] = {}
        for file in self.commit.files:
            parts.setdefault(file.path[: file.path.rfind("/") + 1], []).append(file)
        return {name: files for name, files in parts.items() if all(sizes.get(f"{self.home}/{file.path}") == file.size for file in files)}

    def table(self, partitions: Iterable[str], columns: Sequence[str], *, ids: Sequence[str] | None = None) -> pa.Table:
        """Rows of some partitions; columns that the version has not are left out."""
        files = [file for name in partitions for file in self.partitions.get(name, ())]
        if not files:
            return pa.table({"id": pa.array([], pa.string())})
        paths = [self.workspace.path_of(f"{self.home}/{file.path}") for file in files]
        dataset = ds.dataset(paths, format="parquet", filesystem=self.workspace.filesystem())
        there = [name for name in columns if name in dataset.schema.names] if columns else None
        return dataset.to_table(columns=there, filter=None if ids is None else ds.field("id").isin(pa.array(ids, pa.string())))

    @property
    def bands(self) -> list[str]:
        return [band["code"] for band in self.commit.question["bands"]]

    def scenes(self, ids: Sequence[str]) -> list[Scene]:
        """The scenes of some rows, as their items stood in the catalog; where the lines are no longer staged, as their rows say it."""
        left = set(ids)
        found: list[Scene] = []
        for items in (*self.commit.carried, *(items for searched in self.commit.searched for items in searched.items)):
            if not left:
                break
            found += [scene for scene in self.lines(items) if scene.id in left]
            left -= {scene.id for scene in found}
        if left:
            rows = self.table(self.partitions, (), ids=sorted(left)).to_pylist()
            found += [_scene_of_row(row, self.bands, self.commit) for row in rows]
        return sorted(found, key=lambda scene: (scene.datetime, scene.id))

    def lines(self, items: ItemsRef) -> list[Scene]:
        """Staged scenes; none where the file is gone or changed."""
        try:
            return read_items(self.workspace, items)
        except Unavailable:
            return []

    def headers(self, scenes: Sequence[Scene], bands: Sequence[str]) -> dict[str, HeaderRows]:
        """Header rows of scenes that the version has, by band; null where it has none."""
        columns = ["id", *(f"{band}{ending}" for band in bands for ending in ("_metadata", "_ext"))]
        table = self.table(self.partitions, columns, ids=[scene.id for scene in scenes])
        places = {name: place for place, name in enumerate(table["id"].to_pylist())}
        order = pa.array([places.get(scene.id) for scene in scenes], pa.int64())
        return {band: _band_rows(table, band).take(order) for band in bands}


def _band_rows(table: pa.Table, band: str) -> HeaderRows:
    if not _fits(table.schema, band):
        return HeaderRows(metadata=pa.nulls(table.num_rows, METADATA_TYPE), ext=pa.nulls(table.num_rows, EXT_TYPE))
    return HeaderRows(metadata=table[f"{band}_metadata"].combine_chunks(), ext=table[f"{band}_ext"].combine_chunks())


def _fits(schema: pa.Schema, band: str) -> bool:
    types = {field.name: field.type for field in schema}
    return types.get(f"{band}_metadata") == METADATA_TYPE and types.get(f"{band}_ext") == EXT_TYPE


def _scene_of_row(row: Mapping[str, Any], bands: Sequence[str], commit: Commit) -> Scene:
    keys = {band["code"]: band["asset"] for band in commit.question["bands"]}
    hidden = {*_NO_PROPERTIES, *(f"{band}{ending}" for band in bands for ending in ("_metadata", "_ext"))}
    properties = {name.removeprefix("properties:"): value for name, value in row.items() if name not in hidden and value is not None}
    assets = {band: asset for band, asset in row["assets"].items() if asset is not None}
    box = row["bbox"]
    return Scene(
        id=row["id"],
        collection=row["collection"],
        datetime=row["datetime"].replace(tzinfo=UTC),
        geometry=row["geometry"],
        bbox=(box["xmin"], box["ymin"], box["xmax"], box["ymax"]),
        properties=properties,
        assets=tuple(Asset(band=band, key=keys[band], href=one["href"], band_index=one["band_index"]) for band, one in assets.items()),
        crs=row["crs"],
        updated=properties.get("updated"),
    )


def rows_of_parent(workspace: Workspace, name: str, scenes: Sequence[Scene], wanted: Sequence[tuple[int, Asset]]) -> Found:
    """Headers of `wanted` (position of the scene, asset) out of the newest version: the same href, sample, `updated` and size."""
    commit = latest(workspace, name)
    if commit is None or commit.software.get(PARSER) != str(PARSER_VERSION) or not wanted:
        return Found.nothing()
    parent = Parent(workspace, name, commit)
    columns = ["id", "updated", "assets", *(f"{band}{ending}" for band in parent.bands for ending in ("_metadata", "_ext"))]
    ids = list(dict.fromkeys(scenes[row].id for row, _ in wanted))
    return _picked(parent.table(parent.partitions, columns, ids=ids), parent.bands, scenes, wanted)


def _picked(table: pa.Table, bands: Sequence[str], scenes: Sequence[Scene], wanted: Sequence[tuple[int, Asset]]) -> Found:
    if table.num_rows == 0:
        return Found.nothing()
    rows = concatenated([_band_rows(table, band) for band in bands])
    sizes, valid = rows.ext.field("size").to_pylist(), rows.metadata.is_valid().to_pylist()
    stamps = table["updated"].to_pylist() if "updated" in table.schema.names else [None] * table.num_rows
    assets = table["assets"].to_pylist()
    places: dict[tuple[str, int], tuple[int, Any, int | None]] = {}
    for number, band in enumerate(bands):
        for row, asset in enumerate(one[band] for one in assets):
            place = number * table.num_rows + row
            if asset is not None and valid[place]:
                places[asset["href"], asset["band_index"]] = (place, stamps[row], sizes[place])
    taken = [(position, place) for position, (row, asset) in enumerate(wanted) if (place := _place(places, scenes[row], asset)) is not None]
    return Found.at([position for position, _ in taken], rows, [place for _, place in taken])


def _place(places: Mapping[tuple[str, int], tuple[int, Any, int | None]], scene: Scene, asset: Asset) -> int | None:
    place, updated, size = places.get((asset.href, asset.band_index), (None, None, None))
    differs = (scene.updated is not None and scene.updated != updated) or (
        asset.size is not None and size is not None and asset.size != size
    )
    return None if differs else place
