"""One shard, searched whole: every item checked again locally, counted once, in as many searches as it takes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

import shapely

from rasterloom.access.building.job import Job
from rasterloom.access.building.suits import check_first_page, refuse_missing_collection
from rasterloom.access.cache.scenes import Spool
from rasterloom.access.cache.staging import scenes_per_batch
from rasterloom.access.credentials.secrets import Secrets
from rasterloom.access.items.footprints import area_of, meets
from rasterloom.access.items.pages import Page
from rasterloom.access.items.scene import answers, scene_of
from rasterloom.access.items.split import MOST_ITEMS, Part, halves
from rasterloom.access.sources.search import search
from rasterloom.access.values import Failure, Scene, SearchRef, Traffic
from rasterloom.errors import SpecError
from rasterloom.raster.properties import merge, summarise
from rasterloom.specs.plan import owns
from rasterloom.specs.question import Box, Shard, StacSource


@dataclass(slots=True)
class Tally:
    """Counts of a search while it runs."""

    matched: int | None = None
    received: int = 0
    disagreeing: int = 0
    pages: int = 0
    traffic: Traffic = field(default_factory=Traffic)
    failures: list[Failure] = field(default_factory=list[Failure])
    types: dict[str, Any] = field(default_factory=dict[str, Any])
    ids: set[str] = field(default_factory=set[str])
    repeated: int = 0
    """Scenes that went into the spool although another search of the shard has them."""

    def take(self, part: Tally) -> None:
        self.received += part.received
        self.disagreeing += part.disagreeing
        self.failures += part.failures
        self.types = merge(self.types, part.types)
        self.ids |= part.ids

    def ref(self) -> SearchRef:
        return SearchRef(
            uri="",
            batches=(),
            matched=self.matched,
            received=self.received,
            kept=0,
            disagreeing=self.disagreeing,
            duplicates=0,
            failures=tuple(sorted(self.failures, key=_place)),  # in whatever order the server and the split gave them
            types=self.types,
            traffic=self.traffic,
            pages=self.pages,
        )


def _place(failure: Failure) -> tuple[str, str, str, str]:
    return failure.item_id, failure.band, failure.stage, failure.reason


@dataclass(frozen=True, slots=True)
class FoundScenes:
    """What one shard holds, not yet written anywhere."""

    tally: Tally
    spool: Spool
    shards: int
    """Of the plan: a build of many shards has batches enough."""

    def batches(self) -> Iterator[Sequence[Scene]]:
        """The scenes in their final batches; once."""
        return self.spool.batches(scenes_per_batch(len(self.spool), self.spool.requests, shards=self.shards))

    def ref(self, *, kept: int) -> SearchRef:
        """The counts, once the batches were taken."""
        return replace(self.tally.ref(), kept=kept, duplicates=self.spool.duplicates - self.tally.repeated)


@contextmanager
def found_scenes(job: Job, shard: Shard, *, secrets: Secrets, most: int = MOST_ITEMS) -> Generator[FoundScenes]:
    """Search a shard; the scenes live as long as the block. A search that finds more than `most` items is halved, and so on:
    scenes, their order, their batches and all counts but those of traffic are the same whatever the split."""
    with Spool(job.plan.question.dedupe) as spool:
        yield FoundScenes(_Search(job, shard, spool, secrets, most).run(), spool, len(job.plan.shards))


class _Search:
    """The searches of one shard, one after the other."""

    def __init__(self, job: Job, shard: Shard, spool: Spool, secrets: Secrets, most: int) -> None:
        self._job, self._shard, self._spool, self._secrets, self._most = job, shard, spool, secrets, most
        self._total = Tally()

    def run(self) -> Tally:
        try:
            return self._run()
        except SpecError:
            if not self._total.pages:
                refuse_missing_collection(self._job, secrets=self._secrets)  # the nearer reason, where it is one
            raise

    def _run(self) -> Tally:
        left = [Part(self._job.plan.question, self._shard)]
        whole = True
        while left:
            part = left.pop()
            left.extend(reversed(self._halved(part, whole=whole) or ()))
            whole = False
        return self._total

    def _halved(self, part: Part, *, whole: bool) -> tuple[Part, Part] | None:
        """Search a part; or its halves, which are still to be searched, where it holds too much."""
        tally, total = Tally(), self._total
        repeated, added = total.repeated, len(self._spool) + self._spool.duplicates
        for page in search(part.question, part.shard, effort=self._job.effort, secrets=self._secrets):
            total.pages += 1
            total.traffic += Traffic(requests=page.requests, bytes=page.bytes)
            if total.pages == 1:
                check_first_page(self._job, page.items, secrets=self._secrets)
            if whole and page.matched is not None:
                total.matched = page.matched
            self._take(page, tally)
            if self._pages_deep(page, tally) and (parts := halves(part, self._job.plan.now)):
                # What came of it comes again.
                total.repeated = repeated + len(self._spool) + self._spool.duplicates - added
                return parts
        total.take(tally)
        return None

    def _pages_deep(self, page: Page, tally: Tally) -> bool:
        """An API pages slower the deeper it gets; any other source is read whole, once, whatever is asked for."""
        return isinstance(self._job.plan.question.source, StacSource) and max(page.matched or 0, tally.received) > self._most

    def _take(self, page: Page, tally: Tally) -> None:
        tally.received += len(page.failures)
        tally.failures.extend(page.failures)
        scenes = [scene for item in page.items for scene in self._answering(item, tally)]
        for scene in scenes:
            self._spool.add(scene)
        tally.types = reduce(merge, (tally.types, page.types, summarise(scene.properties for scene in scenes)))

    def _answering(self, item: Mapping[str, Any], tally: Tally) -> tuple[Scene, ...]:
        """The scene of an item, if it is usable, answers the question, and belongs to this shard. Another shard counts its own."""
        question, shards = self._job.plan.question, self._job.plan.shards
        scene, failures = scene_of(item, question)
        if scene is not None and not owns(question, shards, self._shard, scene.datetime, scene.bbox, meets=meets_cells(scene)):
            return ()
        again = item.get("id") in self._total.ids
        agrees = scene is None or answers(scene, item, question)
        if again:
            self._total.repeated += scene is not None and agrees
        else:
            tally.received += 1
            tally.disagreeing += not agrees
            tally.failures.extend(failures if agrees else ())
            tally.ids.add(str(item.get("id")))
        return (scene,) if scene is not None and agrees else ()


def meets_cells(scene: Scene) -> Callable[[Box], bool]:
    """Whether a scene's footprint meets a cell, judged as the server and `answers` do: by its geometry."""

    def meets_cell(cell: Box) -> bool:
        area = area_of(cell, None)
        return area is None or meets(area, shapely.from_wkb(scene.geometry), scene.bbox)

    return meets_cell
