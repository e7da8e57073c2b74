"""Builders, a reader, an operator and a collector over one simulated store, running the real protocol; and what must be true of it.

Each build is a read-modify-write: its version holds the runs of the version that it was built on, and its own. So a lost update, a
build that counts twice, a mix of two versions and a version that lost files are all visible in the content.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache, lru_cache
from itertools import count

from rasterloom.access.building import publish
from rasterloom.access.building.publish import Staged
from rasterloom.access.values import Traffic
from rasterloom.access.versions import commits, gc
from rasterloom.access.versions.commits import Commit, Counts, DataFile, latest, read_commit, version_key
from rasterloom.access.versions.heartbeat import Heartbeat, heartbeat_key
from rasterloom.access.versions.snapshots import rollback, window
from rasterloom.access.workspace.clock import Clock
from rasterloom.access.workspace.files import Workspace
from rasterloom.errors import RasterloomError, Unavailable
from tests.torture.simulation import Chaos, Disk, Killed, Scheduler, SimulatedWorkspace, clock_of

NAME = "c"
BUILDERS, BUILDS, ATTEMPTS = 3, 2, 8
PARTS = 2
"""Data files of a version."""
KEPT = 2
"""Snapshots that are kept, so few that there is garbage."""


@dataclass(frozen=True, slots=True)
class Outcome:
    seed: int
    points: int
    """Storage calls."""
    commits: int
    acknowledged: int
    violations: tuple[str, ...]


@dataclass(slots=True)
class World:
    """One store, its weather, and what the outside knows: who was told that he had succeeded, and what went wrong."""

    scheduler: Scheduler
    chaos: Chaos
    disk: Disk = field(default_factory=Disk)
    acknowledged: list[str] = field(default_factory=list[str])
    newest_acknowledged: int = 0
    violations: list[str] = field(default_factory=list[str])

    def workspace(self, chaos: Chaos | None = None) -> SimulatedWorkspace:
        """As a new process opens it."""
        return SimulatedWorkspace(self.scheduler, self.disk, chaos or self.chaos)

    @property
    def clock(self) -> Clock:
        return clock_of(self.scheduler)

    def acknowledge(self, made: Commit) -> None:
        self.acknowledged.append(made.run_id)
        self.newest_acknowledged = max(self.newest_acknowledged, made.version)


@contextmanager
def decoded_once() -> Iterator[None]:
    """The same bytes are the same commit: half of the time of a simulation would go into decoding them again."""
    kept, commits.decoded = commits.decoded, cache(commits.decoded)
    try:
        yield
    finally:
        commits.decoded = kept


def simulate(seed: int, *, rollbacks: bool = True) -> Outcome:
    """One history, and the judgement over what is left of it."""
    with decoded_once():
        return _simulate(seed, rollbacks=rollbacks)


def _simulate(seed: int, *, rollbacks: bool) -> Outcome:
    scheduler = Scheduler(seed)
    world = World(scheduler, Chaos.drawn(scheduler.random))
    for number in range(BUILDERS):
        scheduler.spawn(lambda name=f"b{number}": builder(name, world))
    scheduler.spawn(lambda: reader(world))
    scheduler.spawn(lambda: collector(world))
    if rollbacks:
        scheduler.spawn(lambda: operator(world))
    scheduler.run()
    log = judge(world, rollbacks=rollbacks)
    return Outcome(seed, scheduler.points, len(log), len(world.acknowledged), tuple(world.violations))


# --- processes --------------------------------------------------------------------------------------------------------------------


def builder(name: str, world: World) -> None:
    """A machine on which builds are started one after the other; one that failed or died is started again as a new run."""
    for number in range(BUILDS):
        for attempt in range(ATTEMPTS):
            if lives(world, lambda run=f"{name}-{number}-{attempt}": build(run, world)):
                break


def lives(world: World, process: Callable[[], object]) -> bool:
    """One process; True when it ended well. A death leaves what it had written, and nothing else of it."""
    try:
        process()
    except (RasterloomError, Killed):
        return False
    finally:
        world.scheduler.current.dead = False
    return True


def build(run: str, world: World) -> object:
    """Read, change, write, commit; again when overtaken. Garbage is collected at the end, as by publish."""
    workspace, turns = world.workspace(), count()
    heart = Heartbeat(workspace, NAME, run, clock=world.clock)
    heart.beat()

    def stage(parent: Commit | None) -> Staged:
        return Staged(draft_on(parent, run, f"{run}-{next(turns)}", workspace, world), None)

    made = publish.append(workspace, NAME, stage, beat=heart.check, clock=world.clock)
    world.acknowledge(made)
    workspace.delete(heartbeat_key(NAME, run))
    return gc.collect(workspace, NAME, clock=world.clock) if world.scheduler.random.random() < 0.3 else None


def draft_on(parent: Commit | None, run: str, directory: str, workspace: Workspace, world: World) -> Commit:
    """The files of a version, and its draft. A version on which this one is built may be superseded and collected meanwhile."""
    runs = [*runs_of(workspace, parent), run]
    content = json.dumps({"runs": runs}).encode()
    files = tuple(written(workspace, directory, part, content, rows=len(runs)) for part in range(PARTS))
    try:
        publish.verify_listing(workspace, version_key(NAME, directory), files)
    except Unavailable as error:
        if "does not hold" in error.message:
            world.violations.append(f"{run}: files of a live build vanished: {error.message}")
        raise
    return draft_of(run, directory, files, world.clock, rows=len(runs))


def written(workspace: Workspace, directory: str, part: int, data: bytes, *, rows: int) -> DataFile:
    path = f"part-{directory}-{part}"
    workspace.write(f"{version_key(NAME, directory)}/{path}", data)
    return DataFile(path=path, size=len(data), sha256=digest(data), rows=rows)


@lru_cache(1024)
def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def draft_of(run: str, directory: str, files: tuple[DataFile, ...], clock: Clock, *, rows: int) -> Commit:
    return Commit(
        version=0,
        parent=0,
        run_id=run,
        dir=directory,
        files=files,
        rows=rows,
        fingerprint="the same question",
        input_digest=run,
        keep_snapshots=KEPT,
        question={},
        spec={},
        counts=Counts(),
        traffic=Traffic(),
        software={},
        started=clock.now(),
        ended=clock.now(),
        closed=True,
        failures=None,
    )


class Lost(Unavailable):
    """A file of a version is gone, or is not what its commit says."""


def runs_of(workspace: Workspace, commit: Commit | None) -> list[str]:
    """What a version holds."""
    if commit is None:
        return []
    contents = [whole(workspace, commit, file) for file in commit.files]
    if any(content != contents[0] for content in contents):
        raise Lost(f"version {commit.version} is a mix")
    return list(json.loads(contents[0])["runs"])


def whole(workspace: Workspace, commit: Commit, file: DataFile) -> bytes:
    data = workspace.read(f"{version_key(NAME, commit.dir)}/{file.path}")
    if data is None or digest(data) != file.sha256:
        raise Lost(f"{file.path} of version {commit.version} is {'gone' if data is None else 'changed'}")
    return data


def reader(world: World) -> None:
    """Resolves once, then reads: it must find what it was promised, and never less than was acknowledged before it asked."""
    workspace, seen = world.workspace(Chaos(lost_answer=0.01)), 0
    for _ in range(5):
        world.clock.sleep(world.scheduler.random.uniform(0, 8))
        known = max(seen, world.newest_acknowledged)
        try:
            newest = latest(workspace, NAME)
            seen = newest.version if newest else 0
            if seen < known:
                world.violations.append(f"a reader was given version {seen} after {known} was acknowledged")
            runs_of(workspace, newest)
        except Lost as error:
            world.violations.append(f"a reader found that {error.message}")
        except Unavailable:
            continue


def collector(world: World) -> None:
    """Slow garbage collections: what they saw may be long out of date when they delete."""
    chaos = replace(world.chaos, crash=0.0, stall=world.chaos.stall * 4)
    for _ in range(2):
        world.clock.sleep(timedelta(hours=60).total_seconds() ** world.scheduler.random.random())
        lives(world, lambda: gc.collect(world.workspace(chaos), NAME, clock=world.clock))


def operator(world: World) -> None:
    """Rolls back to versions that may just be on their way out."""
    for _ in range(2):
        world.clock.sleep(timedelta(hours=40).total_seconds() ** world.scheduler.random.random())
        newest = world.newest_acknowledged
        if newest:
            number = world.scheduler.random.randint(max(1, newest - KEPT - 1), newest)
            lives(world, lambda number=number: roll_back(world, number))


def roll_back(world: World, number: int) -> None:
    made = rollback(world.workspace(), NAME, number, clock=world.clock)
    if made.run_id not in world.acknowledged:
        world.acknowledge(made)


# --- judgement --------------------------------------------------------------------------------------------------------------------


def judge(world: World, *, rollbacks: bool) -> list[Commit]:
    """Look at what is left when all are done, in calm weather; returns the log."""
    workspace, problems = Calm(Scheduler(0), world.disk, Chaos()), world.violations
    newest = latest(workspace, NAME)
    found = [read_commit(workspace, NAME, number) for number in range(1, newest.version + 1)] if newest else []
    log = [commit for commit in found if commit is not None]
    if [(commit.version, commit.parent) for commit in log] != [(number, number - 1) for number in range(1, len(found) + 1)]:
        problems.append("the log has gaps")
    runs = [commit.run_id for commit in log]
    problems += [f"{run} was committed twice" for run in sorted({run for run in runs if runs.count(run) > 1})]
    problems += [f"{run} was acknowledged and is not in the log" for run in set(world.acknowledged) - set(runs)]
    contents = contents_of(log)
    for commit in window(reversed(log)).values():
        try:
            content = runs_of(workspace, commit)
        except Lost as error:
            problems.append(f"of a kept version, {error.message}")
        else:
            problems += [] if content == contents[commit.dir] else [f"version {commit.version} holds {content}, not {contents[commit.dir]}"]
            if commit == newest and not rollbacks:
                problems += [f"{run} was acknowledged and is lost" for run in set(world.acknowledged) - set(content)]
    return log


def contents_of(log: Sequence[Commit]) -> dict[str, list[str]]:
    """Version directory -> what it must hold, by the log alone: what its predecessor held then, and the run itself."""
    contents: dict[str, list[str]] = {}
    current: list[str] = []
    for commit in log:
        current = contents.get(commit.dir, [*current, commit.run_id])
        contents[commit.dir] = current
    return contents


class Calm(SimulatedWorkspace):
    """The store after the storm: no turns to give."""

    def _arrive(self) -> None:
        return
