"""SIGKILL of the whole process group before each file operation of a build and of a refresh, with and without torn files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.torture.machine import Machine, Order
from tests.torture.scale import KILL_EVERY
from tests.torture.state import NOTHING, State, state_of
from tests.torture.upstream import Upstream

Fresh = Callable[[bool], str]
SOME = 4
"""Points of each kind in the quick suite."""


class Killing:
    """Kills one build, or one refresh from generation 0 to 1, at any operation, and looks at what is left."""

    def __init__(self, upstream: Upstream, machine: Machine, fresh: Fresh, *, refresh: bool) -> None:
        self.upstream, self.machine, self.fresh = upstream, machine, fresh
        self.old = State(1, 0) if refresh else NOTHING
        self.new = State(self.old.version + 1, 1)
        self.refresh = refresh
        upstream.become(1)

    def order(self, workspace: str, *, kill_at: int | None = None, tear_at: tuple[int, int] | None = None) -> Order:
        return Order(step="build", workspace=workspace, arguments={"spec": self.upstream.spec()}, kill_at=kill_at, tear_at=tear_at)

    def operations(self) -> int:
        report = self.machine.run(self.order(self.fresh(self.refresh)))
        assert report.result is not None, report
        return report.operations

    def kill(self, number: int, *, torn: bool) -> None:
        workspace = self.fresh(self.refresh)
        order = self.order(workspace, tear_at=(number, number)) if torn else self.order(workspace, kill_at=number)
        killed = self.machine.run(order).killed
        left = state_of(workspace)
        assert left in (self.old, self.new), f"killed before operation {number}: {left}"
        report = self.machine.run(self.order(workspace))
        assert report.result is not None, f"the run after a kill before operation {number}: {report}"
        after = state_of(workspace)
        assert after.generation == 1, f"the run after a kill before operation {number} left {after}"
        assert after.version <= self.new.version + (left == self.new and killed)


@pytest.fixture(params=["build", "refresh"])
def killing(request: pytest.FixtureRequest, upstream: Upstream, machine: Machine, fresh: Fresh) -> Killing:
    return Killing(upstream, machine, fresh, refresh=request.param == "refresh")


@pytest.mark.parametrize("torn", [False, True], ids=["clean", "torn"])
def test_a_kill_leaves_the_old_version_or_the_new_one(killing: Killing, torn: bool) -> None:
    total = killing.operations()
    for number in range(1 + torn, total + 1, max(1, total // SOME)):
        killing.kill(number, torn=torn)


@pytest.mark.slow
@pytest.mark.parametrize("torn", [False, True], ids=["clean", "torn"])
def test_a_kill_before_every_operation(killing: Killing, torn: bool) -> None:
    numbers = range(1, killing.operations() + 1, KILL_EVERY)
    for number in numbers:
        killing.kill(number, torn=torn)
    print(f"{len(numbers)} kills")


def test_the_harness_sees_a_version_that_was_torn(killing: Killing) -> None:
    workspace = killing.fresh(True)
    victim = max(Path(workspace).rglob("part-*.parquet"))
    victim.write_bytes(victim.read_bytes()[:-1])
    with pytest.raises(AssertionError, match="not what its commit says"):
        state_of(workspace)
