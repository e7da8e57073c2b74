"""What the parent version has and the searches did not give: items that are gone, that answer no longer, or that a rival found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rasterloom.access.building.job import Job
from rasterloom.access.building.parentrows import Parent
from rasterloom.access.building.selection import Selection, partition_of
from rasterloom.access.cache.records import joined
from rasterloom.access.cache.scenes import group_of
from rasterloom.access.cache.staging import find_batch_ref, id_key, read_items, stamp_of, write_batch, write_items
from rasterloom.access.credentials.secrets import Secrets
from rasterloom.access.items.scene import answers, scene_of, still_answers
from rasterloom.access.sources.search import search_ids
from rasterloom.access.values import BatchRef, ItemsRef, Scene, SearchRef, Traffic
from rasterloom.raster.properties import summarise

_ROWS_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """Rows of the parent that stay although no search gave them, staged as any other batch."""

    scenes: tuple[Scene, ...] = ()
    items: tuple[ItemsRef, ...] = ()
    batches: tuple[BatchRef, ...] = ()

    @property
    def types(self) -> dict[str, Any]:
        return summarise(scene.properties for scene in self.scenes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Departures:
    carried: Carried = field(default_factory=Carried)
    new: int = 0
    changed: int = 0
    gone: int = 0
    """Items that the source no longer has: those that stay and those that leave."""
    left: int = 0
    """Rows of the parent that are not in the new version."""
    traffic: Traffic = field(default_factory=Traffic)


def known_carried(parent: Parent, selection: Selection, job: Job) -> Carried:
    """What the parent carried already, answers the question, and no search gave again: known to be gone, so nobody is asked."""
    if not parent.commit.carried or job.effort.deleted == "drop":
        return Carried()
    lines = [scene for items in parent.commit.carried for scene in parent.lines(items)]
    known = [scene for scene in lines if still_answers(scene, job.plan.question)]
    found, _ = selection.look_up(_hashes([scene.id for scene in known]))
    return carry(parent, [scene for scene, again in zip(known, found.tolist(), strict=True) if not again], job)


def carry(parent: Parent, scenes: Sequence[Scene], job: Job) -> Carried:
    """Stage rows of the parent, without network."""
    bands = [band.code for band in job.plan.question.bands]
    ordered = sorted(scenes, key=lambda scene: (scene.datetime, scene.id))
    parts = [ordered[start : start + _ROWS_AT_ONCE] for start in range(0, len(ordered), _ROWS_AT_ONCE)]
    items = tuple(write_items(parent.workspace, part) for part in parts)
    batches = tuple(_batch(parent, part, ref, bands) for part, ref in zip(parts, items, strict=True))
    return Carried(scenes=tuple(ordered), items=items, batches=batches)


def _batch(parent: Parent, scenes: Sequence[Scene], items: ItemsRef, bands: Sequence[str]) -> BatchRef:
    staged = find_batch_ref(parent.workspace, items)
    if staged is not None:
        return staged.remembered()
    headers = parent.headers(scenes, bands)
    count = sum(len(rows) - rows.metadata.null_count for rows in headers.values())
    draft = BatchRef(uri="", sha256="", rows=len(scenes), headers=count, failures=(), traffic=Traffic(), inherited=count)
    return write_batch(parent.workspace, items, joined(scenes, headers), draft)


@dataclass(frozen=True, slots=True)
class Searches:
    """What a run found, for questions about what it did not find."""

    job: Job
    refs: Sequence[SearchRef]
    secrets: Secrets


def departures(parent: Parent, unsettled: Sequence[str], selection: Selection, known: Carried, run: Searches) -> Departures:
    """Compare the rows of the parent's `unsettled` partitions with the selection, and ask the source for what is missing, by id.

    What the source no longer has stays, or leaves with `refresh.deleted: drop`; what it has and what no longer answers leaves; what
    answers although the search did not give it stays. Of a parent that was committed after the run began, newer items stay too: a
    rival saw them. Raises as `search_ids`.
    """
    rows = parent.table(unsettled, ("id", "updated"))
    ids: list[str] = rows["id"].to_pylist()
    stamps = np.array([stamp_of(text) for text in rows["updated"].to_pylist()] if "updated" in rows.schema.names else [0] * len(ids))
    hashes = _hashes(ids)
    found, ours = selection.look_up(hashes)
    missing = parent.scenes([ids[row] for row in np.flatnonzero(~found)])
    rival = parent.commit.ended > run.job.started
    newer = parent.scenes([ids[row] for row in np.flatnonzero(found & (stamps > ours))]) if rival else []
    replaced = _replaced(missing, parent, run)
    asked = [scene for scene in missing if scene.id not in replaced]
    answer = _ask([scene.id for scene in asked], run)
    absent = [scene for scene in asked if scene.id not in answer.present]
    staying = [scene for scene in asked if scene.id in answer.answering]
    kept = [*known.scenes, *staying, *newer, *(absent if run.job.effort.deleted == "keep" else ())]
    return Departures(
        carried=known if len(kept) == len(known.scenes) else carry(parent, kept, run.job),
        new=_new(selection, hashes, unsettled, parent, run.job),
        changed=int((found & (stamps != ours)).sum()) if "updated" in rows.schema.names else 0,
        gone=len(known.scenes) + len(absent),
        left=len(missing) + len(known.scenes) + len(newer) - len(kept),
        traffic=answer.traffic,
    )


def _hashes(ids: Sequence[str]) -> np.ndarray[Any, np.dtype[np.bytes_]]:
    return np.array([id_key(name) for name in ids], "S16")


def _new(selection: Selection, there: np.ndarray[Any, np.dtype[np.bytes_]], unsettled: Sequence[str], parent: Parent, job: Job) -> int:
    """Rows of the selection that the parent has not: what it shares stands in partitions that are settled, or in `there`."""
    settled = set(parent.partitions) - set(unsettled)
    keys = selection.keys
    months = [month for month in np.unique(keys["month"]).tolist() if partition_of(month, job.effort.partition_by) not in settled]
    return int((~np.isin(keys["id"][np.isin(keys["month"], months)], there)).sum())


@dataclass(frozen=True, slots=True)
class _Answer:
    present: set[str]
    answering: set[str]
    traffic: Traffic


def _ask(ids: Sequence[str], run: Searches) -> _Answer:
    """Which of the ids the source still has, and which of those answer the question."""
    present: set[str] = set()
    answering: set[str] = set()
    traffic = Traffic()
    question, effort = run.job.plan.question, run.job.effort
    for page in search_ids(question, ids, effort=effort, secrets=run.secrets) if ids else ():
        traffic += Traffic(requests=page.requests, bytes=page.bytes)
        for item in page.items:
            scene, _ = scene_of(item, question)
            present.add(str(item.get("id")))
            if scene is not None and answers(scene, item, question):
                answering.add(scene.id)
    return _Answer(present, answering, traffic)


def _replaced(missing: Sequence[Scene], parent: Parent, run: Searches) -> set[str]:
    """Ids of scenes instead of which the searches gave another item of the same group of `dedupe`."""
    dedupe = run.job.plan.question.dedupe
    if dedupe is None or not missing:
        return set()
    given = {group_of(scene, dedupe) for ref in run.refs for items in ref.batches for scene in read_items(parent.workspace, items)}
    return {scene.id for scene in missing if group_of(scene, dedupe) in given}
