"""A world in which time and chance are ours: greenlets take turns over one simulated store, and a seed decides everything.

Each storage call is a point where another task may go on instead, where the process may die, where the answer may be lost after the
call was done, or where it may be refused without having been done. Tasks are starved on purpose: a builder that stops for a while
between two calls is what finds the defects that even turns do not. The same seed gives the same history.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NoReturn

import greenlet
from pyarrow import fs

from rasterloom.access.workspace.clock import Clock
from rasterloom.access.workspace.files import Entry, Occupied, Workspace
from rasterloom.access.workspace.files import checked as really_checked
from rasterloom.errors import Unavailable

checked = cache(really_checked)
EPOCH = datetime(2024, 6, 1, tzinfo=UTC)
CALL_SECONDS = 0.02
"""Virtual time that one storage call takes."""


class Killed(BaseException):
    """The process of this task is gone. Not an Exception: nothing in the code under test may handle it."""


@dataclass(frozen=True, slots=True)
class Chaos:
    """Chances per storage call."""

    crash: float = 0.0
    lost_answer: float = 0.0
    """Done, but the caller hears of a broken connection, or, of a create, that the key is taken."""
    refused: float = 0.0
    """Not done, and says so."""
    false_conflict: float = 0.0
    """A create that was not done and says that the key is taken."""
    stall: float = 0.0
    """The process stands still for a long while."""
    longest_stall: timedelta = timedelta(hours=20)

    @classmethod
    def drawn(cls, rng: random.Random) -> Chaos:
        """Some seeds are calm, some are stormy."""
        storm = rng.choice([0.0, 0.3, 1.0, 3.0])
        return cls(crash=0.004 * storm, lost_answer=0.02 * storm, refused=0.02 * storm, false_conflict=0.03 * storm, stall=0.004 * storm)


@dataclass(slots=True, eq=False)
class Task:
    """One process of the simulation."""

    run: greenlet.greenlet
    weight: float = 1.0
    wakes: float = 0.0
    dead: bool = False


class Scheduler:
    """Gives the turn to one task at a time; weights that differ by powers of ten starve some of them for a while."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.seconds = 0.0
        self.points = 0
        self._tasks: list[Task] = []
        self._main = greenlet.getcurrent()
        self._turn: Task | None = None

    @property
    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.seconds)

    @property
    def current(self) -> Task:
        assert self._turn is not None
        return self._turn

    def spawn(self, body: Callable[[], None]) -> None:
        self._tasks.append(Task(greenlet.greenlet(body, parent=self._main)))

    def run(self) -> None:
        """Until all tasks have ended. A task that dies is dropped; any other error is raised here."""
        while self._tasks:
            self._turn = task = self._chosen()
            try:
                task.run.switch()
            except Killed:
                task.dead = True
            if task.run.dead or task.dead:
                self._tasks.remove(task)

    def sleep(self, seconds: float) -> None:
        self.current.wakes = self.seconds + seconds
        self._main.switch()

    def point(self) -> None:
        """Another may go on now."""
        self.points += 1
        self._main.switch()

    def _chosen(self) -> Task:
        if self.random.random() < 0.06:
            for task in self._tasks:
                task.weight = 10 ** self.random.uniform(-4, 0)
        ready = [task for task in self._tasks if task.wakes <= self.seconds]
        if not ready:
            self.seconds = min(task.wakes for task in self._tasks)
            ready = [task for task in self._tasks if task.wakes <= self.seconds]
        return ready[0] if len(ready) == 1 else self.random.choices(ready, [task.weight for task in ready])[0]


@dataclass(slots=True)
class Stored:
    data: bytes
    modified: datetime


@dataclass(slots=True)
class Disk:
    """What every process sees, and what stays when all of them are dead."""

    files: dict[str, Stored] = field(default_factory=dict[str, Stored])


class SimulatedWorkspace(Workspace):
    """A workspace as one process sees it. All calls are atomic but `delete`, which takes its keys one by one, as stores do."""

    def __init__(self, scheduler: Scheduler, disk: Disk, chaos: Chaos) -> None:
        self.uri = "s3://simulated/ws"
        self.scheduler, self.disk, self.chaos = scheduler, disk, chaos

    def read(self, key: str) -> bytes | None:
        self._arrive()
        self._answer()
        stored = self.disk.files.get(checked(key))
        return None if stored is None else stored.data

    def write(self, key: str, data: bytes) -> None:
        self._arrive()
        self._put(key, data)
        self._answer()

    def create(self, key: str, data: bytes) -> None:
        self._arrive()
        if self._happens(self.chaos.false_conflict) or checked(key) in self.disk.files:
            raise Occupied(key)
        self._put(key, data)
        if self._happens(self.chaos.lost_answer):
            raise Occupied(key)
        self._answer()

    @contextmanager
    def open_writer(self, key: str) -> Generator[BinaryIO]:
        buffer = BytesIO()
        yield buffer
        self.write(key, buffer.getvalue())

    def list(self, prefix: str) -> Iterator[Entry]:
        self._arrive()
        self._answer()
        start = f"{checked(prefix)}/" if prefix else ""
        files = self.disk.files
        keys = sorted(key for key in files if key.startswith(start))
        return iter([Entry(key=key, size=len(files[key].data), modified=files[key].modified) for key in keys])

    def children(self, prefix: str = "") -> list[str]:
        start = f"{prefix}/" if prefix else ""
        return sorted({entry.key[len(start) :].split("/")[0] for entry in self.list(prefix) if "/" in entry.key[len(start) :]})

    def size(self, key: str) -> int | None:
        data = self.read(key)
        return None if data is None else len(data)

    def delete(self, prefix: str) -> int:
        keys = [entry.key for entry in self.list(prefix)] + [prefix] * (prefix in self.disk.files)
        for key in keys:
            self._arrive()
            self.disk.files.pop(key, None)
            self._answer()
        return len(keys)

    def copy(self, source: str, target: str) -> None:
        self._arrive()
        if source not in self.disk.files:
            raise Unavailable(f"{source} is gone")
        self._put(target, self.disk.files[source].data)
        self._answer()

    def sync(self, prefix: str) -> None:
        self._arrive()

    def local_path(self, key: str) -> Path | None:
        checked(key)
        return None

    def filesystem(self) -> fs.FileSystem:
        raise NotImplementedError

    def path_of(self, key: str) -> str:
        return key

    def _put(self, key: str, data: bytes) -> None:
        self.disk.files[checked(key)] = Stored(data, self.scheduler.now)

    def _happens(self, chance: float) -> bool:
        return chance > 0 and self.scheduler.random.random() < chance

    def _arrive(self) -> None:
        """Before the call is done: the turn may pass on, the process may die or stop, the call may be refused."""
        scheduler = self.scheduler
        scheduler.seconds += CALL_SECONDS
        scheduler.point()
        if scheduler.current.dead or self._happens(self.chaos.crash):
            self._die()
        if self._happens(self.chaos.stall):
            longest = self.chaos.longest_stall.total_seconds()
            scheduler.sleep(longest ** scheduler.random.random())
        if self._happens(self.chaos.refused):
            raise Unavailable("503 Slow Down", remedy="try again later")

    def _answer(self) -> None:
        """After the call was done: the process may die before it hears of it, or the answer may be lost."""
        if self._happens(self.chaos.crash):
            self._die()
        if self._happens(self.chaos.lost_answer):
            raise Unavailable("connection reset", remedy="try again later")

    def _die(self) -> NoReturn:
        """Whatever `finally` blocks still try in this task dies too."""
        self.scheduler.current.dead = True
        raise Killed


def clock_of(scheduler: Scheduler) -> Clock:
    """Waiting gives the turn away."""
    return Clock(now=lambda: scheduler.now, sleep=scheduler.sleep, jitter=scheduler.random.uniform)
