"""`rasterloom read`: a read of the spec, one given by options, and what other commands say of outputs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import xarray

from rasterloom.cli.main import main
from rasterloom.demo.home import NAME
from tests.cli.conftest import Stand


@pytest.fixture
def workspace(built: Stand, tmp_path: Path) -> str:
    shutil.copytree(built.home.workspace, tmp_path / "ws", symlinks=True)
    return str(tmp_path / "ws")


def told(words: list[str], workspace: str, capsys: pytest.CaptureFixture[str], code: int = 0) -> Any:
    assert main([*words, "--workspace", workspace, "--json"]) == code
    return json.loads(capsys.readouterr().out) if code == 0 else None


def test_what_is_no_read_is_told_before_prefect_is_started(workspace: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (["read", NAME, "nope"], "has no read 'nope'"),
        (["read", NAME, "new", "--kind", "stak"], "write stack"),
        (["read", NAME, "new", "--kind", "stack", "--bands", "B99"], "the band B99 is not in the band map"),
        (["read", NAME, "new", "--kind", "stack", "--set", "resolution"], "is not KEY=VALUE"),
        (["read", "nowhere", "new", "--kind", "stack"], "no collection named 'nowhere'"),
        (["read", NAME, "new", "--kind", "stack", "--area", "nowhere.geojson"], "cannot be read as an area"),
    ):
        assert main([*words, "--workspace", workspace]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.slow
def test_a_read_of_options_is_remembered_and_shown(workspace: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    asked = ["read", NAME, "cube", "--kind", "stack", "--bands", "B04", "--set", "resolution=40", "--output", str(tmp_path / "cube")]
    first = told(asked, workspace, capsys)
    assert (first["decision"]["action"], first["read"]["version"], first["read"]["failed"]) == ("make", 1, 0)
    with xarray.open_zarr(tmp_path / "cube" / "latest" / "stack.zarr") as data:
        assert list(data.data_vars) == ["B04"]
    again = told(["read", NAME, "cube"], workspace, capsys)
    assert (again["decision"]["action"], again["read"]["uri"], again["read"]["requests"]) == ("reuse", first["read"]["uri"], 0)
    other = told(["read", NAME, "cube", "--bands", "B08"], workspace, capsys)
    assert (other["read"]["version"], other["read"]["kind"]) == (2, "stack")
    shown = told(["info", NAME], workspace, capsys)
    assert ("cube", 2) in [(each["read"], each["version"]) for each in shown["reads"]]
    assert main(["info", NAME, "--workspace", workspace]) == 0
    said = capsys.readouterr().out
    assert "stack, output 2 of " in said
    assert other["read"]["data"] in said, "a path is told whole"
    assert told(["verify", NAME], workspace, capsys)["damaged"] is False
    collected = told(["gc", NAME, "--dry-run"], workspace, capsys)["collected"]
    assert f"{NAME}.cube" in [each["name"] for each in collected]
    told(["delete", NAME, "--yes"], workspace, capsys)
    assert not (Path(workspace) / NAME).exists()
    assert (tmp_path / "cube" / "latest" / "stack.zarr").is_dir()


@pytest.mark.slow
def test_a_collection_of_another_workspace_is_read_where_it_is(workspace: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    version = told(["info", NAME, "--path"], workspace, capsys)["path"]
    asked = ["read", version, "cube", "--kind", "stack", "--bands", "B04", "--name", "theirs"]
    made = told(asked, str(tmp_path / "mine"), capsys)
    assert (made["read"]["name"], made["read"]["snapshot"]) == ("theirs", 1)
    assert Path(made["read"]["data"]).is_relative_to(tmp_path / "mine" / "theirs" / "_reads" / "cube")
