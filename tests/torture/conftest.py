"""One catalog and one machine for all tortures of a test session; a workspace is copied, not built, where a test needs one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.torture.machine import Machine, Order
from tests.torture.steps import Places
from tests.torture.upstream import Upstream


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as made:
        yield made


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Machine() as made:
        yield made


@pytest.fixture(scope="module")
def built(upstream: Upstream, machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace that holds generation 0."""
    workspace = tmp_path_factory.mktemp("built") / "ws"
    upstream.become(0)
    report = machine.run(Order(step="build", workspace=str(workspace), arguments={"spec": upstream.spec()}))
    assert report.result is not None, report
    return workspace


@pytest.fixture(scope="module")
def places(upstream: Upstream, machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Places:
    return Places(upstream, machine, tmp_path_factory.mktemp("places"))


@pytest.fixture
def fresh(built: Path, tmp_path: Path) -> Callable[[bool], str]:
    """Makes a workspace: empty, or holding generation 0."""
    count = 0

    def make(filled: bool) -> str:
        nonlocal count
        count += 1
        place = tmp_path / f"ws-{count}"
        if filled:
            shutil.copytree(built, place, symlinks=True)
        if count > 1:
            shutil.rmtree(tmp_path / f"ws-{count - 1}", ignore_errors=True)
        return str(place)

    return make
