"""The protocol in thousands of simulated worlds; three planted defects show that the simulation would have seen them."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator

import pytest

from rasterloom.access.building import publish
from rasterloom.access.versions import gc
from rasterloom.access.versions.commits import COMMITS, Commit, Overtaken, commit_key, encoded, latest
from rasterloom.access.workspace.clock import SYSTEM, Clock
from rasterloom.access.workspace.files import Occupied, Workspace
from tests.torture.history import simulate
from tests.torture.scale import SEEDS
from tests.torture.simulation import SimulatedWorkspace


def violations(seeds: range, *, rollbacks: bool = True) -> Iterator[str]:
    outcomes = (simulate(seed, rollbacks=rollbacks) for seed in seeds)
    return (f"seed {outcome.seed}: {problem}" for outcome in outcomes for problem in outcome.violations)


def test_no_update_is_lost_doubled_or_mixed() -> None:
    assert list(violations(range(300))) == []
    assert list(violations(range(100), rollbacks=False)) == []


def processor_seconds() -> float:
    """Of the processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.slow
def test_thousands_of_worlds() -> None:
    """On all processors: 10,000 seeds are some 50 seconds of one."""
    began, before = time.monotonic(), processor_seconds()
    with multiprocessing.get_context("spawn").Pool() as pool:
        outcomes = pool.map(simulate, range(SEEDS), chunksize=50)
        pool.close()
        pool.join()
    print(f"{len(outcomes)} seeds, {sum(one.points for one in outcomes)} storage calls, {sum(one.commits for one in outcomes)} commits")
    print(f"{time.monotonic() - began:.1f} s, {processor_seconds() - before:.1f} s of processors")
    assert [f"seed {one.seed}: {problem}" for one in outcomes for problem in one.violations] == []


def test_a_seed_is_a_history() -> None:
    assert [simulate(seed) for seed in range(20)] == [simulate(seed) for seed in range(20)]


def test_the_worlds_are_not_idle() -> None:
    outcomes = [simulate(seed) for seed in range(100)]
    assert sum(outcome.acknowledged for outcome in outcomes) > 500
    assert sum(outcome.points for outcome in outcomes) > 10_000


# --- planted defects --------------------------------------------------------------------------------------------------------------


def impatient(workspace: Workspace, name: str, draft: Commit, *, clock: Clock) -> Commit:
    """Takes `it exists` for a rival, without reading back whose it is."""
    try:
        workspace.create(commit_key(name, draft.version), encoded(draft))
    except Occupied as error:
        raise Overtaken("taken", remedy="", winner=draft) from error
    return draft


def tidy(workspace: Workspace, name: str, *, clock: Clock = SYSTEM) -> None:
    """Deletes old commit files: a number that was freed can be taken again."""
    newest = latest(workspace, name)
    for entry in workspace.list(f"{name}/{COMMITS}") if newest else ():
        if entry.key < commit_key(name, newest.version):
            workspace.delete(entry.key)


def without_read_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(publish, "commit", impatient)


def pointer_overwritten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SimulatedWorkspace, "create", SimulatedWorkspace.write)


def old_commits_deleted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(gc, "collect", tidy)


PLANTED = [(without_read_back, "committed twice"), (pointer_overwritten, "and is lost"), (old_commits_deleted, "and is lost")]


@pytest.mark.parametrize(("plant", "symptom"), PLANTED, ids=lambda part: getattr(part, "__name__", ""))
def test_a_planted_defect_is_caught(plant: Callable[[pytest.MonkeyPatch], None], symptom: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    assert any(symptom in problem for problem in violations(range(300), rollbacks=False))
