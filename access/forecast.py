"""What a run would find and ask for: its searches made now, and nothing written.

The promise holds for the next run, while the source and the workspace stay as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from rasterloom.access.build import known_search
from rasterloom.access.building.batches import missing_hrefs
from rasterloom.access.building.decide import Decision
from rasterloom.access.building.job import Job
from rasterloom.access.building.searching import found_scenes
from rasterloom.access.cache.scenes import Rival, best_of, group_of, rival_of
from rasterloom.access.cache.staging import items_ref, read_items
from rasterloom.access.credentials.secrets import Secrets, environment_secrets
from rasterloom.access.items.scene import still_answers
from rasterloom.access.sources.stac import IDS_AT_ONCE
from rasterloom.access.values import Asset, Scene
from rasterloom.access.versions.commits import Commit, latest
from rasterloom.access.workspace.place import open_workspace
from rasterloom.errors import Unavailable
from rasterloom.specs.question import CatalogSource, Shard, StacSource


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardForecast:
    """What one shard holds and costs."""

    shard: Shard
    scenes: int
    new: int
    """Scenes that the committed version has not."""
    changed: int
    """Scenes that it has with another `updated`, or with other files."""
    pages: int
    """Search pages, or documents of a source that is no API; 0 where the search is remembered."""
    headers: int
    """Files whose header is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What the next run finds and asks for."""

    shards: tuple[ShardForecast, ...]
    gone: int
    """Scenes of the committed version that answer the question and were not found."""
    pages: int
    """Search pages: those of the shards, and those that ask by id for what is gone."""
    headers: int

    def total(self, name: str) -> int:
        """Sum of one number over the shards."""
        return sum(getattr(shard, name) for shard in self.shards)


def forecast(job: Job, decision: Decision, *, secrets: Secrets = environment_secrets) -> Forecast:
    """Search what a run would search, compare with the committed version, and count. Raises as a search does."""
    if decision.action in ("reuse", "derive"):
        return Forecast(shards=(), gone=0, pages=0, headers=0)
    look = _Look(job, secrets)
    shards = look.without_beaten([look.at(shard) for shard in job.plan.shards])
    gone = look.gone()
    pages, headers = (sum(counts) for counts in zip(*((shard.pages, shard.headers) for shard in shards), strict=True))
    asked = _asked_by_id(job, len(gone), pages) if gone and decision.action in ("refresh", "extend") else 0
    return Forecast(shards=shards, gone=len(gone), pages=pages + asked, headers=headers)


def _asked_by_id(job: Job, gone: int, pages: int) -> int:
    """What it costs to ask the source for items that no search gave. A catalog is walked again, and extents leave nothing out then."""
    match job.plan.question.source:
        case StacSource():
            return -(-gone // IDS_AT_ONCE)
        case CatalogSource():
            return -(-pages // len(job.plan.shards))
        case _:
            return 0


_Files = tuple[str | None, tuple[Asset, ...]]
"""What tells one edition of a scene from the next."""


class _Look:
    """One look at the source, beside what the committed version has."""

    def __init__(self, job: Job, secrets: Secrets) -> None:
        self._job, self._secrets = job, secrets
        self._workspace = open_workspace(job.workspace)
        self._committed = {scene.id: scene for scene in self._scenes_of(latest(self._workspace, job.plan.name))}
        self._bands = {band.code for band in job.plan.question.bands}
        self._found: set[str] = set()
        self._rivals: list[_Rival] = []

    def at(self, shard: Shard) -> ShardForecast:
        with self._batches(shard) as found:
            scenes = new = changed = headers = 0
            for batch in found.batches:
                scenes += len(batch)
                new += sum(scene.id not in self._committed for scene in batch)
                changed += sum(self._is_changed(scene) for scene in batch)
                headers += len(missing_hrefs(self._workspace, self._job, batch, items_ref(self._workspace, batch)))
                self._note(batch, shard)
            return ShardForecast(shard=shard, scenes=scenes, new=new, changed=changed, pages=found.pages, headers=headers)

    def without_beaten(self, shards: Sequence[ShardForecast]) -> tuple[ShardForecast, ...]:
        """Each shard without the scenes whose place a better one of their group takes, which lies in another shard."""
        best = best_of(self._rivals, lambda each: each.rival)
        beaten = [each for each in self._rivals if best[each.rival.group] is not each]
        lost = Counter(each.shard for each in beaten)
        new = Counter(each.shard for each in beaten if each.is_new)
        changed = Counter(each.shard for each in beaten if each.is_changed)
        at = [one.shard.index for one in shards]
        return tuple(
            replace(one, scenes=one.scenes - lost[index], new=one.new - new[index], changed=one.changed - changed[index])
            for one, index in zip(shards, at, strict=True)
        )

    def gone(self) -> list[Scene]:
        """Scenes of the committed version that the searches should have found, without those that others of their group replace."""
        question = self._job.plan.question
        missing = [scene for name, scene in self._committed.items() if name not in self._found]
        answering = [scene for scene in missing if still_answers(scene, question)]
        groups = {each.rival.group for each in self._rivals}
        return [scene for scene in answering if question.dedupe is None or group_of(scene, question.dedupe) not in groups]

    @contextmanager
    def _batches(self, shard: Shard) -> Generator[_Batches]:
        known = known_search(self._workspace, self._job, shard)
        if known is not None:
            yield _Batches(0, (read_items(self._workspace, items) for items in known.batches))
            return
        with found_scenes(self._job, shard, secrets=self._secrets) as found:
            # Only an API has pages; of other sources their documents are counted, and files of this machine are none.
            is_api = isinstance(self._job.plan.question.source, StacSource)
            yield _Batches(found.tally.pages if is_api else found.tally.traffic.requests, found.batches())

    def _scenes_of(self, commit: Commit | None) -> Iterator[Scene]:
        """What the version was made of, as far as the cache still has it; what it carried counts where it would be asked for again."""
        if commit is None:
            return
        carried = commit.carried if self._job.effort.deleted == "drop" else ()
        for items in (*carried, *(items for searched in commit.searched for items in searched.items)):
            try:
                yield from read_items(self._workspace, items)
            except Unavailable:
                continue

    def _is_changed(self, scene: Scene) -> bool:
        before = self._committed.get(scene.id)
        return before is not None and self._edition(before) != self._edition(scene)

    def _edition(self, scene: Scene) -> _Files:
        """Bands that the question leaves out make no difference."""
        assets = sorted((asset for asset in scene.assets if asset.band in self._bands), key=lambda asset: asset.band)
        return scene.updated, tuple(assets)

    def _note(self, scenes: Sequence[Scene], shard: Shard) -> None:
        self._found.update(scene.id for scene in scenes)
        dedupe = self._job.plan.question.dedupe
        if dedupe is None:
            return
        for scene in scenes:
            is_new = scene.id not in self._committed
            self._rivals.append(_Rival(shard.index, rival_of(scene, dedupe), is_new, self._is_changed(scene)))


@dataclass(frozen=True, slots=True)
class _Rival:
    """A scene of a shard, where `dedupe` decides between them."""

    shard: int
    rival: Rival
    is_new: bool
    is_changed: bool


@dataclass(frozen=True, slots=True)
class _Batches:
    """The scenes of one shard, as a run would stage them."""

    pages: int
    batches: Iterator[Sequence[Scene]]
