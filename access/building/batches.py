"""The headers of one batch: what is remembered, what is asked, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import pyarrow as pa

from rasterloom.access.archive.headers import fetch_headers
from rasterloom.access.archive.shared import shared_stores
from rasterloom.access.building.job import Job
from rasterloom.access.building.parentrows import rows_of_parent
from rasterloom.access.cache.headers import Found, find_headers, header_key, write_pack
from rasterloom.access.cache.records import HeaderRows, concatenated, header_rows, joined
from rasterloom.access.cache.staging import find_batch_ref, read_records
from rasterloom.access.credentials.secrets import Secrets
from rasterloom.access.network.hosts import host_of
from rasterloom.access.sources.copies import copied_headers
from rasterloom.access.values import Asset, BatchRef, Failure, ItemsRef, Scene, Traffic
from rasterloom.access.workspace.files import Workspace
from rasterloom.errors import Unreadable
from rasterloom.raster.header import Header
from rasterloom.specs.question import CopySource, Question

Place = tuple[int, str]
"""(position of the scene in its batch, band code)."""
Places = Mapping[Place, Asset]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Header rows by place: `rows[i]` belongs to `places[i]`."""

    places: tuple[Place, ...]
    rows: HeaderRows


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What the workspace answers for a batch, and what is left to ask."""

    known: tuple[Known, ...]
    failures: Mapping[Place, Failure]
    """Failures that another attempt would only repeat."""
    inherited: int
    """Headers out of the parent version."""
    left: Places


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What the network answered."""

    known: Known
    failures: Mapping[Place, Failure]
    traffic: Traffic
    first_range: Mapping[str, int]


def missing_hrefs(workspace: Workspace, job: Job, scenes: Sequence[Scene], items: ItemsRef) -> set[str]:
    """The files that `index_batch` would ask for."""
    return {asset.href for asset in remembered(workspace, job, scenes, items).left.values()}


def remembered(workspace: Workspace, job: Job, scenes: Sequence[Scene], items: ItemsRef) -> Remembered:
    """Ask the staged records of the same items, then the header cache, then the parent version; with `force` none of them."""
    left: Places = {(row, asset.band): asset for row, scene in enumerate(scenes) for asset in scene.assets}
    if not job.plan.question.reads_headers:
        return Remembered(known=(), failures={}, inherited=0, left={})
    if isinstance(job.plan.question.source, CopySource):
        return _copied(job.plan.question, scenes, left)
    if job.effort.force:
        return Remembered(known=(), failures={}, inherited=0, left=left)
    staged = find_batch_ref(workspace, items)
    failures = {} if staged is None else _settled(staged, scenes, again=job.effort.retry_failed)
    parts = [] if staged is None else _staged(workspace, staged, left)
    left = _without(_without(left, failures), *(part.places for part in parts))
    cached = _answered(left, lambda places: find_headers(workspace, [header_key(asset, scenes[row].updated) for row, asset in places]))
    left = _without(left, cached.places)
    inherited = _answered(left, lambda places: rows_of_parent(workspace, job.plan.name, scenes, places))
    return Remembered(
        known=(*parts, cached, inherited), failures=failures, inherited=len(inherited.places), left=_without(left, inherited.places)
    )


def _copied(question: Question, scenes: Sequence[Scene], places: Places) -> Remembered:
    """All that a copy ever has: what its collection has not is not asked for elsewhere."""
    headers = copied_headers(question, scenes) if scenes else {}
    there = [(band, row) for band, rows in headers.items() for row, valid in enumerate(rows.metadata.is_valid().to_pylist()) if valid]
    known = {band: [row for code, row in there if code == band and (row, band) in places] for band in headers}
    parts = [
        Known(places=tuple((row, band) for row in rows), rows=headers[band].take(pa.array(rows, pa.int64())))
        for band, rows in known.items()
    ]
    absent = _without(places, *(part.places for part in parts))
    failures = {place: _no_header(scenes[place[0]], asset) for place, asset in absent.items()}
    return Remembered(known=tuple(parts), failures=failures, inherited=len(places) - len(absent), left={})


def _no_header(scene: Scene, asset: Asset) -> Failure:
    message = "the collection that is copied has no header of this file"
    return Failure(stage="header", reason="no-header", message=message, item_id=scene.id, band=asset.band, href=asset.href)


def _without(places: Places, *others: Mapping[Place, object] | Sequence[Place]) -> Places:
    gone = {place for other in others for place in other}
    return {place: asset for place, asset in places.items() if place not in gone}


def _answered(left: Places, source: Callable[[Sequence[tuple[int, Asset]]], Found]) -> Known:
    found = source([(row, asset) for (row, _), asset in left.items()]) if left else Found.nothing()
    places = list(left)
    return Known(places=tuple(places[position] for position in found.positions), rows=found.rows)


def _settled(staged: BatchRef, scenes: Sequence[Scene], *, again: bool) -> dict[Place, Failure]:
    """Failures of an earlier run that stay as they are."""
    rows = {(scene.id, asset.band): (row, asset.band) for row, scene in enumerate(scenes) for asset in scene.assets}
    failed = {(failure.item_id, failure.band): failure for failure in staged.failures if not failure.retryable and not again}
    return {rows[key]: failure for key, failure in failed.items() if key in rows}


def _staged(workspace: Workspace, staged: BatchRef, places: Places) -> list[Known]:
    table = read_records(workspace, staged)
    bands = dict.fromkeys(band for _, band in places)
    return [_column(table, band) for band in bands]


def _column(table: pa.Table, band: str) -> Known:
    metadata, ext = (table[f"{band}{ending}"].combine_chunks() for ending in ("_metadata", "_ext"))
    there = [row for row, valid in enumerate(metadata.is_valid().to_pylist()) if valid]
    rows = HeaderRows(metadata=metadata, ext=ext).take(pa.array(there, pa.int64()))
    return Known(places=tuple((row, band) for row in there), rows=rows)


Turn = Callable[[Collection[str]], AbstractContextManager[None]]
"""Entered with the hosts and buckets that are asked, around all of their requests: others may have to wait for the same."""


def freely(hosts: Collection[str]) -> AbstractContextManager[None]:  # noqa: ARG001
    """Nobody else has to wait."""
    return nullcontext()


def fetched(
    workspace: Workspace,
    scenes: Sequence[Scene],
    left: Places,
    job: Job,
    first_range: Mapping[str, int],
    secrets: Secrets,
    turn: Turn = freely,
) -> Fetched:
    """Ask for the header of every asset that is left, and remember it for all collections of the workspace."""
    if not left:  # then no credentials are needed either
        return Fetched(known=Known(places=(), rows=concatenated([])), failures={}, traffic=Traffic(), first_range={})
    stores = shared_stores(job.effort.auth, effort=job.effort, secrets=secrets, source=job.plan.question.source.address)
    with turn({host_of(asset.href) for asset in left.values()} - {""}):
        got = fetch_headers(list(left.values()), stores, effort=job.effort, first_range=first_range)
    results = {place: _result(scenes[place[0]], left[place], result) for place, result in zip(left, got.results, strict=True)}
    headers = {place: result for place, result in results.items() if isinstance(result, Header)}
    rows = header_rows(list(headers.values()), [left[place].band_index for place in headers])
    if headers:
        write_pack(workspace, [header_key(left[place], scenes[place[0]].updated) for place in headers], rows)
    return Fetched(
        known=Known(places=tuple(headers), rows=rows),
        failures={place: result for place, result in results.items() if isinstance(result, Failure)},
        traffic=got.traffic,
        first_range=got.first_range,
    )


def _result(scene: Scene, asset: Asset, result: Header | Failure) -> Header | Failure:
    if isinstance(result, Failure):
        return replace(result, item_id=scene.id, band=asset.band)
    try:
        result.band_tiles(asset.band_index)
    except Unreadable as error:
        return Failure(
            stage="header", reason=error.reason, message=error.message, item_id=scene.id, band=asset.band, href=asset.href, retryable=False
        )
    return result


def records_of(scenes: Sequence[Scene], known: Sequence[Known], bands: Sequence[str]) -> pa.Table:
    """The records of a batch: every header row in its place."""
    pool = concatenated([part.rows for part in known])
    places = {place: number for number, place in enumerate(place for part in known for place in part.places)}
    indexes = {band: pa.array([places.get((row, band)) for row in range(len(scenes))], pa.int64()) for band in bands}
    return joined(scenes, {band: pool.take(index) for band, index in indexes.items()})
