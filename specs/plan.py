"""From a question to a plan: the searches that answer it together, and which of them owns a scene."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise, takewhile
from typing import Any

from rasterloom.errors import Problem, SpecError
from rasterloom.specs import area
from rasterloom.specs.dates import interval_text
from rasterloom.specs.durations import Duration, parse_duration
from rasterloom.specs.identity import box_from_json, digest, fingerprint, interval_from_json, to_json
from rasterloom.specs.model import CollectionSpec
from rasterloom.specs.question import Box, CopySource, Interval, Plan, Question, Shard, StacSource
from rasterloom.specs.resolve import resolve

MAX_SHARDS = 10_000
SHARD_VERSION = 1
"""Part of every shard key: raise it when the same shard would be searched in another way."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WORLD = Box(west=-180.0, south=-90.0, east=180.0, north=90.0)
_MONTHLY = Duration(months=1)
_WHOLE = timedelta(days=62)
"""Up to here one search is enough."""
_TOGETHER = timedelta(days=124)
"""Windows that are still open are one search up to here, counted until now: every run asks for all of them again."""

Meets = Callable[[Box], bool]
"""Whether a scene meets a box, edges included."""


def make_plan(spec: CollectionSpec, *, now: datetime) -> Plan:
    """The plan of `spec` at the instant `now`. Raises `SpecError` where it cannot be executed or has too many shards."""
    question, now = resolve(spec), now.astimezone(UTC)
    lookback = _lookback(spec, question)
    step = parse_duration(spec.split.time) if spec.split and spec.split.time else _default_step(question)
    settles = isinstance(question.source, StacSource) or (isinstance(question.source, CopySource) and question.source.snapshot is not None)
    cells = _cells(question, spec.split.space.grid) if spec.split and spec.split.space else [None]
    dates = [question.dates] if step is None else _windows(question.dates, step, now, limit=MAX_SHARDS // len(cells))
    closed = list(takewhile(lambda window: settles and _is_closed(window, lookback, now), dates))
    is_searched = isinstance(question.source, StacSource)
    windows = [*closed, *(_joined(dates[len(closed) :], step, now) if is_searched else dates[len(closed) :])]
    pairs = [(window, cell) for window in windows for cell in cells]
    shards = tuple(
        Shard(index=index, dates=window, cell=cell, closed=index < len(closed) * len(cells)) for index, (window, cell) in enumerate(pairs)
    )
    return Plan(name=spec.name, question=question, fingerprint=fingerprint(question), shards=shards, now=now)


def shard_key(question: Question, shard: Shard) -> str:
    """64 hex digits of everything that decides which scenes a shard yields, and nothing else: a cache key.

    Its position in the plan and whether it is closed are left out, so that a longer question finds the windows of a shorter
    one. Whether it is the first or the last window stays in: those own the scenes that reach over the question's ends.
    """
    decides = {
        "version": SHARD_VERSION,
        "source": question.source,
        "bbox": question.bbox,
        "intersects": question.intersects,
        "dates": shard.dates,
        "first": shard.dates.start == question.dates.start,
        "last": shard.dates.end == question.dates.end,
        "cell": shard.cell,
        "query": question.query,
        "filter": question.filter,
        "bands": question.bands,
        "dedupe": question.dedupe,
        "href": question.href,
    }
    return digest(decides)


def stac_datetime(dates: Interval) -> str:
    """RFC 3339 interval, closed at both ends, `..` where open. Neighbours share an instant; `owns` gives a scene to one."""
    return interval_text(dates)


def owns(
    question: Question,
    shards: Sequence[Shard],
    shard: Shard,
    instant: datetime,
    bbox: tuple[float, float, float, float],
    *,
    meets: Meets | None = None,
) -> bool:
    """Whether `shard` is the one of the plan's `shards` that yields a scene: the window that holds its instant, there the
    first cell that it meets.

    A scene with a time span may begin before the question: the first window owns it; likewise the last one at the end.
    `meets` judges as the search does, by the geometry: a cell that meets the bounding box alone would own a scene that its
    search never returns. Without it the scene is taken for its `bbox` (west, south, east, north).
    """
    meets = meets or meets_bbox(*bbox)
    if not _in_window(question.dates, shard.dates, instant):
        return False
    if shard.cell is None:
        return True
    earlier = takewhile(lambda other: other.dates == shard.dates, (shards[index] for index in range(shard.index - 1, -1, -1)))
    return meets(shard.cell) and not any(other.cell is not None and meets(other.cell) for other in earlier)


def meets_bbox(west: float, south: float, east: float, north: float) -> Meets:
    """For scenes that are their bounding box; `west > east` crosses the antimeridian. Edges touch."""

    def meets(cell: Box) -> bool:
        overlap = any(a <= d and c <= b for a, b in _spans(west, east) for c, d in _spans(cell.west, cell.east))
        return overlap and south <= cell.north and cell.south <= north

    return meets


def shard_to_json(shard: Shard) -> dict[str, Any]:
    return to_json(shard)


def shard_from_json(mapping: Mapping[str, Any]) -> Shard:
    cell = None if mapping["cell"] is None else box_from_json(mapping["cell"])
    return Shard(index=mapping["index"], dates=interval_from_json(mapping["dates"]), cell=cell, closed=mapping["closed"])


def _spans(west: float, east: float) -> list[tuple[float, float]]:
    """As intervals of longitude; -180 and 180 are one meridian."""
    spans = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    touching = [(-180.0, -180.0)] if any(b == 180.0 for _, b in spans) else []
    return spans + touching + ([(180.0, 180.0)] if any(a == -180.0 for a, _ in spans) else [])


def _in_window(question: Interval, window: Interval, instant: datetime) -> bool:
    after = window.start is None or window.start <= instant or window.start == question.start
    return after and (window.end is None or instant < window.end or window.end == question.end)


def _lookback(spec: CollectionSpec, question: Question) -> Duration:
    if spec.refresh.lookback is not None:
        return parse_duration(spec.refresh.lookback)
    return parse_duration("P45D") if question.dates.end is None else Duration()


def _is_closed(window: Interval, lookback: Duration, now: datetime) -> bool:
    return window.end is not None and lookback.after(window.end) <= now


def _default_step(question: Question) -> Duration | None:
    """None: one window. A file is read whole in one go, and may change at any time."""
    if not isinstance(question.source, StacSource):
        return None
    start, end = question.dates.start, question.dates.end
    short = start is not None and end is not None and end - start <= _WHOLE
    return None if short else _MONTHLY


def _windows(dates: Interval, step: Duration, now: datetime, *, limit: int) -> list[Interval]:
    """Cut at multiples of `step` on the calendar, so that the windows of different questions are the same.

    The future is one window, and so is what lies before last year where the start is open.
    """
    horizon = now if dates.end is None else min(dates.end, now)
    first = dates.start or datetime(horizon.year - 1, 1, 1, tzinfo=UTC)
    cuts: list[datetime] = [] if dates.start else [first]
    for cut in _multiples(step, first):
        if cut > horizon or (dates.end is not None and cut >= dates.end):
            break
        cuts.append(cut)
        if len(cuts) >= limit:
            raise _too_many(limit)
    if dates.end is not None:
        cuts = [cut for cut in cuts if cut < dates.end]
    return [Interval(start=start, end=end) for start, end in pairwise([dates.start, *cuts, dates.end])]


def _joined(windows: Sequence[Interval], step: Duration | None, now: datetime) -> Sequence[Interval]:
    """Open windows of a month and more, as one while they are not many: a run in which nothing is new then asks once.

    Shorter ones were asked for to be searched side by side.
    """
    if len(windows) < 2 or step is None or not step.months or windows[0].start is None:
        return windows
    start, end = windows[0].start, windows[-1].end
    span = (now if end is None else min(end, now)) - start
    return [Interval(start=start, end=end)] if span <= _TOGETHER else windows


def _too_many(limit: int) -> SpecError:
    message = f"the split makes more than {limit} windows; the limit is {MAX_SHARDS} shards"
    problem = Problem(path="split.time", message=message, remedy="write a longer split.time, e.g. P1M")
    return SpecError("the split is too fine", problems=[problem])


def _multiples(step: Duration, after: datetime) -> Iterator[datetime]:
    """The calendar's multiples of `step` behind `after`: months counted from year 0, other lengths from 1970."""
    if step.months and step.seconds:
        cut = after
        while True:
            cut = step.after(cut)
            yield cut
    elif step.months:
        month = ((after.year * 12 + after.month - 1) // step.months + 1) * step.months
        while True:
            yield datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC)
            month += step.months
    else:
        count = math.floor((after - _EPOCH).total_seconds() / step.seconds) + 1
        while True:
            yield _EPOCH + timedelta(seconds=step.seconds * count)
            count += 1


def _cells(question: Question, grid: int) -> list[Box | None]:
    """Row by row from the south-west; neighbours share their edges exactly."""
    box = question.bbox or (area.bounds(json.loads(question.intersects)) if question.intersects else _WORLD)
    width = box.east - box.west + (360.0 if box.west > box.east else 0.0)
    lons = [box.west, *(_wrapped(box.west + width * step / grid) for step in range(1, grid)), box.east]
    lats = [box.south + (box.north - box.south) * step / grid for step in range(grid)] + [box.north]
    spans = [(-180.0 if west == 180.0 else west, east) for west, east in pairwise(lons)]
    return [Box(west=west, south=south, east=east, north=north) for south, north in pairwise(lats) for west, east in spans]


def _wrapped(lon: float) -> float:
    return lon - 360.0 if lon > 180.0 else lon
