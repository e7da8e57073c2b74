"""What passes through the doors: scenes as they come from a search, failures, and small references to what was written.

References are JSON-able (`to_json`/`from_json` of `rasterloom.access.refs`) because Prefect carries them between tasks.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """One band's file. `href` is canonical: no signature, no user info."""

    band: str
    key: str
    """Asset key in the STAC item."""
    href: str
    band_index: int
    """0-based sample of the file."""
    size: int | None = None
    """Bytes (`file:size`), where the item says so."""
    crs: str | None = None
    """What the item says of this file, where it says nothing of all its files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A validated STAC item, reduced to what the collection stores."""

    id: str
    collection: str
    datetime: datetime
    """UTC; the start of the interval where the item's `datetime` is null."""
    geometry: bytes
    """WKB, CRS84, 2-D."""
    bbox: tuple[float, float, float, float]
    """west, south, east, north in degrees; west > east crosses the antimeridian."""
    properties: dict[str, Any]
    """STAC properties as JSON values, `datetime` left out, `start_datetime`/`end_datetime` kept."""
    assets: tuple[Asset, ...]
    """At most one per band, in the order of the question's bands."""
    crs: str | None = None
    """`EPSG:n`, WKT2 or PROJJSON text as the item says it; the header decides where it knows."""
    updated: str | None = None
    origin: str | None = None
    """Where its headers come from, if not from its files: the edition of the collection that it was copied out of; `none`: they are
    not read. A part of the scene's line, so that records with and without headers are never taken for each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One thing that went wrong and did not stop the build: a row of the failures table. Holds no secrets."""

    stage: str
    """`search`, `item`, `asset` or `header`."""
    reason: str
    """Short stable class, e.g. `missing`, `denied`, `timeout`, `not-a-tiff`, `band-missing`."""
    message: str
    """At most 500 characters."""
    item_id: str = ""
    band: str = ""
    href: str = ""
    http_status: int | None = None
    attempts: int = 1
    retryable: bool = False
    first_seen: datetime | None = None
    last_seen: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What the network was asked for."""

    requests: int = 0
    bytes: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(requests=self.requests + other.requests, bytes=self.bytes + other.bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemsRef:
    """One file of scenes of one shard, small enough for one header task."""

    uri: str
    sha256: str
    scenes: int
    assets: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRef:
    """What the search of one shard found."""

    uri: str
    """JSON document of this very value, in the workspace cache."""
    batches: tuple[ItemsRef, ...]
    matched: int | None
    """`numberMatched` of the server, where it says it."""
    received: int
    kept: int
    disagreeing: int
    """Items that the server returned although they do not answer the question: dropped here."""
    duplicates: int
    failures: tuple[Failure, ...]
    types: dict[str, Any]
    """Property name -> type summary (`rasterloom.raster.properties`), merged over all scenes."""
    traffic: Traffic
    pages: int = 0
    """Pages of the search; its requests, in `traffic`, are more where the landing page was read or one was tried again."""

    def remembered(self) -> SearchRef:
        """The reference as a later run finds it: that run asked for nothing."""
        return replace(self, traffic=Traffic(), pages=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRef:
    """Records of one batch: scenes joined with their headers, one Parquet file in the workspace cache."""

    uri: str
    sha256: str
    rows: int
    headers: int
    """Headers that the records hold."""
    failures: tuple[Failure, ...]
    traffic: Traffic
    first_range: dict[str, int] = field(default_factory=dict[str, int])
    """Asset key -> bytes of header that were needed at the most: the next batch's first range."""
    size: int = 0
    """Bytes of the file."""
    fetched: int = 0
    """Headers that this run read from the network."""
    inherited: int = 0
    """Headers that this run took from the rows of the parent version; all others were remembered in the workspace's cache."""

    def remembered(self) -> BatchRef:
        """The reference as a later run finds it: that run asked for nothing."""
        return replace(self, traffic=Traffic(), fetched=0, inherited=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionRef:
    """A committed collection."""

    name: str
    uri: str
    """The version directory: a plain collection for any Parquet reader."""
    version: int
    """Number of the commit, 1-based."""
    run_id: str
    fingerprint: str
    rows: int
    failed: int
