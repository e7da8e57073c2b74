"""SIGKILL of the whole process group before each file operation of everything that changes a collection, with and without torn files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.scale import KILL_EVERY
from tests.torture.state import state_of
from tests.torture.steps import STEPS, Places, Trial

SOME = 2
"""Points of each kind in the quick suite."""
CHANGING = [name for name, step in STEPS.items() if not step.reads_only]


@pytest.fixture(params=CHANGING)
def trial(request: pytest.FixtureRequest, places: Places) -> Trial:
    return Trial(STEPS[request.param], places)


def kill(trial: Trial, number: int, *, torn: bool) -> bool:
    """Whether there was such an operation."""
    report, workspace = trial.fault(**{"tear_at": (number, number)} if torn else {"kill_at": number})
    trial.recover(workspace, f"a kill before operation {number}")
    return report.killed


@pytest.mark.parametrize("torn", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["clean", "torn"])
def test_a_kill_leaves_the_old_version_or_the_new_one(trial: Trial, torn: bool) -> None:
    total = trial.operations()
    for number in range(1 + torn, total + 1, max(1, total // SOME)):
        kill(trial, number, torn=torn)


@pytest.mark.slow
@pytest.mark.parametrize("torn", [False, True], ids=["clean", "torn"])
def test_a_kill_before_every_operation(trial: Trial, torn: bool) -> None:
    numbers = range(1, trial.operations() + 1, KILL_EVERY)
    killed = sum(kill(trial, number, torn=torn) for number in numbers)
    print(f"{trial.step.name}: {killed} kills")
    assert killed > len(numbers) // 2


def test_the_harness_sees_a_version_that_was_torn(places: Places) -> None:
    workspace = places.fresh("built")
    victim = max(Path(workspace).rglob("part-*.parquet"))
    victim.write_bytes(victim.read_bytes()[:-1])
    with pytest.raises(AssertionError, match="not what its commit says"):
        state_of(workspace)
