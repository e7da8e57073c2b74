"""The failures table through several versions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rasterloom.access.values import Failure
from rasterloom.access.versions.failures import failures_in, failures_table, merged, read_failures, remembered
from rasterloom.access.workspace.disk import LocalWorkspace
from rasterloom.errors import Unavailable
from tests.access.test_commits import draft

NOW = datetime(2024, 6, 1, 12, 0, 0, 123456, tzinfo=UTC)
LATER = NOW + timedelta(days=3)
HEADER = Failure(
    stage="header",
    reason="missing",
    message="404",
    item_id="a",
    band="B02",
    href="https://h/a.tif",
    http_status=404,
    attempts=1,
    first_seen=NOW,
    last_seen=NOW,
)
ITEM = Failure(stage="item", reason="bad-geometry", message="broken", item_id="b")


def test_a_table_gives_back_what_was_put_in(tmp_path: Path) -> None:
    workspace = LocalWorkspace(tmp_path)
    data = failures_table([HEADER, ITEM], run_id="run", collection="c")
    assert data is not None
    workspace.write("s2/_failures/1.parquet", data)
    table = read_failures(workspace, "s2", replace(draft("run"), failures="_failures/1.parquet"))
    assert failures_in(table) == [HEADER, ITEM]
    assert table["run_id"].to_pylist() == ["run", "run"]
    assert failures_table([], run_id="run", collection="c") is None
    assert failures_in(read_failures(workspace, "s2", draft("run"))) == []


def test_attempts_add_up_and_the_first_day_stays() -> None:
    (again,) = merged([replace(HEADER, attempts=2, first_seen=LATER, last_seen=LATER, reason="timeout")], [HEADER], LATER)
    assert (again.attempts, again.first_seen, again.last_seen, again.reason) == (3, NOW, LATER, "timeout")


def test_what_was_not_tried_again_stays_as_it_was() -> None:
    before = replace(HEADER, attempts=5)
    assert merged([HEADER], [before], LATER) == (before,)


def test_what_is_new_is_dated() -> None:
    other = replace(HEADER, band="B03", first_seen=None, last_seen=None)
    assert merged([HEADER, other], [], LATER) == (HEADER, replace(other, first_seen=LATER, last_seen=LATER))


def test_an_item_is_not_tried() -> None:
    (first,) = merged([ITEM], [], NOW)
    (second,) = merged([ITEM], [first], LATER)
    assert (second.attempts, second.first_seen, second.last_seen) == (1, NOW, LATER)


def test_what_no_longer_fails_is_gone() -> None:
    assert merged([], [HEADER, ITEM], LATER) == ()


@pytest.mark.parametrize("content", [None, b"", b"PAR1 no parquet PAR1"])
def test_a_damaged_table_is_told_and_ends_no_build(tmp_path: Path, content: bytes | None) -> None:
    workspace, entry = LocalWorkspace(tmp_path), replace(draft("run"), failures="_failures/1.parquet")
    if content is not None:
        workspace.write("s2/_failures/1.parquet", content)
    with pytest.raises(Unavailable, match="cannot be read") as caught:
        read_failures(workspace, "s2", entry)
    assert caught.value.remedy
    assert remembered(workspace, "s2", entry) == []
