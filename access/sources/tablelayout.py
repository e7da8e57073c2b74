"""What the columns of a table mean: which of them is which member of a STAC item, and which parts of them are worth reading."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import pyarrow as pa

from rasterloom.access.sources.tablegeometry import Footprints, covering, footprints_of, is_boxes, primary_column
from rasterloom.errors import Problem, SpecError
from rasterloom.specs.question import Question, TableSource

MEMBERS = frozenset(
    {"id", "geometry", "bbox", "datetime", "collection", "assets", "links", "properties", "type", "stac_version", "stac_extensions"}
)
"""Columns that are no properties."""
DATES = ("datetime", "start_datetime", "end_datetime")
_UNREAD = frozenset(
    {
        "title",
        "description",
        "roles",
        "bands",
        "eo:bands",
        "raster:bands",
        "proj:geometry",
        "proj:bbox",
        "proj:centroid",
        "raster:histogram",
        "statistics",
        "classification:classes",
        "table:columns",
    }
)
"""Members of assets that say nothing about where a file is and what it holds: not even read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The columns of one table, by their meaning."""

    schema: pa.Schema
    """With the columns of the hive path."""
    names: Mapping[str, str]
    """Name in the collection -> column of the table."""
    footprints: Footprints | None
    bbox: str | None
    """Column of boxes in degrees or, where `footprints` has a CRS, in that."""
    assets: tuple[str, ...]
    """Keys of the assets that a question asks for."""
    hrefs: Mapping[str, str]
    """Asset key -> text column that holds its address."""

    def column(self, name: str) -> str | None:
        """The table's column for a name of the collection."""
        return self.names.get(name)

    @property
    def crs(self) -> str | None:
        return self.footprints.crs if self.footprints else None

    @property
    def properties(self) -> tuple[tuple[str, str], ...]:
        """(property, column), whatever is left."""
        taken = {*MEMBERS, *DATES} if self.bbox else {*MEMBERS, *DATES} - {"bbox"}
        used = {self.bbox, self.footprints.column if self.footprints else None, *self.hrefs.values()}
        used |= {f"{key}{ending}" for key in self._keys() for ending in ("_metadata", "_ext")}
        return tuple((name, column) for name, column in self.names.items() if name not in taken and column not in used)

    def _keys(self) -> list[str]:
        """Of the assets: beside them a collection, Rasteret's too, has tables of tiles that are no properties."""
        kind = self.kind("assets")
        return [field.name for field in kind] if kind is not None and pa.types.is_struct(kind) else []

    def kind(self, name: str) -> pa.DataType | None:
        column = self.names.get(name)
        return None if column is None else self.schema.field(column).type

    def wanted(self, leaves: Sequence[str]) -> list[str]:
        """Of the leaf paths of a Parquet schema those that make items."""
        chosen = {column for _, column in self.properties} | set(self.hrefs.values())
        chosen |= {column for name in (*DATES, "id", "collection", "properties") if (column := self.names.get(name))}
        chosen |= {column for column in (self.bbox, self.footprints and self.footprints.column) if column}
        kept = [leaf for leaf in leaves if _under(leaf, chosen)]
        return [*kept, *self._asset_leaves(leaves), *self._link_leaves(leaves)]

    def _asset_leaves(self, leaves: Sequence[str]) -> list[str]:
        column = self.names.get("assets")
        if column is None or not set(self.assets) - set(self.hrefs):
            return []
        below = [leaf for leaf in leaves if _under(leaf, {column})]
        if not pa.types.is_struct(self.schema.field(column).type):
            return below
        return [leaf for leaf in below if _asset_is_wanted(leaf[len(column) + 1 :], self.assets)]

    def _link_leaves(self, leaves: Sequence[str]) -> list[str]:
        column = self.names.get("links")
        return [leaf for leaf in leaves if column and _under(leaf, {column}) and leaf.rpartition(".")[2] in ("rel", "href", column)]


def _under(leaf: str, columns: Collection[str]) -> bool:
    """Whether a leaf is one of the columns or a part of one; names may have dots of their own."""
    return leaf in columns or any(leaf.startswith(f"{column}.") for column in columns if column[:1] == leaf[:1])


def _asset_is_wanted(path: str, assets: Iterable[str]) -> bool:
    for key in assets:
        for spelled in (key, f"s3_{key}"):
            if path.startswith(f"{spelled}."):
                return path[len(spelled) + 1 :].partition(".")[0] not in _UNREAD
    return False


def layout_of(schema: pa.Schema, question: Question, *, where: str, whole: bool = False) -> Layout:
    """Raises `SpecError` that names every column that is missing, with the nearest one there is. `where` names the table; `whole`:
    there are no other files, whose columns may be others.
    """
    source = question.source
    assert isinstance(source, TableSource)
    names = _renamed(schema, source.column_map)
    assets = tuple(dict.fromkeys(band.asset for band in question.bands))
    geometry = names.get("geometry") or _native(schema, names)
    footprints = footprints_of(schema, geometry) if geometry else None
    bbox = _boxes(schema, names, geometry)
    hrefs = _hrefs(schema, source, names, assets)
    layout = Layout(schema=schema, names=names, footprints=footprints, bbox=bbox, assets=assets, hrefs=hrefs)
    problems = _not_there(schema, source) or _unusable(layout) or (_unknown_assets(layout, question) if whole else [])
    if problems:
        raise SpecError(f"the table {where} is not what the spec says", problems=problems)
    return layout


def _renamed(schema: pa.Schema, column_map: Sequence[tuple[str, str]]) -> dict[str, str]:
    """A column that is mapped to a name takes it from the column that has it by birth."""
    given = {column: name for column, name in column_map if column in schema.names}
    named = {name: column for column, name in given.items()}
    return {column: column for column in schema.names if column not in given and column not in named} | named


def _native(schema: pa.Schema, names: Mapping[str, str]) -> str | None:
    """The geometry column by the file's own word, where the spec does not map another name to it."""
    primary = primary_column(schema)
    return primary if primary in names.values() else None


def _boxes(schema: pa.Schema, names: Mapping[str, str], geometry: str | None) -> str | None:
    found = names.get("bbox") or (covering(schema, geometry) if geometry else None)
    return found if found is not None and is_boxes(schema.field(found).type) else None


def _hrefs(schema: pa.Schema, source: TableSource, names: Mapping[str, str], assets: Sequence[str]) -> dict[str, str]:
    """`href_column` holds the file of every band; without it an asset key may be the name of a text column."""
    if source.href_column is not None:
        return {key: source.href_column for key in assets if source.href_column in schema.names}
    if "assets" in names:
        return {}
    texts = {column for column in schema.names if _is_text(schema.field(column).type)}
    return {key: names[key] for key in assets if names.get(key) in texts}


def _is_text(kind: pa.DataType) -> bool:
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(inner) or pa.types.is_large_string(inner) or pa.types.is_string_view(inner)


def _not_there(schema: pa.Schema, source: TableSource) -> list[Problem]:
    asked = [(f"table.column_map.{column}", column) for column, _ in source.column_map]
    if source.href_column is not None:
        asked.append(("table.href_column", source.href_column))
    return [
        Problem(path=path, value=column, message=f"the table has no column {column!r}", remedy=nearest(column, schema.names))
        for path, column in asked
        if column not in schema.names
    ]


def _unusable(layout: Layout) -> list[Problem]:
    """What every table needs, under whatever name."""
    names, problems = layout.schema.names, list[Problem]()
    if layout.footprints is None and layout.bbox is None:
        problems.append(_unmapped("geometry", "footprints", names, ("geom", "wkb_geometry", "footprint", "shape", "the_geom")))
    if not {"datetime", "start_datetime", "properties"} & set(layout.names):
        problems.append(_unmapped("datetime", "dates", names, ("date", "time", "year", "acquired", "timestamp")))
    if "assets" not in layout.names and not layout.hrefs:
        known = ("path", "href", "url", "uri", "location", "file")
        near = next((name for name in known if name in names), None) or _near("href", names)
        remedy = f"write href_column: {near}" if near else "write href_column"
        problems.append(
            Problem(path="table.href_column", message="nothing says where the files are: there is no column `assets`", remedy=remedy)
        )
    return problems


def _unknown_assets(layout: Layout, question: Question) -> list[Problem]:
    """Assets that no row can have: where they are all, or where another one is meant by all appearance. Else they are bands that
    some instrument has not, and each row tells so.
    """
    kind = layout.kind("assets")
    if kind is None or not pa.types.is_struct(kind) or layout.hrefs:
        return []
    there = [field.name for field in kind]
    free = [name for name in there if name not in layout.assets]
    missing = [band for band in question.bands if band.asset not in there]
    near = {band.code: band.code if band.code in free else _near(band.asset, free) for band in missing}
    return [
        Problem(
            path=f"band_map.{band.code}",
            value=band.asset,
            message=f"the table has no asset {band.asset!r}",
            remedy=f"write {band.code}: {near[band.code]}" if near[band.code] else f"the assets are {_some(there)}",
        )
        for band in missing
        if near[band.code] or len(missing) == len(question.bands)
    ]


def _unmapped(name: str, what: str, names: Sequence[str], usual: Sequence[str]) -> Problem:
    near = next((column for column in usual if column in names), None) or _near(name, names)
    remedy = f"write column_map: {{{near or 'COLUMN'}: {name}}}; the columns are {_some(names)}"
    return Problem(path="table.column_map", message=f"the table has no column `{name}` for {what}", remedy=remedy)


def nearest(name: str, names: Sequence[str]) -> str:
    """What to write in place of a column that is not there."""
    near = _near(name, names)
    return f"did you mean {near}?" if near else f"the columns are {_some(names)}"


def _near(name: str, names: Sequence[str]) -> str | None:
    """Upper and lower case first, then a small difference."""
    same = next((other for other in names if other.lower() == name.lower()), None)
    return same or next(iter(get_close_matches(name, names, n=1, cutoff=0.5)), None)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
