"""A disk that fails at any operation, once or from then on: a clear error, the old version, and a next run that works."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rasterloom.access.collection import load
from rasterloom.access.versions.commits import commit_key
from rasterloom.errors import RasterloomError
from tests.torture.interpose import CHANGING, LOOKING
from tests.torture.machine import Machine, Order, Report
from tests.torture.rows import NAME, expected
from tests.torture.scale import FAIL_EVERY
from tests.torture.state import state_of
from tests.torture.steps import STEPS, Places, Trial
from tests.torture.upstream import Upstream

Fresh = Callable[[bool], str]
WRITING = ("ENOSPC", "EROFS")
"""What a disk says that can be read."""
READING = ("EIO", "EACCES")
"""What a disk says when it is only read, too."""
SAID = {"ENOSPC": "disk is full", "EIO": "nput/output error", "EACCES": "ermission denied", "EROFS": "read-only"}


@pytest.fixture(params=STEPS)
def trial(request: pytest.FixtureRequest, places: Places) -> Trial:
    return Trial(STEPS[request.param], places)


def operations(trial: Trial, code: str) -> int:
    return trial.operations(fail_at=(10**9, code, False))


def fail(trial: Trial, number: int, code: str, *, lasting: bool) -> Report:
    """A clear error that names path and cause, or success; whatever was there is whole; and the next run works."""
    report, workspace = trial.fault(fail_at=(number, code, lasting))
    where = f"{code} at operation {number} of {trial.step.name}"
    assert not report.killed
    if report.result is None:
        assert report.ours, f"{where}: {report}"
        assert report.remedy, f"{where}: {report}"
        assert SAID[code] in report.message, f"{where}: {report}"
        assert str(Path(workspace).parent) in report.message, f"{where}: {report}"
        assert "Traceback" not in report.message
    elif report.result.get("damaged"):
        assert any(SAID[code] in finding for finding in report.result["findings"]), f"{where}: {report}"
    if report.result is None or lasting:
        trial.recover(workspace, where)
    return report


@pytest.mark.slow
def test_a_disk_that_fails(trial: Trial) -> None:
    codes = READING if trial.step.reads_only else (*WRITING, *READING)
    counts = {group: operations(trial, group[0]) for group in (WRITING, READING)}
    for place, code in enumerate(codes):
        number = 1 + counts[WRITING if code in WRITING else READING] * (2 * place + 1) // 8
        fail(trial, number, code, lasting=place % 2 == 1)


@pytest.mark.slow
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
@pytest.mark.parametrize("code", WRITING)
def test_a_disk_that_takes_nothing_at_every_operation(trial: Trial, code: str, lasting: bool) -> None:
    count = operations(trial, code)
    tell(trial, code, [fail(trial, number, code, lasting=lasting) for number in range(1, count + 1, FAIL_EVERY)])


@pytest.mark.slow
@pytest.mark.parametrize("turn", range(4))
def test_a_disk_that_fails_at_every_operation(trial: Trial, turn: int) -> None:
    """Looking counts too; in four turns every operation fails in each of four ways."""
    ways = list(itertools.product(READING, (False, True)))
    reports: list[Report] = []
    for number in range(1 + turn * FAIL_EVERY // 4, operations(trial, "EIO") + 1, FAIL_EVERY):
        code, lasting = ways[(number + turn) % 4]
        reports.append(fail(trial, number, code, lasting=lasting))
    tell(trial, "EIO, EACCES", reports)
    assert any(report.result is None for report in reports)


def tell(trial: Trial, codes: str, reports: list[Report]) -> None:
    told = sum(report.result is None for report in reports)
    print(f"{trial.step.name}, {codes}: {len(reports)} failures, {told} ended the step, {len(reports) - told} did not")


def test_looking_counts_too(places: Places) -> None:
    trial = Trial(STEPS["refresh"], places)
    assert operations(trial, "EIO") > operations(trial, "ENOSPC")
    assert not set(CHANGING) & set(LOOKING)


# --- damage that is found later ---------------------------------------------------------------------------------------------------


def vanished_manifest(workspace: Path) -> None:
    (workspace / commit_key(NAME, 1)).unlink()


def all_commits_vanished(workspace: Path) -> None:
    shutil.rmtree(workspace / NAME / "_commits")


def truncated_data(workspace: Path) -> None:
    file = max(workspace.rglob("part-*.parquet"))
    file.write_bytes(file.read_bytes()[:-50])


def vanished_data(workspace: Path) -> None:
    max(workspace.rglob("part-*.parquet")).unlink()


def truncated_manifest(workspace: Path) -> None:
    file = workspace / commit_key(NAME, 1)
    file.write_bytes(file.read_bytes()[:100])


def truncated_hint(workspace: Path) -> None:
    (workspace / NAME / "_latest.json").write_bytes(b'{"ver')


def truncated_cache(workspace: Path) -> None:
    for file in (workspace / "_cache").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:-3])


def foreign_files(workspace: Path) -> None:
    for folder in [path for path in workspace.rglob("*") if path.is_dir()] + [workspace]:
        (folder / "notes.txt").write_text("mine")
        (folder / "other.parquet").write_bytes(b"PAR1")
        (folder / ".DS_Store").write_bytes(b"\0")


DAMAGES = [vanished_manifest, all_commits_vanished, truncated_data, vanished_data, truncated_hint, truncated_cache, foreign_files]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damage_is_mended_by_the_next_run(upstream: Upstream, machine: Machine, fresh: Fresh, damage: Callable[[Path], None]) -> None:
    workspace = fresh(True)
    damage(Path(workspace))
    upstream.become(1)
    report = machine.run(Order(step="build", workspace=workspace, arguments={"spec": upstream.spec()}))
    assert report.result is not None, report
    assert state_of(workspace).generation == 1


@pytest.mark.parametrize("damage", [*DAMAGES, truncated_manifest], ids=lambda damage: damage.__name__)
def test_a_damage_is_never_read_as_something_else(fresh: Fresh, damage: Callable[[Path], None]) -> None:
    """Either the whole of generation 0, or an error of ours that says what to do."""
    workspace = fresh(True)
    damage(Path(workspace))
    if damage in (truncated_hint, truncated_cache, foreign_files):
        assert rows_of(workspace) == expected(0)
        return
    with pytest.raises(RasterloomError) as caught:
        rows_of(workspace)
    assert caught.value.remedy, caught.value


def rows_of(workspace: str) -> dict[str, int]:
    rows = load(NAME, workspace).to_table(["id", "generation"]).to_pylist()
    return {row["id"]: row["generation"] for row in rows}


def test_a_manifest_that_is_cut_is_told(upstream: Upstream, machine: Machine, fresh: Fresh) -> None:
    workspace = fresh(True)
    truncated_manifest(Path(workspace))
    report = machine.run(Order(step="build", workspace=workspace, arguments={"spec": upstream.spec()}))
    assert report.ours
    assert report.remedy
    assert commit_key(NAME, 1) in report.message
