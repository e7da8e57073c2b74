"""The commit log in ten thousand simulated worlds; three planted defects show that the simulation would have seen them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from rasterloom.access import commits
from rasterloom.access.commits import Commit, Conflict
from rasterloom.access.files import Occupied, Workspace
from tests.torture.history import simulate
from tests.torture.simulation import SimulatedWorkspace

SEEDS = int(os.environ.get("TORTURE_SEEDS", "10000"))


def violations(seeds: range) -> Iterator[str]:
    return (f"seed {outcome.seed}: {problem}" for outcome in map(simulate, seeds) for problem in outcome.violations)


def test_no_update_is_lost_doubled_or_mixed() -> None:
    assert list(violations(range(300))) == []


@pytest.mark.slow
def test_ten_thousand_worlds() -> None:
    assert list(violations(range(SEEDS))) == []


def test_a_seed_is_a_history() -> None:
    assert [simulate(seed) for seed in range(20)] == [simulate(seed) for seed in range(20)]


def test_the_worlds_are_not_idle() -> None:
    outcomes = [simulate(seed) for seed in range(100)]
    assert sum(outcome.acknowledged for outcome in outcomes) > 300
    assert sum(outcome.points for outcome in outcomes) > 5_000


# --- planted defects --------------------------------------------------------------------------------------------------------------


def impatient(workspace: Workspace, name: str, made: Commit) -> Commit:
    """Takes `it exists` for a conflict, without reading back whose it is."""
    body = commits.json.dumps(commits.to_json(made)).encode()
    try:
        workspace.create(commits.commit_key(name, made.version), body)
    except Occupied as error:
        raise Conflict("taken") from error
    return made


def without_read_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(commits, "commit", impatient)


def pointer_overwritten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SimulatedWorkspace, "create", SimulatedWorkspace.write)


@pytest.mark.parametrize("plant", [without_read_back, pointer_overwritten], ids=lambda plant: plant.__name__)
def test_a_planted_defect_is_caught(plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    assert any(violations(range(300)))
