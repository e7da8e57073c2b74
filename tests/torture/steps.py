"""Everything that is done to a stored collection, with what it starts from and what may be left of it: for kills and for failing disks.

A step begins on a copy of a workspace, in which something goes wrong; then it is judged, done again, and judged again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow.dataset as ds

from rasterloom.access.versions.commits import latest
from rasterloom.access.versions.verify import verify
from rasterloom.access.workspace.place import open_workspace
from tests.torture.machine import Machine, Order, Report
from tests.torture.rows import NAME, generation_of
from tests.torture.state import NOTHING, State, state_of
from tests.torture.upstream import Upstream

Start = Literal["empty", "built", "grown", "littered"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    name: str
    does: str
    """Of `work.STEPS`."""
    start: Start
    old: State
    new: State
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    reads_only: bool = False


STEPS = {
    step.name: step
    for step in (
        Step(name="build", does="build", start="empty", old=NOTHING, new=State(1, 1)),
        Step(name="refresh", does="build", start="built", old=State(1, 0), new=State(2, 1)),
        Step(name="export", does="export", start="built", old=State(1, 0), new=State(1, 0)),
        Step(name="rollback", does="rollback", start="grown", old=State(2, 1), new=State(3, 0), arguments={"version": 1}),
        Step(name="gc", does="gc", start="littered", old=State(2, 1), new=State(2, 1), arguments={"days_later": 30.0}),
        Step(name="delete", does="delete", start="grown", old=State(2, 1), new=NOTHING),
        Step(name="verify", does="verify", start="grown", old=State(2, 1), new=State(2, 1), reads_only=True),
    )
}


class Places:
    """Workspaces to begin with: each is made once and copied as often as it is wanted."""

    def __init__(self, upstream: Upstream, machine: Machine, root: Path) -> None:
        self.upstream, self.machine, self.root = upstream, machine, root
        self._made: dict[Start, Path] = {}
        self._count = 0

    def fresh(self, start: Start) -> str:
        """A workspace in a directory of its own; the one before it is gone then. The catalog is of generation 1."""
        shutil.rmtree(self.root / f"place-{self._count}", ignore_errors=True)
        self._count += 1
        place = self.root / f"place-{self._count}"
        place.mkdir()
        if start != "empty":
            shutil.copytree(self._template(start), place / "ws", symlinks=True)
        self.upstream.become(1)
        return str(place / "ws")

    def _template(self, start: Start) -> Path:
        if start not in self._made:
            place = self.root / start / "ws"
            makers: dict[Start, Callable[[str], None]] = {"built": self._build, "grown": self._grow, "littered": self._litter}
            makers[start](str(place))
            self._made[start] = place
        return self._made[start]

    def _build(self, workspace: str, **changes: Any) -> None:
        self.upstream.become(0)
        self._succeed(workspace, **changes)

    def _grow(self, workspace: str, **changes: Any) -> None:
        self._build(workspace, **changes)
        self.upstream.become(1)
        self._succeed(workspace, **changes)

    def _litter(self, workspace: str) -> None:
        """A version that is not kept, and what a build leaves that was killed right before its commit."""
        keeping_one = {"storage": {"keep_snapshots": 1}}
        self._build(workspace, **keeping_one)
        self.upstream.become(2)
        arguments = {"spec": self.upstream.spec() | keeping_one}
        assert self.machine.run(Order(step="build", workspace=workspace, arguments=arguments, kill_at_commit=True)).killed
        self.upstream.become(1)
        self._succeed(workspace, **keeping_one)

    def _succeed(self, workspace: str, **changes: Any) -> None:
        order = Order(step="build", workspace=workspace, arguments={"spec": self.upstream.spec() | changes})
        report = self.machine.run(order)
        assert report.result is not None, report


class Trial:
    """One step on fresh places, with whatever befalls it, and the judgement."""

    def __init__(self, step: Step, places: Places) -> None:
        self.step, self.places, self.machine = step, places, places.machine

    def operations(self, **fault: Any) -> int:
        """How many there are when nothing goes wrong: a `fault` that is never reached tells which count."""
        report = self.run(self.places.fresh(self.step.start), **fault)
        assert report.result is not None, report
        return report.operations

    def run(self, workspace: str, **fault: Any) -> Report:
        watch, arguments = str(Path(workspace).parent), self._arguments(workspace)
        return self.machine.run(Order(step=self.step.does, workspace=workspace, arguments=arguments, watch=watch, **fault))

    def fault(self, **fault: Any) -> tuple[Report, str]:
        """The step with a fault; what is left is the old or the new, whole. The report, and the workspace."""
        workspace = self.places.fresh(self.step.start)
        report = self.run(workspace, **fault)
        self._judge(workspace, report, f"{self.step.name}, {fault}")
        return report, workspace

    def recover(self, workspace: str, where: str) -> None:
        """The step once more, which ends what was begun."""
        if self.step.does == "export" and self._target(workspace).exists():
            return
        if self.step.does == "delete" and not any(path.is_file() for path in Path(workspace, NAME).rglob("*")):
            return
        left, again = state_of(workspace), self.run(workspace)
        assert again.result is not None, f"after {where}: {again}"
        after = state_of(workspace)
        assert after.version <= self.step.new.version + (left == self.step.new and self.step.does == "build"), f"after {where}: {after}"
        self._judge(workspace, again, f"after {where}")
        self._judge_end(workspace)

    def _judge(self, workspace: str, report: Report, where: str) -> None:
        left = state_of(workspace)
        assert left in (self.step.old, self.step.new) or report.result is not None, f"{where}: {left}, {report}"
        assert left == self.step.old or not self.step.reads_only, where
        if report.result is not None:
            assert left.generation == self.step.new.generation, f"{where}: {left}, {report}"
        if self.step.does == "export" and self._target(workspace).exists():
            table = ds.dataset(self._target(workspace), partitioning="hive").to_table(["id", "generation"])
            rows = dict(zip(table["id"].to_pylist(), table["generation"].to_pylist(), strict=True))
            assert generation_of(rows) == self.step.old.generation, f"{where}: a part was exported"

    def _judge_end(self, workspace: str) -> None:
        """Nothing that was committed is damaged, and nothing of what was taken away is left."""
        place = open_workspace(workspace)
        if self.step.does == "delete":
            assert not Path(workspace, NAME).exists()
            assert not Path(workspace, f"{NAME}_stac").is_symlink()
            return
        report = verify(place, NAME)
        assert [finding for finding in report.findings if not finding.harmless] == []
        if self.step.does == "gc":
            newest = latest(place, NAME)
            assert newest is not None
            assert [path.name for path in Path(workspace, NAME, "_versions").iterdir()] == [newest.dir]
            assert [*Path(workspace, NAME).rglob("*.tmp"), *Path(workspace, NAME, "_inflight").iterdir()] == []

    def _arguments(self, workspace: str) -> dict[str, Any]:
        match self.step.does:
            case "build":
                return {"spec": self.places.upstream.spec()}
            case "export":
                return {"target": str(self._target(workspace))}
            case _:
                return dict(self.step.arguments)

    def _target(self, workspace: str) -> Path:
        return Path(workspace).with_name("export")
