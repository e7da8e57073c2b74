"""What is asked, resolved: the values that the fingerprint and the plan are made from.

Question and effort are two objects. Everything here is fingerprinted as a whole (`rasterloom.specs.identity`); how hard
to try (`build`, `auth`, `split`, `refresh`, ...) stays in the spec and never enters it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


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
    url: str
    """Landing page of the API, without a trailing slash."""
    collection: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dedupe:
    key: tuple[str, ...]
    order_by: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The resolved question: datasets looked up, defaults spelled out. Equal questions give equal collections."""

    source: StacSource
    bbox: Box | None
    intersects: str | None
    """Canonical GeoJSON geometry text, or None. Never together with `bbox`."""
    dates: Interval
    query: str | None
    """Canonical JSON of the STAC `query` object, or None."""
    bands: tuple[Band, ...]
    dedupe: Dedupe | None
    href: str
    """Which href of an asset is taken: `href`, or a path such as `alternate.s3.href`."""


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
