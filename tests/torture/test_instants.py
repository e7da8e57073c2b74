"""Death at random instants of builds, refreshes, exports and rollbacks, while readers of three engines look on."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.dataset as ds
import pytest

from rasterloom.access.versions.commits import latest, read_commit
from rasterloom.access.versions.verify import verify
from rasterloom.access.workspace.place import open_workspace
from tests.torture.machine import Machine, Order, Report
from tests.torture.rows import NAME, generation_of
from tests.torture.scale import INSTANTS, SECONDS
from tests.torture.state import State, generation_in, state_of
from tests.torture.upstream import Upstream

LIVES = 4
"""Collections that the many instants are shared out to."""
READERS = Path(__file__).with_name("readers.py")


@dataclass
class Seen:
    """What a reader tells at its end."""

    engine: str
    good: int = 0
    faults: list[str] = field(default_factory=list[str])


def interpreters() -> dict[str, str]:
    """Engine -> interpreter that has it."""
    named = os.environ.get("RASTERET_PYTHON")
    here = sys.executable if importlib.util.find_spec("rasteret") else None
    found = {"pyarrow": sys.executable, "duckdb": sys.executable, "rasteret": named or here}
    return {engine: python for engine, python in found.items() if python}


@contextmanager
def watching(workspace: str) -> Iterator[list[Seen]]:
    """Readers poll during the block; what they saw is filled in at its end."""
    seen: list[Seen] = []
    with ExitStack() as stack:
        for engine, python in interpreters().items():
            stack.enter_context(one_reader(engine, python, workspace, seen))
        yield seen


@contextmanager
def one_reader(engine: str, python: str, workspace: str, seen: list[Seen]) -> Iterator[None]:
    process = subprocess.Popen(
        [python, str(READERS), engine, workspace], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    try:
        yield
    finally:
        told, _ = process.communicate("stop\n", timeout=300)
        seen.append(Seen(engine, **json.loads(told)))


class Session:
    """One workspace that lives through many disasters."""

    def __init__(self, upstream: Upstream, machine: Machine, place: Path, seed: int) -> None:
        self.upstream, self.machine, self.place = upstream, machine, place
        self.workspace = str(place / "ws")
        self.rng = random.Random(seed)
        self.usual = {"export": 0.1, "rollback": 0.05}
        """Seconds that a step takes, learnt as it goes: so that an instant falls into it."""
        self.instants = self.killed = self.exports = 0
        upstream.become(0)
        self.finish("build", {"spec": upstream.spec()})
        self.state = state_of(self.workspace)

    def is_to_go_on(self, instants: int) -> bool:
        """Until there were so many, and enough of them fell into the work: on a machine that has just become faster few do."""
        return self.instants < instants or (self.killed <= self.instants // 3 and self.instants < 10 * instants)

    def disaster(self) -> None:
        """Begin something, die at some instant of it, look, and let the next run finish."""
        self.instants += 1
        step = self.rng.choice(["build", "build", "build", "export", "rollback"])
        before, generations = self.state, {self.state.generation}
        arguments = self.arguments(step)
        if step == "build":
            self.upstream.become(self.upstream.generation + 1)
            generations |= {self.upstream.generation}
        elif step == "rollback":
            generations |= {self.generation_at(arguments["version"])}
        instant = self.rng.uniform(0, 1.1) * self.usual[step]
        report = self.machine.run(Order(step=step, workspace=self.workspace, arguments=arguments, kill_after=instant))
        self.killed += report.killed
        self.learn(step, report)
        left = state_of(self.workspace)
        assert before.version <= left.version <= before.version + 1, (step, before, left)
        assert left.generation in generations, (step, before, left)
        assert step != "export" or left == before
        if step == "export":
            self.assert_export(Path(arguments["target"]))
        self.finish("build", {"spec": self.upstream.spec()})
        self.state = state_of(self.workspace)
        assert self.state.generation == self.upstream.generation

    def arguments(self, step: str) -> dict[str, object]:
        if step == "export":
            self.exports += 1
            return {"target": str(self.place / f"export-{self.exports}")}
        if step == "rollback":
            return {"version": self.rng.randint(max(1, self.state.version - 4), self.state.version)}
        return {"spec": self.upstream.spec()}

    def generation_at(self, version: object) -> int | None:
        place = open_workspace(self.workspace)
        assert isinstance(version, int)
        commit = read_commit(place, NAME, version)
        assert commit is not None
        return generation_in(place, commit)

    def assert_export(self, target: Path) -> None:
        """Whole or not there."""
        if target.exists():
            table = ds.dataset(target, partitioning="hive").to_table(["id", "generation"])
            rows = dict(zip(table["id"].to_pylist(), table["generation"].to_pylist(), strict=True))
            assert generation_of(rows) == self.state.generation

    def finish(self, step: str, arguments: dict[str, object]) -> None:
        report = self.machine.run(Order(step=step, workspace=self.workspace, arguments=arguments))
        assert report.result is not None, report
        self.learn(step, report)

    def learn(self, step: str, report: Report) -> None:
        if not report.killed:
            assert report.result is not None, report
            self.usual[step] = (self.usual[step] + report.seconds) / 2 if step in self.usual else report.seconds

    def assert_bounded(self) -> None:
        """After garbage collection there are the kept versions and nothing of the dead."""
        self.finish("gc", {"days_later": 30.0})
        newest = latest(open_workspace(self.workspace), NAME)
        assert newest is not None
        home = Path(self.workspace, NAME)
        assert len(list((home / "_versions").iterdir())) <= newest.keep_snapshots
        litter = [*home.rglob("*.tmp"), *(home / "_inflight").iterdir()]
        assert litter == []
        report = verify(open_workspace(self.workspace), NAME)
        assert [finding for finding in report.findings if not finding.harmless] == []
        assert state_of(self.workspace) == self.state


def torture(session: Session, instants: int) -> list[Seen]:
    ends = time.monotonic() + SECONDS
    with watching(session.workspace) as seen:
        while session.is_to_go_on(instants) and time.monotonic() < ends:
            session.disaster()
    session.assert_bounded()
    assert session.killed > session.instants // 3, "some instants must fall into the work"
    assert {one.engine: one.faults for one in seen} == {engine: [] for engine in interpreters()}
    assert all(one.good for one in seen)
    return seen


@pytest.mark.slow
def test_random_instants(upstream: Upstream, machine: Machine, tmp_path: Path) -> None:
    torture(Session(upstream, machine, tmp_path, seed=1), 12)


@pytest.mark.slow
@pytest.mark.parametrize("life", range(LIVES))
def test_many_instants(upstream: Upstream, machine: Machine, tmp_path: Path, life: int) -> None:
    session = Session(upstream, machine, tmp_path, seed=2 + life)
    seen = torture(session, INSTANTS // LIVES)
    reads = ", ".join(f"{one.engine} {one.good}" for one in seen)
    print(f"{session.instants} instants, {session.killed} kills, version {session.state.version}; good reads: {reads}")


def test_the_states_tell_generations_apart() -> None:
    assert State(1, 0) != State(1, 1)
    assert generation_of({"june-0": 0, "july-0": 1}) is None
