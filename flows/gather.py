"""The order in which a build's searches and header batches run: bounded, and headers as soon as there are scenes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from queue import SimpleQueue
from typing import Any

from prefect.futures import PrefectFuture
from prefect.tasks import Task

from rasterloom.access.build import Job, Recalled, recall
from rasterloom.access.values import BatchRef, ItemsRef, SearchRef, Traffic
from rasterloom.flows.runners import Pool
from rasterloom.specs.question import Shard
from rasterloom.tasks.steps import index, search

SEARCHES_AT_ONCE = 4
"""Searches under way; STAC APIs answer a handful of clients well and limit the rate of more."""
RECALLS_AT_ONCE = 8
"""Windows that are looked up in the workspace at once."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Place:
    """Where a result belongs: the shard, and the batch in it (-1 is the search itself). Makes the order of results that of the plan."""

    shard: int
    batch: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Where one of several runs that gather the same begins in the plan, and which way it goes.

    The plan is cut into as many parts as there are pairs of runs; the two of a pair begin at the ends of their part and meet. All of
    them go once round the whole plan, and do what nobody has done before: one that is killed is done without.
    """

    number: int = 0
    """0-based; even ones go forward."""
    of: int = 1

    def distance(self, position: float, shards: int) -> float:
        """From the beginning of this share to a position in a plan of `shards` shards, in 0..shards."""
        forward, pair = self.number % 2 == 0, self.number // 2
        start = (pair if forward else pair + 1) * shards / -(-self.of // 2)
        return (position - start) % shards if forward else (start - position) % shards


ALONE = Share()


@dataclass(slots=True)
class Gathered:
    """What the searches and batches gave so far, and what this run asked the network for it."""

    searches: dict[Place, SearchRef] = field(default_factory=dict[Place, SearchRef])
    batches: dict[Place, BatchRef] = field(default_factory=dict[Place, BatchRef])
    batches_found: int = 0
    remembered: int = 0
    search_traffic: Traffic = field(default_factory=Traffic)
    header_traffic: Traffic = field(default_factory=Traffic)

    def in_order(self) -> tuple[list[SearchRef], list[BatchRef]]:
        return [self.searches[place] for place in sorted(self.searches)], [self.batches[place] for place in sorted(self.batches)]


class Gathering:
    """Runs the tasks of one job on a pool; used once, from the flow's thread."""

    def __init__(self, job: Job, pool: Pool, *, fresh: bool, told: Callable[[Gathered], None], share: Share = ALONE) -> None:
        """`fresh`: remember, but answer nothing from memory. `told` is called after every task."""
        self._job = job
        self._pool = pool
        self._told = told
        self._search = tuned(pool.prepared(search), job, fresh=fresh)
        self._index = tuned(pool.prepared(index), job, fresh=fresh)
        self._share = share
        self._shards: list[Shard] = []
        """To be searched, the next one last."""
        self._items: list[tuple[float, Place, ItemsRef]] = []
        """A heap, the next one first."""
        self._first_range: dict[str, int] = {}
        self._running: dict[Any, Place] = {}
        self._searching = 0
        self._ended: SimpleQueue[PrefectFuture[Any]] = SimpleQueue()
        self._gathered = Gathered()

    def recall(self) -> int:
        """Take what the workspace remembers, and count what is left: shards to search, and batches known so far.

        Windows that are remembered need no task: a refresh of years has work in the last weeks alone.
        """
        shards = self._job.plan.shards
        with ThreadPoolExecutor(RECALLS_AT_ONCE) as pool:
            recalled = list(pool.map(lambda shard: recall(self._job, shard), shards))
        left = [shard for shard, known in zip(shards, recalled, strict=True) if known is None]
        self._shards = sorted(left, key=lambda shard: self._distance(shard.index + 0.5), reverse=True)
        for shard, known in zip(shards, recalled, strict=True):
            if known is not None:
                self._take_recalled(shard, known)
        self._told(self._gathered)
        return len(self._shards) + len(self._items)

    def run(self) -> Gathered:
        """Everything that is left, or the first error of a task."""
        self._submit()
        while self._running:
            self._settle(self._ended.get())
            self._submit()
            self._told(self._gathered)  # last: who listens may ask Prefect's API, and no thread is to wait for that
        return self._gathered

    def _distance(self, position: float) -> float:
        return self._share.distance(position, len(self._job.plan.shards))

    def _add(self, place: Place, items: ItemsRef, *, of: int) -> None:
        """A batch whose headers are to be read; `of`: batches of its shard."""
        heappush(self._items, (self._distance(place.shard + (place.batch + 0.5) / of), place, items))

    def _take_recalled(self, shard: Shard, known: Recalled) -> None:
        self._gathered.searches[Place(shard=shard.index)] = known.search
        self._gathered.batches_found += len(known.batches)
        for number, (items, records) in enumerate(zip(known.search.batches, known.batches, strict=True)):
            place = Place(shard=shard.index, batch=number)
            if records is None:
                self._add(place, items, of=len(known.batches))
            else:
                self._take_batch(place, records, Traffic())
        self._gathered.remembered += 1 + sum(records is not None for records in known.batches)

    def _submit(self) -> None:
        while self._shards and self._searching < SEARCHES_AT_ONCE:
            shard = self._shards.pop()
            self._searching += 1
            self._follow(Place(shard=shard.index), self._pool.submit(self._search, job=self._job, shard=shard))
        while self._items and len(self._running) - self._searching < self._pool.batches:
            job = self._job_of_next_batch()
            _, place, items = heappop(self._items)
            self._follow(place, self._pool.submit(self._index, job=job, items=items, first_range=dict(self._first_range)))

    def _job_of_next_batch(self) -> Job:
        """The job with its share of `max_concurrent`, which is a limit of a whole process."""
        alone = len(self._items) == 1 and not self._running and not self._shards
        effort = self._job.effort
        share = effort.max_concurrent if alone else max(1, effort.max_concurrent // self._pool.at_once)
        return replace(self._job, effort=replace(effort, max_concurrent=share))

    def _follow(self, place: Place, future: PrefectFuture[Any]) -> None:
        self._running[future.task_run_id] = place
        future.add_done_callback(self._ended.put)

    def _settle(self, future: PrefectFuture[Any]) -> None:
        place = self._running.pop(future.task_run_id)
        if place.batch < 0:
            self._searching -= 1
        result = self._pool.result(future)
        result = result.remembered() if future.state.name == "Cached" else result  # a record holds the traffic of its day
        traffic = result.traffic
        self._gathered.remembered += traffic == Traffic()
        if isinstance(result, SearchRef):
            self._take_search(place, result, traffic)
        else:
            self._take_batch(place, result, traffic)

    def _take_search(self, place: Place, found: SearchRef, traffic: Traffic) -> None:
        self._gathered.searches[place] = found
        self._gathered.search_traffic += traffic
        self._gathered.batches_found += len(found.batches)
        for number, items in enumerate(found.batches):
            self._add(Place(shard=place.shard, batch=number), items, of=len(found.batches))

    def _take_batch(self, place: Place, records: BatchRef, traffic: Traffic) -> None:
        self._gathered.batches[place] = records
        self._gathered.header_traffic += traffic
        for key, needed in records.first_range.items():
            self._first_range[key] = max(needed, self._first_range.get(key, 0))


def tuned(step: Task[Any, Any], job: Job, *, fresh: bool) -> Task[Any, Any]:
    """The task as this job wants it: no more tries than the spec allows; `fresh`: refresh what is remembered."""
    retries = min(job.effort.retries, step.retries)
    return step.with_options(retries=retries, refresh_cache=fresh)
