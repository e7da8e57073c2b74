"""Four builders of one collection at once, each a process, while the catalog changes under them."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from rasterloom.access.versions.commits import latest, read_commit
from rasterloom.access.versions.snapshots import window
from rasterloom.access.workspace.place import open_workspace
from tests.torture.machine import Machine, Order, Report
from tests.torture.rows import NAME
from tests.torture.scale import ROUNDS, SECONDS
from tests.torture.state import assert_whole, generation_in
from tests.torture.upstream import Upstream

BUILDERS = 4


@contextmanager
def changing(upstream: Upstream, seconds: float = 0.05) -> Iterator[None]:
    """The catalog moves on all the time."""
    stop = threading.Event()

    def move() -> None:
        for generation in itertools.count(upstream.generation + 1):
            if stop.wait(seconds):
                return
            upstream.become(generation)

    mover = threading.Thread(target=move)
    mover.start()
    try:
        yield
    finally:
        stop.set()
        mover.join()


def assert_sound(workspace: str, reports: list[Report]) -> None:
    """Every kept version is whole and of one generation; every success is in the log; no failure but an honest conflict."""
    place = open_workspace(workspace)
    newest = latest(place, NAME)
    assert newest is not None
    log = {number: read_commit(place, NAME, number) for number in range(1, newest.version + 1)}
    kept = window(commit for number, commit in sorted(log.items(), reverse=True) if commit is not None)
    for commit in kept.values():
        assert_whole(place, commit)
        generation_in(place, commit)
    runs = [commit.run_id for commit in log.values() if commit is not None]
    assert len(runs) == len(set(runs)) == newest.version
    for report in reports:
        assert report.result is not None or report.error in ("Conflict", "Overtaken", "Unavailable"), report
        assert report.result is None or report.result["version"] in log, report


@dataclass(frozen=True, slots=True)
class Rounds:
    done: int
    won: int
    """Builds that succeeded."""
    versions: int


def rounds(machine: Machine, upstream: Upstream, workspace: str, count: int) -> Rounds:
    """So many rounds, or as many as there is time for."""
    order = Order(step="build", workspace=workspace, arguments={"spec": upstream.spec()})
    won, done, ends = 0, 0, time.monotonic() + SECONDS
    with changing(upstream):
        while done < count and time.monotonic() < ends:
            done += 1
            reports = machine.run_all([order] * BUILDERS)
            won += sum(report.result is not None for report in reports)
            assert_sound(workspace, reports)
            assert any(report.result is not None for report in reports), reports
    newest = latest(open_workspace(workspace), NAME)
    return Rounds(done, won, newest.version if newest else 0)


@pytest.mark.slow
def test_builders_at_once(machine: Machine, upstream: Upstream, tmp_path: Path) -> None:
    made = rounds(machine, upstream, str(tmp_path / "ws"), 3)
    assert made.won >= 3
    assert made.versions >= 2


@pytest.mark.slow
def test_many_rounds_of_builders_at_once(machine: Machine, upstream: Upstream, tmp_path: Path) -> None:
    made = rounds(machine, upstream, str(tmp_path / "ws"), ROUNDS)
    print(f"{made.done} rounds: {made.won} of {made.done * BUILDERS} builds succeeded, {made.versions} versions")
    assert made.won >= 2 * made.done
