"""What a server that runs builds for a team keeps to: limits of hosts, secrets, and no loss when its database is killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from rasterloom.access.collection import load
from rasterloom.specs.writer import to_yaml
from tests.flows.archive import opened
from tests.flows.stack import Stack, started, until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with started() as running:
        yield running


def deployed(stack: Stack, tmp_path: Path, *specs: Any) -> None:
    folder = tmp_path / "specs"
    folder.mkdir(exist_ok=True)
    for spec in specs:
        (folder / f"{spec.name}.yaml").write_text(to_yaml(spec))
    stack.shell("rasterloom deploy specs/*.yaml", cwd=tmp_path)


def test_a_build_outlives_a_killed_database(stack: Stack, tmp_path: Path) -> None:
    """The old version stands while the run waits for its files and the database comes back; then there is the new one, whole."""
    with opened(44) as archive:
        deployed(stack, tmp_path, archive.spec(name="outlives", dates="2024-06"))
        assert stack.ended(stack.start("outlives"))["state"]["type"] == "COMPLETED"
        deployed(stack, tmp_path, archive.spec(name="outlives", build={"max_concurrent": 4}))
        archive.files.latency = 2.0
        asked = len(archive.files.log)
        run = stack.start("outlives")
        until(lambda: len(archive.files.log) > asked)

        stack.kill_database()
        assert len(load("outlives", workspace=stack.workspace)) == 30
        until(lambda: httpx.get(f"{stack.api}/flow_runs/{run}", auth=stack.auth, timeout=60).status_code == 200)
        archive.files.latency = 0.0
        assert stack.ended(run)["state"]["type"] == "COMPLETED", stack.told(run)
        assert sorted(load("outlives", workspace=stack.workspace).to_table(["id"])["id"].to_pylist()) == archive.ids
        asked = len(archive.files.log)
        assert stack.ended(stack.start("outlives"))["state"]["type"] == "COMPLETED"
        assert len(archive.files.log) == asked
