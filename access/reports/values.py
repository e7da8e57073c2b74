"""What a report says: sums and small shapes, never a list of scenes. One value, rendered as a page and as Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rasterloom.specs.freshness import Freshness


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Degrees. Longitudes run on past 180 in a frame that crosses the antimeridian."""

    x: float
    y: float


Ring = tuple[Point, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What a map shows, in degrees; `west < east`, with an `east` past 180 where it crosses the antimeridian."""

    west: float
    south: float
    east: float
    north: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """One shape on the map."""

    rings: tuple[Ring, ...]
    scenes: int
    """That have this very footprint, or, in a grid, that meet this cell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Map:
    """Where the scenes lie."""

    frame: Frame
    area: tuple[Ring, ...]
    """Of the question; empty where it asks for the whole world."""
    footprints: tuple[Footprint, ...]
    is_grid: bool
    """Whether the shapes are cells, because there are too many footprints to draw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """Cloud cover of some scenes, in per cent: nine of ten lie at or above `low`, nine of ten at or below `high`."""

    low: float
    median: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """One step of the timeline."""

    start: datetime
    """Naive UTC."""
    scenes: int
    cloud: Cloud | None
    """None where no scene of it says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """When the scenes were taken: every step from the first to the last, empty ones too."""

    unit: str
    """`day`, `week`, `month`, `quarter` or `year`."""
    periods: tuple[Period, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenes:
    """What the rows say."""

    rows: int
    first: datetime | None
    """Instant of the oldest scene, naive UTC."""
    last: datetime | None
    cloud: Cloud | None
    """Of all scenes."""
    map: Map | None
    """None where no row has a bbox."""
    timeline: Timeline | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number under its name."""

    label: str
    text: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing now and in the snapshot before."""

    label: str
    before: str
    now: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What is different from the snapshot before."""

    since: int
    """Its number."""
    committed: datetime
    counts: tuple[Change, ...]
    items: tuple[Figure, ...]
    """New, changed and gone items."""
    question: tuple[str, ...]
    """Fields of the question that differ, `field: old -> new`."""
    drift: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """One failure. Holds no secrets."""

    item: str
    band: str
    reason: str
    status: str
    message: str
    href: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """What could not be read."""

    total: int
    by_reason: tuple[tuple[str, int], ...]
    shown: tuple[Failed, ...]
    """The first of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was done, and why."""

    action: str
    reason: str
    run_id: str
    started: datetime
    ended: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that there is to say of one snapshot, or of a collection without any history."""

    name: str
    uri: str
    """The directory of the files."""
    home: str
    """What `rasterloom.load` takes: the name's home, or the directory itself."""
    link: str
    """`file:` URL of the directory on this machine, empty for an object store."""
    snapshot: int
    """0 where the collection has no history."""
    decision: Decision | None
    asked: tuple[Figure, ...]
    """The question, in words."""
    figures: tuple[Figure, ...]
    """Counts, most telling first."""
    scenes: Scenes | None
    """None where the rows were not looked at."""
    changes: Changes | None
    failures: Failures | None
    freshness: Freshness | None
    made_by: tuple[Figure, ...]
    """Fingerprint and software."""
