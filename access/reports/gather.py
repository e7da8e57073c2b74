"""From a committed version, or any open collection, to its report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import shapely
from shapely.geometry.base import BaseGeometry

from rasterloom.access.describe import size_text
from rasterloom.access.items.footprints import area_of_bounds
from rasterloom.access.network.redact import redact
from rasterloom.access.reports.scan import scan
from rasterloom.access.reports.values import Change, Changes, Decision, Failed, Failures, Figure, Report, Scenes
from rasterloom.access.versions.commits import Commit, read_commit, version_key
from rasterloom.access.versions.failures import failures_in, read_failures
from rasterloom.access.versions.opening import Opened
from rasterloom.access.workspace.files import Workspace
from rasterloom.access.workspace.place import is_remote
from rasterloom.errors import Unavailable
from rasterloom.specs.freshness import Freshness
from rasterloom.specs.identity import canonical_json, differences

MOST_FAILURES = 50
"""Rows of the failures that a report shows; `rasterloom failures` has all of them."""
_LONGEST = 300
_REASON = {
    "build": "there was nothing of this name",
    "refresh": "the same question was asked again",
    "extend": "the snapshot before answered a part of the question",
    "derive": "the snapshot before held all of the answer",
    "rebuild": "the snapshot before answered another question",
    "rollback": "an older snapshot was made the newest again",
}
"""For commits of a time when the reason was not written down."""


def report_of(opened: Opened, *, freshness: Freshness | None = None) -> Report:
    """Everything. Reads the narrow columns of all rows. Raises Unavailable, AccessDenied, Unreadable."""
    if opened.commit is None or opened.workspace is None:
        return _plain_report(opened)
    area = _area(opened.commit.question)
    scenes = scan(opened.dataset, opened.uri, area)
    return committed(opened.workspace, opened.name, opened.commit, scenes=scenes, freshness=freshness)


def committed(
    workspace: Workspace, name: str, entry: Commit, *, scenes: Scenes | None = None, freshness: Freshness | None = None
) -> Report:
    """What the commit says; without `scenes` the rows are not read."""
    uri = workspace.uri_of(version_key(name, entry.dir))
    return Report(
        name=name,
        uri=redact(uri),
        home=redact(workspace.uri_of(name)),
        link=_link(uri),
        snapshot=entry.version,
        decision=Decision(
            action=entry.action,
            reason=entry.reason or _REASON.get(entry.action, ""),
            run_id=entry.run_id,
            started=entry.started,
            ended=entry.ended,
        ),
        asked=_filled(_asked(entry)),
        figures=(*_figures(entry), *_cloudy(scenes)),
        scenes=scenes,
        changes=_changes(workspace, name, entry),
        failures=_failures(workspace, name, entry),
        freshness=freshness,
        made_by=_filled({"fingerprint": entry.fingerprint[:16], **entry.software}),
    )


def _plain_report(opened: Opened) -> Report:
    """A collection without history: what its rows and its schema say."""
    metadata = {key.decode(): value.decode("utf-8", "replace") for key, value in (opened.dataset.schema.metadata or {}).items()}
    scenes = scan(opened.dataset, opened.uri, None)
    bands = [name.removesuffix("_metadata") for name in opened.dataset.schema.names if name.endswith("_metadata")]
    asked = {
        "source": metadata.get("data_source", ""),
        "description": metadata.get("description", ""),
        "dates": metadata.get("date_range", "").replace(",", " to "),
        "bands": ", ".join(bands),
    }
    return Report(
        name=metadata.get("name") or opened.name,
        uri=redact(opened.uri),
        home=redact(opened.uri),
        link=_link(opened.uri),
        snapshot=0,
        decision=None,
        asked=_filled(asked),
        figures=(_figure("scenes", scenes.rows), _figure("bands", len(bands)), *_cloudy(scenes)),
        scenes=scenes,
        changes=None,
        failures=None,
        freshness=None,
        made_by=_filled({"created": metadata.get("created", ""), "fingerprint": metadata.get("rasterloom:fingerprint", "")[:16]}),
    )


def _link(uri: str) -> str:
    return "" if is_remote(uri) else Path(uri).absolute().as_uri()


def _filled(texts: Mapping[str, str]) -> tuple[Figure, ...]:
    return tuple(Figure(label=label, text=redact(text)[:_LONGEST]) for label, text in texts.items() if text)


def _figure(label: str, number: int, note: str = "") -> Figure:
    return Figure(label=label, text=f"{number:,}", note=note)


# --- the question ------------------------------------------------------------------------------------------------------------------


def _asked(entry: Commit) -> dict[str, str]:
    question = entry.question
    source, dates = question["source"], question["dates"]
    return {
        "dataset": str(entry.spec.get("dataset") or ""),
        "source": " ".join(str(source.get(key) or "") for key in ("url", "path", "uri", "object", "collection") if source.get(key)),
        "copied from": entry.copied_from,
        "area": _area_text(question),
        "dates": f"{_day(dates['start'])} to {_day(dates['end'])}" if dates["start"] or dates["end"] else "",
        "bands": ", ".join(band["code"] for band in question["bands"]),
        "query": canonical_json(question["query"]) if question.get("query") else "",
        "filter": str(entry.spec.get("filter") or ""),
        "one scene of each": ", ".join(question["dedupe"]["key"]) if question.get("dedupe") else "",
    }


def _day(text: str | None) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M} UTC" if text else "open"


def _area_text(question: Mapping[str, Any]) -> str:
    box = question.get("bbox")
    if box:
        return ", ".join(f"{edge} {box[edge]:g}" for edge in ("west", "south", "east", "north"))
    shape = _area(question)
    if shape is None:
        return "everywhere"
    west, south, east, north = shape.bounds
    return f"{shape.geom_type}, west {west:g}, south {south:g}, east {east:g}, north {north:g}"


def _area(question: Mapping[str, Any]) -> BaseGeometry | None:
    box = question.get("bbox")
    if box:
        return area_of_bounds((box["west"], box["south"], box["east"], box["north"]))
    return shapely.from_geojson(canonical_json(question["intersects"])) if question.get("intersects") else None


# --- the counts --------------------------------------------------------------------------------------------------------------------


def _figures(entry: Commit) -> tuple[Figure, ...]:
    counts, reuse = entry.counts, entry.reuse
    found = f"of {counts.matched:,} that the source told of" if counts.matched else ""
    headers = ", ".join(
        f"{count:,} {how}"
        for count, how in (
            (reuse.headers_fetched, "read now"),
            (reuse.headers_cached, "from memory"),
            (reuse.headers_parent, "from the snapshot before"),
        )
        if count
    )
    took = (entry.ended - entry.started).total_seconds()
    size = sum(file.size for file in entry.files)
    figures = [
        _figure("scenes", entry.rows, found),
        _figure("headers", counts.headers, headers),
        _figure("failed", sum(counts.failed.values())),
        _figure("requests", entry.traffic.requests, f"{size_text(entry.traffic.bytes)} received"),
        Figure(label="size", text=size_text(size), note=f"{len(entry.files):,} files, {reuse.files_linked:,} unchanged"),
        Figure(label="took", text=f"{took:.1f} s" if took < 120 else f"{took / 60:.1f} min"),
    ]
    if entry.coverage is not None:
        figures.append(Figure(label="coverage", text=f"{entry.coverage:.1%}", note="of the area"))
    extra = (("disagreeing", counts.disagreeing, "answers to another question, left out"), ("duplicates", counts.duplicates, "left out"))
    told = [_figure(label, count, note) for label, count, note in (*extra, ("twins", entry.twins, "of one place and instant")) if count]
    return (*figures, *told)


def _cloudy(scenes: Scenes | None) -> Iterator[Figure]:
    if scenes is not None and scenes.cloud is not None:
        yield Figure(label="cloud cover", text=f"{scenes.cloud.median:.0f} %", note="median")


def _changes(workspace: Workspace, name: str, entry: Commit) -> Changes | None:
    """None for the first snapshot, and where the one before cannot be read."""
    try:
        parent = read_commit(workspace, name, entry.parent) if entry.parent else None
    except Unavailable:
        parent = None
    if parent is None:
        return None
    reuse, pairs = entry.reuse, (_counted(parent), _counted(entry))
    items = (
        ("new", reuse.items_new, ""),
        ("changed", reuse.items_changed, ""),
        ("gone", reuse.items_gone, f"{reuse.items_carried:,} of them stay" if reuse.items_carried else ""),
        ("left", reuse.items_left, "no longer in this snapshot"),
    )
    return Changes(
        since=parent.version,
        committed=parent.ended,
        counts=tuple(Change(label=label, before=pairs[0][label], now=pairs[1][label]) for label in pairs[0]),
        items=tuple(_figure(label, count, note) for label, count, note in items if count),
        question=tuple(map(redact, differences(parent.question, entry.question))),
        drift=entry.drift,
    )


def _counted(entry: Commit) -> dict[str, str]:
    return {
        "scenes": f"{entry.rows:,}",
        "headers": f"{entry.counts.headers:,}",
        "failed": f"{sum(entry.counts.failed.values()):,}",
        "files": f"{len(entry.files):,}",
        "size": size_text(sum(file.size for file in entry.files)),
        "newest scene": f"{entry.newest:%Y-%m-%d %H:%M}" if entry.newest else "-",
    }


def _failures(workspace: Workspace, name: str, entry: Commit) -> Failures | None:
    """None where nothing failed. A table that is gone leaves the counts of the commit."""
    total = sum(entry.counts.failed.values())
    if not total and not entry.failures:
        return None
    try:
        table = read_failures(workspace, name, entry)
    except Unavailable:
        table = None
    by_reason = dict(entry.counts.failed)
    if table is not None:
        total = table.num_rows
        by_reason = {str(each["values"]): int(each["counts"]) for each in pc.value_counts(table["reason"]).to_pylist()}
    shown = failures_in(table.slice(0, MOST_FAILURES)) if table is not None else []
    return Failures(
        total=total,
        by_reason=tuple(sorted(by_reason.items(), key=lambda each: (-each[1], each[0]))),
        shown=tuple(
            Failed(
                item=failure.item_id,
                band=failure.band,
                reason=failure.reason,
                status=str(failure.http_status or ""),
                message=redact(failure.message)[:_LONGEST],
                href=redact(failure.href),
            )
            for failure in shown
        ),
    )
