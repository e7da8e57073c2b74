"""Four builders of one collection at once, each a process, while the catalog changes under them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rasterloom.access.commits import latest, read_commit
from rasterloom.access.snapshots import window
from rasterloom.access.workspace import open_workspace
from tests.torture.machine import Machine, Order, Report
from tests.torture.rows import NAME
from tests.torture.scale import ROUNDS
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


def rounds(machine: Machine, upstream: Upstream, workspace: str, count: int) -> tuple[int, int]:
    """Successes and versions of so many rounds."""
    order = Order(step="build", workspace=workspace, arguments={"spec": upstream.spec()})
    won = 0
    with changing(upstream):
        for _ in range(count):
            reports = machine.run_all([order] * BUILDERS)
            won += sum(report.result is not None for report in reports)
            assert_sound(workspace, reports)
            assert any(report.result is not None for report in reports), reports
    newest = latest(open_workspace(workspace), NAME)
    return won, newest.version if newest else 0


def test_builders_at_once(machine: Machine, upstream: Upstream, tmp_path: Path) -> None:
    won, versions = rounds(machine, upstream, str(tmp_path / "ws"), 3)
    assert won >= 3
    assert versions >= 2


@pytest.mark.slow
def test_many_rounds_of_builders_at_once(machine: Machine, upstream: Upstream, tmp_path: Path) -> None:
    won, versions = rounds(machine, upstream, str(tmp_path / "ws"), ROUNDS)
    print(f"{won} of {ROUNDS * BUILDERS} builds succeeded, {versions} versions")
    assert won >= 2 * ROUNDS
