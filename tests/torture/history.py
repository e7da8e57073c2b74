"""Builders, readers and a collector over one simulated store, running the real commit log; and what must be true of their history.

Each build is a read-modify-write: its version holds the runs of the version that it was built on, and its own. So a lost update, a
build that counts twice, a mix of two versions and a version that lost files are all visible in the content.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta

from rasterloom.access import commits
from rasterloom.access.commits import Commit, Conflict, Counts, DataFile, latest, numbered, read_commit, version_key
from rasterloom.access.files import Workspace
from rasterloom.access.publish import verify_listing
from rasterloom.access.values import Traffic
from rasterloom.errors import RasterloomError, Unavailable
from tests.torture.simulation import EPOCH, Chaos, Disk, Scheduler, SimulatedWorkspace, VirtualTime

NAME = "c"
BUILDERS, BUILDS, ATTEMPTS = 3, 2, 12
PARTS = 2
"""Data files of a version."""


@dataclass(slots=True)
class History:
    """What the outside knows: which runs were told that they had succeeded, and what went wrong."""

    acknowledged: list[str] = field(default_factory=list[str])
    newest_acknowledged: int = 0
    violations: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class Outcome:
    seed: int
    points: int
    """Storage calls."""
    commits: int
    acknowledged: int
    violations: tuple[str, ...]


Collector = Callable[[Workspace, Scheduler], None]


def simulate(seed: int, collect: Collector | None = None) -> Outcome:
    """One history: three builders, a reader and a collector, then the judgement over what is left."""
    scheduler, disk, history = Scheduler(seed), Disk(), History()
    chaos = Chaos.drawn(scheduler.random)
    with virtual(scheduler):
        for number in range(BUILDERS):
            scheduler.spawn(f"builder-{number}", lambda name=f"b{number}": builder(name, scheduler, disk, chaos, history, collect))
        scheduler.spawn("reader", lambda: reader(scheduler, disk, history))
        if collect is not None:
            scheduler.spawn("collector", lambda: collector(scheduler, disk, chaos, collect))
        scheduler.run()
        count = judge(disk, history)
    return Outcome(seed, scheduler.points, count, len(history.acknowledged), tuple(history.violations))


@contextmanager
def virtual(scheduler: Scheduler) -> Iterator[None]:
    """Time and chance of the commit log come from the scheduler."""
    kept = commits.time, commits.random
    commits.time, commits.random = VirtualTime(scheduler), random.Random(scheduler.random.random())  # type: ignore[assignment]
    try:
        yield
    finally:
        commits.time, commits.random = kept


# --- tasks ------------------------------------------------------------------------------------------------------------------------


def builder(name: str, scheduler: Scheduler, disk: Disk, chaos: Chaos, history: History, collect: Collector | None) -> None:
    """A machine on which builds are started one after the other; one that died is started again as a new run."""
    for number in range(BUILDS):
        for attempt in range(ATTEMPTS):
            if process(f"{name}-{number}-{attempt}", scheduler, disk, chaos, history):
                break
        if collect is not None and scheduler.random.random() < 0.5:
            attempt_to_collect(SimulatedWorkspace(scheduler, disk, chaos), scheduler, collect)


def process(run: str, scheduler: Scheduler, disk: Disk, chaos: Chaos, history: History) -> bool:
    """One run; True when it was told that it succeeded. A death leaves what it had written, and nothing else of it."""
    task = scheduler.current
    try:
        made = build(run, SimulatedWorkspace(scheduler, disk, chaos), scheduler, history)
    except (Unavailable, Conflict):
        return False
    except BaseException as error:
        if not task.dead or isinstance(error, RasterloomError):
            raise
        task.dead = False
        return False
    history.acknowledged.append(run)
    history.newest_acknowledged = max(history.newest_acknowledged, made.version)
    return True


def build(run: str, workspace: Workspace, scheduler: Scheduler, history: History) -> Commit:
    """Read, change, write, commit; again upon a conflict."""
    for turn in range(ATTEMPTS):
        parent = latest(workspace, NAME)
        draft = staged(run, f"{run}.{turn}", workspace, parent, history)
        try:
            return commits.commit(workspace, NAME, numbered(draft, parent))
        except Conflict:
            scheduler.sleep(scheduler.random.uniform(0, 1))
    raise Unavailable("too many conflicts")


def staged(run: str, directory: str, workspace: Workspace, parent: Commit | None, history: History) -> Commit:
    commits.start_heartbeat(workspace, NAME, run, directory)
    runs = [*runs_of(workspace, parent), run]
    files = tuple(written(workspace, directory, part, runs) for part in range(PARTS))
    try:
        verify_listing(workspace, version_key(NAME, directory), files)
    except Unavailable as error:
        if "does not hold" in error.message:
            history.violations.append(f"{run}: files of a live build vanished: {error.message}")
        raise
    return draft(run, directory, files, rows=len(runs))


def runs_of(workspace: Workspace, commit: Commit | None) -> list[str]:
    """What a version holds. Raises Unavailable where a file of it is gone or is not what the commit says."""
    if commit is None:
        return []
    contents = [whole(workspace, commit, file) for file in commit.files]
    if any(content != contents[0] for content in contents):
        raise Unavailable(f"version {commit.version} is a mix")
    return list(json.loads(contents[0])["runs"])


def whole(workspace: Workspace, commit: Commit, file: DataFile) -> bytes:
    data = workspace.read(f"{version_key(NAME, commit.dir)}/{file.path}")
    if data is None or hashlib.sha256(data).hexdigest() != file.sha256:
        raise Unavailable(f"version {commit.version}: {file.path} is {'gone' if data is None else 'changed'}")
    return data


def written(workspace: Workspace, directory: str, part: int, runs: list[str]) -> DataFile:
    data = json.dumps({"runs": runs}).encode()
    path = f"part-{directory}-{part}"
    workspace.write(f"{version_key(NAME, directory)}/{path}", data)
    return DataFile(path=path, size=len(data), sha256=hashlib.sha256(data).hexdigest(), rows=len(runs))


def draft(run: str, directory: str, files: tuple[DataFile, ...], *, rows: int) -> Commit:
    return Commit(
        version=0,
        parent=0,
        run_id=run,
        dir=directory,
        files=files,
        rows=rows,
        fingerprint=run,
        question={},
        spec={},
        counts=Counts(),
        traffic=Traffic(),
        software={},
        started=EPOCH,
        ended=commits.datetime.now(commits.UTC),
        closed=True,
        failures=None,
    )


def reader(scheduler: Scheduler, disk: Disk, history: History) -> None:
    """Resolves once, then reads: it must find what it was promised, and never less than was acknowledged before it asked."""
    workspace, seen = SimulatedWorkspace(scheduler, disk, Chaos(lost_answer=0.01)), 0
    for _ in range(12):
        scheduler.sleep(scheduler.random.uniform(0, 5))
        known = max(seen, history.newest_acknowledged)
        try:
            newest = latest(workspace, NAME)
        except Unavailable:
            continue
        seen = newest.version if newest else 0
        if seen < known:
            history.violations.append(f"a reader was given version {seen} after {known} was acknowledged")
        read(workspace, newest, history)


def read(workspace: Workspace, newest: Commit | None, history: History) -> None:
    try:
        runs_of(workspace, newest)
    except Unavailable as error:
        if "version" in error.message:
            history.violations.append(f"a reader found that {error.message}")


def collector(scheduler: Scheduler, disk: Disk, chaos: Chaos, collect: Collector) -> None:
    workspace = SimulatedWorkspace(scheduler, disk, replace(chaos, crash=0.0, stall=chaos.stall * 4))
    for _ in range(4):
        scheduler.sleep(timedelta(hours=30).total_seconds() ** scheduler.random.random())
        attempt_to_collect(workspace, scheduler, collect)


def attempt_to_collect(workspace: Workspace, scheduler: Scheduler, collect: Collector) -> None:
    try:
        collect(workspace, scheduler)
    except RasterloomError:
        return


# --- judgement --------------------------------------------------------------------------------------------------------------------


def judge(disk: Disk, history: History) -> int:
    """Look at what is left when all are done, in calm weather; returns the number of commits."""
    bare = Scheduler(0)
    workspace = Calm(bare, disk, Chaos())
    newest = latest(workspace, NAME)
    count = newest.version if newest else 0
    log = [read_commit(workspace, NAME, number) for number in range(1, count + 1)]
    problems = history.violations
    if any(commit is None or commit.version != number or commit.parent != number - 1 for number, commit in enumerate(log, 1)):
        problems.append("the log has gaps")
    runs = [commit.run_id for commit in log if commit is not None]
    problems += [f"{run} was committed twice" for run in sorted({run for run in runs if runs.count(run) > 1})]
    problems += [f"{run} was acknowledged and is lost" for run in history.acknowledged if run not in runs]
    try:
        content = runs_of(workspace, newest)
    except Unavailable as error:
        problems.append(f"the newest {error.message}")
    else:
        problems += [] if content == runs else [f"the content {content} is not the log {runs}"]
    return count


class Calm(SimulatedWorkspace):
    """The store after the storm: no turns to give."""

    def _arrive(self) -> None:
        return
