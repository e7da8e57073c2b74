"""How answers and progress look."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from rasterloom.cli.output import answer, pairs, size_text, table
from rasterloom.cli.progress import both, sentence, shown
from rasterloom.flows.progress import Progress

TOLD = Progress(
    collection="a",
    stage="gathering",
    action="build",
    reason="new",
    shards=2,
    shards_done=1,
    batches=3,
    batches_done=2,
    scenes=1200,
    headers=4800,
)


def test_a_table_has_its_numbers_on_the_right() -> None:
    assert table([("a", 5), ("bcd", 12_345)], ("NAME", "N")) == "NAME       N\na          5\nbcd   12,345"


def test_a_table_without_rows_is_its_header() -> None:
    assert table([], ("NAME", "N")) == "NAME  N"


def test_pairs_leave_out_what_is_not_there() -> None:
    assert pairs({"a": 1, "long": ("x", "y"), "none": None, "empty": "", "two": "1\n2"}) == "a     1\nlong  x, y\ntwo   1\n      2"


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (17_040_000, "17.0 MB"), (3e9, "3.0 GB")])
def test_sizes(size: float, text: str) -> None:
    assert size_text(size) == text


def test_json_holds_instants_and_numpy_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    answer(Namespace(json=True), {"at": datetime(2024, 6, 1, tzinfo=UTC), "n": np.int64(3)}, "text")
    assert json.loads(capsys.readouterr().out) == {"at": "2024-06-01T00:00:00+00:00", "n": 3}


def test_progress_is_plain_lines_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with shown(Namespace(json=False), "a") as listener:
        assert listener is not None
        for told in (
            replace(TOLD, stage="decided"),
            TOLD,
            TOLD,
            replace(TOLD, stage="publishing"),
            replace(TOLD, stage="done", failures=1, bytes=2000),
        ):
            listener(told)
    seen = capsys.readouterr()
    assert seen.out == ""
    assert seen.err.splitlines() == [
        "a: starting Prefect",
        "a: build: new",
        "a: 1,200 scenes, 4,800 headers; searches 1/2, batches 2/3",
        "a: writing 1,200 scenes",
        "a: 1,200 scenes, 1 failed; 0 search and 0 header requests, 2.0 kB",
    ]


def test_progress_is_quiet_under_json(capsys: pytest.CaptureFixture[str]) -> None:
    with shown(Namespace(json=True), "a") as listener:
        assert listener is None
    assert capsys.readouterr() == ("", "")


def test_progress_on_a_terminal_shows_the_last_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    with shown(Namespace(json=False), "a") as listener:
        assert listener is not None
        for stage in ("decided", "gathering", "publishing", "done"):
            listener(replace(TOLD, stage=stage, reason="[red]no markup"))
    assert sentence(replace(TOLD, stage="done")) in capsys.readouterr().err


def test_two_listeners_hear_the_same() -> None:
    heard: list[Progress] = []
    both(heard.append, heard.append)(TOLD)
    both(heard.append, None)(TOLD)
    assert heard == [TOLD] * 3
