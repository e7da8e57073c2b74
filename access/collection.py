"""A collection as its user sees it: a lazy, filterable view of GeoParquet files. Loading needs neither Prefect nor a STAC API."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from rasterloom.access.credentials.auth import reading_effort
from rasterloom.access.credentials.secrets import Secrets
from rasterloom.access.describe import Description
from rasterloom.access.export import copy_as, export_collection
from rasterloom.access.items.arrowfilters import chosen
from rasterloom.access.network.translate import translated
from rasterloom.access.pixels.areas import areas_of, is_table
from rasterloom.access.pixels.lazy import Opening
from rasterloom.access.pixels.methods import PixelMethods
from rasterloom.access.versions.commits import Commit
from rasterloom.access.versions.opening import Opened, Summary, collections_in, open_collection
from rasterloom.access.versions.provenance import provenance_table
from rasterloom.access.versions.snapshots import history
from rasterloom.access.views import Area, all_of, between, checked_bounds, cloud_below, geometries_of, meets, touches, union_of
from rasterloom.errors import SpecError, Unreadable
from rasterloom.specs.effort import AuthRef, Effort

_METADATA = "_metadata"
_ROWS_AT_ONCE = 1024
_GEOARROW = {b"ARROW:extension:name": b"geoarrow.wkb", b"ARROW:extension:metadata": b'{"crs": "OGC:CRS84", "crs_type": "authority_code"}'}


class Collection(PixelMethods):
    """Scenes with their headers. `subset` and `where` give narrower views; nothing is read before it is asked for.

    A value: no method changes it. It keeps to the files of the version that it was opened on, whatever is committed later.
    """

    def __init__(
        self, opened: Opened, *, effort: Effort | None = None, filters: tuple[pc.Expression, ...] = (), bands: tuple[str, ...] | None = None
    ) -> None:
        self._opened = opened
        self._effort = effort or Effort()
        self._filters = filters
        self._bands = bands

    # what it is

    @property
    def uri(self) -> str:
        """The directory of the files: the version directory where it was opened by its name or home."""
        return self._opened.uri

    @property
    def name(self) -> str:
        return self._text("name") or self._opened.name

    @property
    def description(self) -> str:
        return self._text("description")

    @property
    def data_source(self) -> str:
        """Dataset id, or STAC collection id."""
        return self._text("data_source")

    @property
    def start_date(self) -> datetime | None:
        """First instant of the dates that were asked for, naive UTC; None where there was no start."""
        return self._date(0)

    @property
    def end_date(self) -> datetime | None:
        return self._date(1)

    @property
    def metadata(self) -> dict[str, str]:
        """Schema metadata of the files, `geo` included."""
        return {key.decode(): value.decode("utf-8", "replace") for key, value in (self.dataset.schema.metadata or {}).items()}

    @property
    def dataset(self) -> ds.Dataset:
        """The pyarrow dataset of all rows, before any filter of this view."""
        return self._opened.dataset

    @property
    def schema(self) -> pa.Schema:
        """Columns of `to_table()`, hive columns included."""
        return pa.schema([self.dataset.schema.field(name) for name in self._columns()], metadata=self.dataset.schema.metadata)

    @property
    def bands(self) -> list[str]:
        """Band codes, in the order of the spec."""
        if self._bands is not None:
            return list(self._bands)
        return _bands_in(self.dataset.schema.names)

    @property
    def bounds(self) -> tuple[float, float, float, float] | None:
        """(west, south, east, north) of all footprints in degrees, None when empty; west > east crosses the antimeridian."""
        boxes = self.to_table(["bbox"])["bbox"].drop_null()
        return union_of(boxes) if len(boxes) else None

    @property
    def epsg(self) -> list[int]:
        """EPSG codes of the rasters, sorted."""
        return self._unique("proj:epsg")

    @property
    def crs(self) -> list[str]:
        """CRS of the rasters, sorted: `EPSG:n`, or WKT2 or PROJJSON where there is no code."""
        return self._unique("crs") if "crs" in self.dataset.schema.names else [f"EPSG:{code}" for code in self.epsg]

    def __len__(self) -> int:
        with _reading(self.uri):
            return self.dataset.count_rows(filter=self._filter())

    def __repr__(self) -> str:
        dates = f", {self.start_date:%Y-%m-%d}..{self.end_date:%Y-%m-%d}" if self.start_date and self.end_date else ""
        return (
            f"Collection({self.name!r}, source={self.data_source!r}, bands={len(self.bands)}, records={len(self)}, crs={self.epsg}{dates})"
        )

    def describe(self) -> Description:
        """A summary that prints as a table and is a mapping."""
        dates = (f"{self.start_date:%Y-%m-%d}", f"{self.end_date:%Y-%m-%d}") if self.start_date and self.end_date else None
        return Description(
            {
                "name": self.name,
                "records": len(self),
                "bands": self.bands,
                "bounds": self.bounds,
                "crs": self.crs,
                "dates": dates,
                "source": self.data_source,
                "columns": self._columns(),
                "uri": self.uri,
            }
        )

    @property
    def commit(self) -> Commit | None:
        """What was committed, where it is a snapshot of a workspace's collection."""
        return self._opened.commit

    def provenance(self) -> pa.Table:
        """How it came to be: one row per snapshot up to this one, newest first, with question, counts, traffic and software.

        Raises SpecError for a collection outside of a workspace, which has no history.
        """
        opened = self._opened
        if opened.workspace is None or opened.commit is None:
            raise SpecError(f"{self.uri} has no history: it is a copy", remedy="load it by its name in a workspace")
        return provenance_table(history(opened.workspace, opened.name, opened.commit))

    # narrower views

    def subset(
        self,
        *,
        cloud_cover_lt: float | None = None,
        date_range: str | Sequence[Any] | None = None,
        bbox: Sequence[float] | None = None,
        geometries: Area | None = None,
        bands: Sequence[str] | None = None,
    ) -> Collection:
        """Rows that meet all of the criteria.

        `date_range` includes both days to their last instant. `bbox` is (west, south, east, north), west > east crosses the
        antimeridian. `geometries`, also a table of polygons in any CRS, keeps rows whose bbox meets that of any of them. Raises
        SpecError.
        """
        parts: list[pc.Expression] = []
        if cloud_cover_lt is not None:
            parts.append(cloud_below(cloud_cover_lt, self.dataset.schema))
        if date_range is not None:
            parts.append(between(date_range))
        if bbox is not None:
            parts.append(touches(checked_bounds(bbox)))
        if geometries is not None:
            parts.append(areas_of(geometries).where() if is_table(geometries) else meets(geometries_of(geometries)))
        chosen = self._bands if bands is None else tuple(self._checked_bands(bands))
        return self._view(tuple(parts), chosen)

    def where(self, expression: pc.Expression | str) -> Collection:
        """Rows for which a filter (CQL2 text, as in a spec) or a pyarrow expression over the columns is true."""
        if isinstance(expression, str):
            return self._view((chosen(expression, self.dataset.schema),), self._bands)
        try:
            self.dataset.scanner(columns=[], filter=expression)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowKeyError) as error:
            raise SpecError(
                f"the expression does not fit the collection: {error}", remedy="see collection.schema for its columns"
            ) from error
        return self._view((expression,), self._bands)

    # rows

    def to_table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows of this view as an Arrow table with the schema metadata of the files."""
        with _reading(self.uri):
            table = self.dataset.to_table(columns=self._columns(columns), filter=self._filter())
        return table.replace_schema_metadata(self.dataset.schema.metadata)

    def to_batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows of `to_table` one batch at a time."""
        with _reading(self.uri):
            yield from self.dataset.scanner(columns=self._columns(columns), filter=self._filter(), batch_size=_ROWS_AT_ONCE).to_batches()

    def head(self, n: int = 5, columns: Sequence[str] | None = None) -> pa.Table:
        """The first `n` rows."""
        with _reading(self.uri):
            return self.dataset.head(n, columns=self._columns(columns), filter=self._filter())

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The rows for any Arrow consumer; the geometry says that it is WKB in OGC:CRS84."""
        schema = pa.schema([_tagged(field) for field in self.schema], metadata=self.dataset.schema.metadata)
        batches = (pa.RecordBatch.from_arrays(batch.columns, schema=schema) for batch in self.to_batches())
        return pa.RecordBatchReader.from_batches(schema, batches).__arrow_c_stream__(requested_schema)

    # elsewhere

    def export(self, uri: str | Path, *, format: str = "collection") -> str:
        """Write this view to a new or empty directory or prefix; returns its URI.

        `format` is `collection`, or `stac-geoparquet`: STAC items without the headers. Raises SpecError for a target that holds
        something, or that is inside of a workspace's collections.
        """
        return export_collection(copy_as(format, self.schema, self.metadata, self.to_batches()), str(uri))

    @staticmethod
    def list_collections(workspace: str | Path | None = None) -> list[Summary]:
        """The committed collections of a workspace, by name."""
        return collections_in(None if workspace is None else str(workspace))

    def _rows(self, columns: Sequence[str], where: pc.Expression | None, filters: Mapping[str, Any]) -> Iterator[pa.RecordBatch]:
        view = self.subset(**filters) if filters else self
        names = [name for name in columns if name in self.dataset.schema.names]
        return view._view(() if where is None else (where,), view._bands).to_batches(names)

    def _opening(self, effort: Effort | None, secrets: Secrets, max_concurrent: int | None) -> Opening:
        how = effort or self._effort
        how = how if max_concurrent is None else replace(how, max_concurrent=max_concurrent)
        return Opening(effort=how, source=self._opened.source, secrets=secrets)

    def _view(self, filters: tuple[pc.Expression, ...], bands: tuple[str, ...] | None) -> Collection:
        return Collection(self._opened, effort=self._effort, filters=(*self._filters, *filters), bands=bands)

    def _filter(self) -> pc.Expression | None:
        return all_of(self._filters) if self._filters else None

    def _columns(self, columns: Sequence[str] | None = None) -> list[str]:
        names = self.dataset.schema.names
        if columns is not None:
            unknown = [name for name in columns if name not in names]
            if unknown:
                raise SpecError(f"the collection has no column {unknown[0]!r}", remedy=f"it has {', '.join(names[:12])}, ...")
            return list(columns)
        if self._bands is None:
            return names
        dropped = {f"{band}{ending}" for band in _bands_in(names) if band not in self._bands for ending in (_METADATA, "_ext")}
        return [name for name in names if name not in dropped]

    def _checked_bands(self, bands: Sequence[str]) -> list[str]:
        if isinstance(bands, str):
            raise SpecError(f"bands is the text {bands!r}, wanted is a list", remedy=f"write [{bands!r}]")
        unknown = [band for band in bands if band not in self.bands]
        if unknown:
            raise SpecError(f"the collection has no band {unknown[0]!r}", remedy=f"it has {', '.join(self.bands)}")
        return list(bands)

    def _unique(self, column: str) -> list[Any]:
        return sorted(pc.unique(self.to_table([column])[column].drop_null()).to_pylist())

    def _text(self, key: str) -> str:
        return (self.dataset.schema.metadata or {}).get(key.encode(), b"").decode("utf-8", "replace")

    def _date(self, index: int) -> datetime | None:
        ends = self._text("date_range").split(",")
        try:
            return datetime.fromisoformat(ends[index]) if len(ends) == 2 else None
        except ValueError:
            return None


def _bands_in(names: Sequence[str]) -> list[str]:
    return [name.removesuffix(_METADATA) for name in names if name.endswith(_METADATA)]


def load(
    uri: str | Path,
    workspace: str | Path | None = None,
    *,
    snapshot: int | None = None,
    effort: Effort | None = None,
    auth: AuthRef | Mapping[str, Any] | None = None,
) -> Collection:
    """Open a collection: its name in a workspace, its home directory, a version directory, or any directory or URI of that format.

    A name or home is resolved once, to the newest version, or to `snapshot` (numbers as `rasterloom snapshots` shows them). `auth`, as
    in a spec, opens the files that pixels are read from; the table itself is opened with what the environment gives. Raises SpecError
    with what was looked for, Unavailable, AccessDenied.
    """
    opened = open_collection(str(uri), None if workspace is None else str(workspace), snapshot=snapshot)
    return Collection(opened, effort=reading_effort(opened.dataset.schema.metadata or {}, effort, auth))


@contextmanager
def _reading(uri: str) -> Generator[None]:
    """Foreign errors of reading rows leave as ours, with what to do about a damaged file."""
    try:
        with translated(f"read {uri}"):
            yield
    except Unreadable as error:
        remedy = error.remedy or "a file of it is gone or damaged: see `rasterloom verify`, and build it again with `rasterloom run`"
        raise Unreadable(error.message, reason=error.reason, remedy=remedy) from None


def _tagged(field: pa.Field) -> pa.Field:
    return field.with_metadata(_GEOARROW) if field.name == "geometry" else field
