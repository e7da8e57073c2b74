"""`info --html`: the report of a collection as a page."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rasterloom.access.versions.looks import note_look
from rasterloom.access.workspace.place import open_workspace
from rasterloom.cli.main import main
from rasterloom.demo.home import NAME
from rasterloom.specs.sections import FreshnessSpec


def test_it_is_made_beside_the_snapshot_and_told(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", NAME, "--html", "--workspace", str(workspace)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert Path(line) == workspace / NAME / "_reports" / "00000000000000000001.html"
    assert Path(line).read_text("utf-8").startswith("<!doctype html>")
    assert main(["info", str(workspace / NAME), "--html", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"name": NAME, "report": line}
    assert main(["verify", NAME, "--workspace", str(workspace)]) == 0


def test_it_is_written_where_it_is_wanted(workspace: Path, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    assert main(["info", NAME, "--workspace", str(workspace), "--html", str(file)]) == 0
    assert "6" in file.read_text("utf-8")
    assert not (workspace / NAME / "_reports").exists()
    assert main(["info", NAME, "--workspace", str(workspace), "--html", str(tmp_path)]) == 2


def test_a_plain_copy_has_one_too_but_keeps_none(workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", NAME, str(tmp_path / "copy"), "--workspace", str(workspace)]) == 0
    assert main(["info", str(tmp_path / "copy"), "--html"]) == 2
    assert "--html FILE" in capsys.readouterr().err
    assert main(["info", str(tmp_path / "copy"), "--html", str(tmp_path / "copy.html")]) == 0
    assert "<svg" in (tmp_path / "copy.html").read_text("utf-8")


def test_garbage_collection_takes_the_pages_of_what_is_gone(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reports = workspace / NAME / "_reports"
    main(["info", NAME, "--html", "--workspace", str(workspace)])
    shutil.copy(reports / "00000000000000000001.html", reports / "00000000000000000009.html")
    for path in reports.iterdir():
        _age(path)
    assert main(["gc", NAME, "--workspace", str(workspace)]) == 0
    assert [path.name for path in reports.iterdir()] == ["00000000000000000001.html"]


def test_a_listing_tells_what_is_stale_and_why(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--workspace", str(workspace)]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("  -")
    limits = FreshnessSpec(warn_after="1s")
    note_look(open_workspace(str(workspace)), NAME, at=datetime.now(UTC) + timedelta(hours=1), limits=limits)
    assert main(["list", "--workspace", str(workspace)]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("  warn (source)")
    assert main(["info", NAME, "--workspace", str(workspace)]) == 0
    assert re.search(r"^freshness +warn: the newest scene is of", capsys.readouterr().out, re.MULTILINE)
    assert main(["info", NAME, "--workspace", str(workspace), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["freshness"]["cause"] == "source"


def _age(path: Path) -> None:
    long_ago = time.time() - 3 * 86_400
    os.utime(path, (long_ago, long_ago))
