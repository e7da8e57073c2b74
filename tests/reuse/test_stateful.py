"""Random lives of a collection: its spec is edited, its source changes, runs are abandoned, versions brought back.

After every run that ends, the collection is what a fresh build in an empty workspace gives.
"""

from __future__ import annotations

import shutil
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from rasterloom.access.forecast import forecast
from rasterloom.access.versions.commits import collection_ref, latest
from rasterloom.access.versions.snapshots import rollback
from rasterloom.access.workspace.place import open_workspace
from rasterloom.errors import Refused
from rasterloom.specs.model import CollectionSpec
from tests.reuse.upstream import Killed, assert_same, build, instant, job_of, planned, table_of, upstream

FIRST, NOW = instant("2024-06-01"), instant("2024-08-20")
STRAGGLERS = timedelta(days=10)
"""The lookback of the spec: younger scenes may come, change and go."""
NUMBERS = st.integers(0, 31)

EDITS: dict[str, list[Any]] = {
    "bbox": [[9.0, 40.0, 19.0, 50.0], [11.0, 42.0, 15.0, 46.0], [10.0, 41.0, 16.0, 48.0], [12.0, 40.0, 25.0, 60.0]],
    "dates": [["2024-06-01", "2024-08-31"], ["2024-06-11", "2024-08-14"], "2024-07", ["2024-05-01", "2024-10-15"], "2024-06-20/.."],
    "query": [..., {"eo:cloud_cover": {"lt": 40}}, {"eo:cloud_cover": {"lt": 20}}, {"platform": {"eq": "a"}, "eo:cloud_cover": {"lt": 40}}],
    "bands": [..., ["B02"], ["B03", "B02"], ["B04", "B02", "B03"]],
    "split": [{"time": "P1M"}, {"time": "P1M", "space": {"grid": 2}}, {"time": "P3M"}],
    "build": [{"retries": 0, "max_error_rate": 1.0}, {"retries": 0, "max_error_rate": 1.0, "force": True}],
}


class Life(RuleBasedStateMachine):
    """One collection, one source, and one clock that only goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="rasterloom-life-"))
        self.ours = self.root / "ours"
        self.entered = upstream()
        self.archive = self.entered.__enter__()
        self.now = NOW
        self.edits: dict[str, Any] = {"build": EDITS["build"][0]}
        self.versions: dict[int, Any] = {}

    def teardown(self) -> None:
        self.entered.__exit__(None, None, None)
        shutil.rmtree(self.root)

    @initialize(count=st.integers(8, 16))
    def fill(self, count: int) -> None:
        for number in range(count):
            self.archive.put(number, FIRST + (self.now - FIRST) * number / count)

    # --- what happens to the source

    @rule(number=NUMBERS, share=st.floats(0, 1))
    def put(self, number: int, share: float) -> None:
        """A scene that is late, or a new edition of one that is young enough to change."""
        at = self.archive.instants.get(number)
        if at is None:
            at = self.now - (STRAGGLERS - timedelta(hours=1)) * share
        if self._may_change(number):
            self.archive.put(number, at.replace(microsecond=0))

    @rule(number=NUMBERS)
    def remove(self, number: int) -> None:
        if self._may_change(number):
            self.archive.remove(number)

    @rule(days=st.sampled_from([1, 9, 30]))
    def wait(self, days: int) -> None:
        self.now += timedelta(days=days)

    def _may_change(self, number: int) -> bool:
        at = self.archive.instants.get(number)
        return at is None or at > self.now - STRAGGLERS

    # --- what people do

    @rule(edit=st.sampled_from([(key, value) for key, values in EDITS.items() for value in values]))
    def edit(self, edit: tuple[str, Any]) -> None:
        self.edits[edit[0]] = edit[1]

    @rule(steps=st.integers(0, 6))
    def abandon(self, steps: int) -> None:
        try:
            build(self._spec(), self.ours, self.now, steps=steps)
        except (Killed, Refused):
            return
        self._remember()

    @rule()
    def run(self) -> None:
        self._run()

    @rule()
    def run_again(self) -> None:
        self._run()
        self._run()

    @precondition(lambda self: len(self.versions) > 1)
    @rule(data=st.data())
    def roll_back(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.versions)))
        made = rollback(open_workspace(str(self.ours)), "s2", number)
        self.versions[made.version] = self.versions[number]
        self._is_committed(self.versions[number])

    def _run(self) -> None:
        spec = self._spec()
        promised = planned(spec, self.ours, self.now)
        told = forecast(job_of(spec, self.ours, self.now), promised)
        self.archive.requests()
        fresh = self._fresh(spec)
        self.archive.requests()
        try:
            ours = build(spec, self.ours, self.now)
        except Refused:
            assert fresh is None
            return
        assert fresh is not None
        assert self.archive.requests() == (told.pages, told.headers)
        assert_same(ours.table, fresh)
        self._remember()
        self._is_committed(fresh)

    def _spec(self) -> CollectionSpec:
        return self.archive.spec(**self.edits)

    def _fresh(self, spec: CollectionSpec) -> Any:
        """The right answer, None where there is no scene at all."""
        place = self.root / "fresh"
        try:
            return build(spec, place, self.now).table
        except Refused:
            return None
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _remember(self) -> None:
        commit = latest(open_workspace(str(self.ours)), "s2")
        assert commit is not None
        if commit.version not in self.versions:
            self.versions[commit.version] = self._committed()

    def _is_committed(self, table: Any) -> None:
        assert_same(self._committed(), table)

    def _committed(self) -> Any:
        workspace = open_workspace(str(self.ours))
        commit = latest(workspace, "s2")
        assert commit is not None
        return table_of(collection_ref(workspace, "s2", commit))


def lives(examples: int, steps: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        print_blob=True,
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.slow
def test_every_life_ends_as_a_fresh_build() -> None:
    run_state_machine_as_test(Life, settings=lives(6, 12))


@pytest.mark.slow
def test_many_long_lives_end_as_a_fresh_build() -> None:
    run_state_machine_as_test(Life, settings=lives(24, 20))
