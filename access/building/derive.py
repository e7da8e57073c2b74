"""A narrower answer out of a wider one that is committed: its rows, chosen again as a build chooses scenes, and no request at all.

Scene lines come from the parent's staged items and headers from its rows: columns have lost what JSON said of a property (20 or
20.0, null or absent), so that only the lines give the very columns of a fresh build. Where a line, a row or a window is not there,
nothing is derived, and the ordinary build searches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from itertools import groupby

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from rasterloom.access.building.job import Job
from rasterloom.access.building.publish import publish
from rasterloom.access.building.searching import meets_cells
from rasterloom.access.cache.records import HeaderRows, joined, naive
from rasterloom.access.cache.scenes import hrefs_of
from rasterloom.access.cache.staging import (
    find_batch_ref,
    items_key,
    read_items,
    scenes_per_batch,
    search_key,
    write_batch,
    write_items,
    write_search,
)
from rasterloom.access.items.scene import still_answers
from rasterloom.access.values import BatchRef, CollectionRef, Failure, ItemsRef, Scene, SearchRef, Traffic
from rasterloom.access.versions.commits import Commit, collection_ref, latest
from rasterloom.access.versions.failures import remembered
from rasterloom.access.versions.opening import open_collection
from rasterloom.access.workspace.files import Workspace
from rasterloom.access.workspace.place import open_workspace
from rasterloom.errors import Unavailable
from rasterloom.raster.arrow import EXT_TYPE, METADATA_TYPE
from rasterloom.raster.properties import summarise
from rasterloom.specs.compare import relation
from rasterloom.specs.identity import question_from_json
from rasterloom.specs.plan import owns, shard_key
from rasterloom.specs.question import Plan, Question, Shard

_BATCHED = ("asset", "header")
"""Stages whose failures name a scene and a band."""


def obstacle(workspace: Workspace, plan: Plan, parent: Commit) -> str | None:
    """Why a question that is part of the parent's cannot be answered out of it; None where it can. Reads no rows."""
    version = f"version {parent.version}"
    if not all(shard.closed for shard in plan.shards):
        return "some of its windows are open"
    needed = [part for part in parent.searched if _begins_before(part.dates.start, plan.question.dates.end)]
    if not needed or not all(part.closed for part in needed):
        return f"some of its windows were open when {version} was made"
    if not all(workspace.size(items_key(items.sha256)) is not None for part in needed for items in part.items):
        return f"the scenes that {version} was made of are no longer in the cache"
    bands = {band.code for band in plan.question.bands}
    if any(failure.retryable and failure.band in bands for failure in remembered(workspace, plan.name, parent)):
        return f"{version} lacks files that another attempt may get"
    return None


def derive(job: Job) -> CollectionRef | None:
    """Commit the answer out of the newest version of the collection; None where that version does not hold all of it.

    Gone items that the version carries are no part of a search: `publish` carries them on. Raises as `publish` does.
    """
    workspace = open_workspace(job.workspace)
    parent = latest(workspace, job.plan.name)
    if parent is None or not _holds(parent, job.plan) or obstacle(workspace, job.plan, parent) is not None:
        return None
    try:
        made = list(_Derivation(job, workspace, parent).parts())
    except _Missing:
        return None
    return publish(job, [part.search for part in made], [batch for part in made for batch in part.batches])


def _holds(parent: Commit, plan: Plan) -> bool:
    """Another run may have committed another question since the decision."""
    return relation(question_from_json(parent.question), plan.question).kind in ("narrower", "same")


class _Missing(Exception):
    """The parent lacks a scene line or a row."""


def _begins_before(start: datetime | None, end: datetime | None) -> bool:
    """Whether a window may hold scenes of a question that ends at `end`. Earlier windows own scenes whose span reaches on."""
    return start is None or end is None or start < end


def _order(scene: Scene) -> tuple[datetime, str, str]:
    """As a search stages them."""
    return scene.datetime, scene.id, scene.collection


@dataclass(frozen=True, slots=True)
class _Part:
    """One shard, answered."""

    search: SearchRef
    batches: list[BatchRef]


class _Derivation:
    """One derived build. Holds the scenes and the header columns of one window at a time."""

    def __init__(self, job: Job, workspace: Workspace, parent: Commit) -> None:
        self._job, self._workspace, self._parent = job, workspace, parent
        self._question: Question = job.plan.question
        self._bands = [band.code for band in self._question.bands]
        self._failures = remembered(workspace, job.plan.name, parent)
        self._looked_at = 0

    def parts(self) -> Iterator[_Part]:
        """Every shard of the plan, in its order; the last one counts what answers another question."""
        made = [self._part(shard, scenes) for shard, scenes in self._shared_out(self._answering())]
        unusable = tuple(failure for failure in self._failures if failure.stage not in _BATCHED)
        rest = self._looked_at - sum(part.search.kept for part in made)
        last = made[-1].search
        counted = replace(last, received=last.received + rest + len(unusable), disagreeing=rest, failures=(*last.failures, *unusable))
        yield from made[:-1]
        yield _Part(counted, made[-1].batches)

    def _answering(self) -> Iterator[Scene]:
        """The scenes of the parent's searches that answer the question, in the order of a search, with the question's bands alone."""
        for scene in self._scenes():
            self._looked_at += 1
            if still_answers(scene, self._question):
                assets = {asset.band: asset for asset in scene.assets}
                yield replace(scene, assets=tuple(assets[band] for band in self._bands if band in assets))

    def _scenes(self) -> Iterator[Scene]:
        for dates, parts in groupby(self._parent.searched, key=lambda part: part.dates):
            if _begins_before(dates.start, self._question.dates.end):
                yield from sorted(self._read([items for part in parts for items in part.items]), key=_order)

    def _read(self, items: Sequence[ItemsRef]) -> Iterator[Scene]:
        for part in items:
            try:
                yield from read_items(self._workspace, part)
            except Unavailable as error:
                raise _Missing from error

    def _shared_out(self, scenes: Iterator[Scene]) -> Iterator[tuple[Shard, list[Scene]]]:
        """The scenes of every shard. They come in the order of time, so one window is held at a time."""
        plan, coming = self._job.plan, next(scenes, None)
        for dates, shards in groupby(plan.shards, key=lambda shard: shard.dates):
            window: list[Scene] = []
            while coming is not None and (dates.end in (None, plan.question.dates.end) or coming.datetime < dates.end):
                window.append(coming)
                coming = next(scenes, None)
            for shard in shards:
                yield shard, [scene for scene in window if self._owns(shard, scene)]

    def _owns(self, shard: Shard, scene: Scene) -> bool:
        return owns(self._question, self._job.plan.shards, shard, scene.datetime, scene.bbox, meets=meets_cells(scene))

    def _part(self, shard: Shard, scenes: list[Scene]) -> _Part:
        requests = sum(len(hrefs_of(scene)) for scene in scenes)
        size = scenes_per_batch(len(scenes), requests, shards=len(self._job.plan.shards))
        batches = [scenes[start : start + size] for start in range(0, len(scenes), size)]
        items = [write_items(self._workspace, batch) for batch in batches]
        ids = {scene.id for scene in scenes}
        search = SearchRef(
            uri="",
            batches=tuple(items),
            matched=None,
            received=len(scenes),
            kept=len(scenes),
            disagreeing=0,
            duplicates=0,
            failures=tuple(self._failures_of(ids, "asset")),
            types=summarise(scene.properties for scene in scenes),
            traffic=Traffic(),
        )
        key = search_key(shard_key(self._question, shard), run_id=None)
        rows = self._rows(scenes)
        staged = [self._staged(ref, batch, rows) for ref, batch in zip(items, batches, strict=True)]
        return _Part(write_search(self._workspace, key, search), staged)

    def _failures_of(self, ids: set[str], stage: str) -> Iterator[Failure]:
        wanted = (failure for failure in self._failures if failure.stage == stage and failure.item_id in ids)
        return (failure for failure in wanted if failure.band in self._bands)

    def _staged(self, items: ItemsRef, scenes: list[Scene], rows: _Rows) -> BatchRef:
        known = find_batch_ref(self._workspace, items)
        if known is not None:
            return known.remembered()
        table = joined(scenes, rows.of(scenes, self._bands))
        headers = sum(len(scenes) - table[f"{band}_metadata"].null_count for band in self._bands)
        draft = BatchRef(
            uri="",
            sha256="",
            rows=len(scenes),
            headers=headers,
            failures=tuple(self._failures_of({scene.id for scene in scenes}, "header")),
            traffic=Traffic(),
            inherited=headers,
        )
        return write_batch(self._workspace, items, table, draft)

    @cached_property
    def _dataset(self) -> ds.Dataset:
        return open_collection(collection_ref(self._workspace, self._job.plan.name, self._parent).uri).dataset

    def _rows(self, scenes: Sequence[Scene]) -> _Rows:
        """The header columns of the parent's rows of these scenes."""
        instants = [naive(scene.datetime) for scene in scenes]
        names = ["id", "datetime", *(f"{band}{ending}" for ending in ("_metadata", "_ext") for band in self._bands)]
        if not scenes:
            return _Rows(self._dataset.schema.empty_table().select(names))
        chosen = _between(self._dataset.schema, min(instants), max(instants)) & pc.field("id").isin([scene.id for scene in scenes])
        return _Rows(self._dataset.to_table(columns=names, filter=chosen))


class _Rows:
    """Rows of the parent by (id, instant)."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        pairs = zip(table["id"].to_pylist(), table["datetime"].to_pylist(), strict=True)
        self._places = {pair: place for place, pair in enumerate(pairs)}

    def of(self, scenes: Sequence[Scene], bands: Sequence[str]) -> dict[str, HeaderRows]:
        """The header columns of these scenes."""
        try:
            places = pa.array([self._places[scene.id, naive(scene.datetime)] for scene in scenes], pa.int64())
        except KeyError as error:
            raise _Missing from error
        taken = self._table.take(places)
        return {
            band: HeaderRows(
                metadata=_array(taken[f"{band}_metadata"]).cast(METADATA_TYPE), ext=_array(taken[f"{band}_ext"]).cast(EXT_TYPE)
            )
            for band in bands
        }


def _between(schema: pa.Schema, first: datetime, last: datetime) -> pc.Expression:
    """Rows of a span of time, said so that partitions outside of it are not opened."""
    chosen = (pc.field("datetime") >= pa.scalar(first, pa.timestamp("us"))) & (pc.field("datetime") <= pa.scalar(last, pa.timestamp("us")))
    if "year" in schema.names:
        chosen = chosen & (pc.field("year") >= first.year) & (pc.field("year") <= last.year)
    if "month" in schema.names and first.year == last.year:
        chosen = chosen & (pc.field("month") >= first.month) & (pc.field("month") <= last.month)
    return chosen


def _array(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.nulls(0, column.type)
