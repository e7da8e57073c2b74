"""What is asked, resolved: the values that the fingerprint and the plan are made from.

Question and effort are two objects. Everything here is fingerprinted as a whole (`rasterloom.specs.identity`); how hard
to try (`build`, `auth`, `split`, `refresh`, ...) stays in the spec and never enters it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Instants `start <= t < end`, both UTC with tzinfo; None is open."""

    start: datetime | None
    end: datetime | None

    def holds(self, instant: datetime) -> bool:
        return (self.start is None or self.start <= instant) and (self.end is None or instant < self.end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """Longitude and latitude in degrees, CRS84. `west > east` crosses the antimeridian."""

    west: float
    south: float
    east: float
    north: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """One band of the collection: its code, the asset that holds it and the 0-based sample in that asset."""

    code: str
    asset: str
    index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StacSource:
    """Any STAC API."""

    kind: Literal["stac"] = "stac"
    url: str
    """Landing page of the API, without a trailing slash."""
    collection: str

    @property
    def address(self) -> str:
        return self.url


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogSource:
    """A static STAC catalog."""

    kind: Literal["catalog"] = "catalog"
    path: str
    """Absolute path or URL of its root document."""
    collection: str | None
    """Only this collection of it."""

    @property
    def address(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSource:
    """A Parquet index, or a callable that gives an Arrow table. Exactly one of `uri` and `object`."""

    kind: Literal["table"] = "table"
    uri: str | None
    """Absolute path, glob or URL."""
    object: str | None
    """`pkg.module:callable`."""
    params: str | None
    """Canonical JSON of its arguments."""
    collection: str | None
    """What rows without a collection of their own belong to."""
    column_map: tuple[tuple[str, str], ...]
    """(column of the table, column of the collection), sorted."""
    href_column: str | None
    url_rewrite: tuple[tuple[str, str], ...]
    """(prefix, prefix that takes its place), sorted."""
    enrich: bool
    """Whether the headers of the files are read."""

    @property
    def address(self) -> str:
        return self.uri or ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopySource:
    """An existing collection, as the start of a narrower one.

    What a spec cannot know is settled when it is planned (`rasterloom.access.sources.copies`), so that the same rows are the same question,
    whatever snapshot they stand in.
    """

    kind: Literal["collection"] = "collection"
    uri: str
    """Its name in the workspace, an absolute path or a URL; settled: the path or URL."""
    snapshot: int | None
    """Number of the commit, None is the newest; settled: None, the edition tells it."""
    edition: str | None = None
    """Settled: digest of the files."""
    catalog: str | None = None
    """Settled: address of the catalog that gave the hrefs; None where nobody says it who can be believed."""
    data_source: str = ""
    """Settled: what the rows are, as the collection says it."""
    enrich: bool = True
    """Settled: whether headers were ever read for it."""

    @property
    def address(self) -> str:
        return self.uri

    @property
    def collection(self) -> None:
        """Its scenes know theirs."""


Source = StacSource | CatalogSource | TableSource | CopySource


@dataclass(frozen=True, slots=True, kw_only=True)
class Dedupe:
    key: tuple[str, ...]
    order_by: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The resolved question: datasets looked up, defaults spelled out. Equal questions give equal collections."""

    source: Source
    bbox: Box | None
    intersects: str | None
    """Canonical GeoJSON geometry text, or None. Never together with `bbox`."""
    dates: Interval
    query: str | None
    """Canonical JSON of the STAC `query` object, or None."""
    filter: str | None = None
    """Canonical CQL2-JSON, or None."""
    bands: tuple[Band, ...]
    dedupe: Dedupe | None
    href: str
    """Which href of an asset is taken: `href`, a path such as `alternate.s3.href`, or `s3`: its S3 address wherever that stands."""

    @property
    def reads_headers(self) -> bool:
        """False: scenes and addresses alone, and every header is null."""
        return not isinstance(self.source, TableSource | CopySource) or self.source.enrich


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One part of the question that is searched on its own. JSON-able through `specs.plan.shard_to_json`."""

    index: int
    """0-based position in the plan."""
    dates: Interval
    cell: Box | None
    """Part of the area, or None for the whole. The first shard (by index) of one window whose cell meets an item owns it."""
    closed: bool
    """True = upstream will add no more items to this window: its search may be remembered for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run executes; `plan` prints the same object."""

    name: str
    question: Question
    fingerprint: str
    """64 hex digits: sha256 of the canonical JSON of the whole question."""
    shards: tuple[Shard, ...]
    now: datetime
    """When it was planned; decides which windows are closed."""
    copied_from: str = ""
    """Collection and snapshot that a copy is made from, for people: the question knows the edition, which other snapshots may share."""
