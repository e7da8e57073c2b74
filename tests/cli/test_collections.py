"""`list`, `info`, `failures`, `export`, `delete` and `plan` on a real collection."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from rasterloom.cli.main import main
from rasterloom.demo.home import NAME
from tests.cli.conftest import Stand


def files(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


@pytest.fixture
def answered(capsys: pytest.CaptureFixture[str]):
    """Runs a command with --json and gives its exit code and its document."""

    def ask(*words: str) -> tuple[int, dict[str, Any]]:
        code = main([*words, "--json"])
        return code, json.loads(capsys.readouterr().out)

    return ask


def test_list_shows_what_stands_there(workspace: Path, answered: Any, capsys: pytest.CaptureFixture[str]) -> None:
    code, document = answered("list", "--workspace", str(workspace))
    (found,) = document["collections"]
    assert code == 0
    assert (found["name"], found["rows"], found["failed"], found["version"]) == (NAME, 6, 1, 1)
    assert main(["list", "--workspace", str(workspace)]) == 0
    assert f"{NAME} " in capsys.readouterr().out


def test_list_of_nothing_is_no_error_and_makes_nothing(tmp_path: Path, answered: Any) -> None:
    assert answered("list", "--workspace", str(tmp_path / "none"))[1]["collections"] == []
    assert not (tmp_path / "none").exists()


def test_info_says_what_it_holds(workspace: Path, answered: Any, capsys: pytest.CaptureFixture[str]) -> None:
    code, document = answered("info", NAME, "--workspace", str(workspace))
    assert code == 0
    assert (document["name"], document["records"], document["bands"]) == (NAME, 6, ["B02", "B03", "B04", "B08"])
    assert document["crs"] == ["EPSG:32631", "EPSG:32632"]
    assert main(["info", str(workspace / NAME)]) == 0
    assert NAME in capsys.readouterr().out


def test_info_path_is_a_plain_directory_and_nothing_else(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", NAME, "--path", "--workspace", str(workspace)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert Path(line).is_relative_to(workspace / NAME / "_versions")
    assert pq.read_table(line).num_rows == 6


def test_failures_names_the_missing_file(workspace: Path, answered: Any, capsys: pytest.CaptureFixture[str]) -> None:
    code, document = answered("failures", NAME, "--workspace", str(workspace))
    (row,) = document["failures"]
    assert code == 0
    assert (row["item_id"], row["band"], row["http_status"]) == ("S2_32TKN_20240709", "B08", 404)
    assert row["href"].endswith("/S2_32TKN_20240709/B08.tif")
    assert main(["failures", NAME, "--workspace", str(workspace)]) == 0
    assert row["href"] in capsys.readouterr().out


def test_export_is_a_plain_copy(workspace: Path, tmp_path: Path, answered: Any) -> None:
    code, document = answered("export", NAME, str(tmp_path / "shared"), "--workspace", str(workspace))
    assert (code, document["rows"]) == (0, 6)
    assert sorted(pq.read_table(tmp_path / "shared")["id"].to_pylist())[0] == "S2_31TGH_20240604"
    assert answered("export", NAME, str(tmp_path / "shared"), "--workspace", str(workspace))[0] == 2


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../outside", f"../workspace/{NAME}", "/etc", f"{NAME}/_versions", "no-such", "a\nb", "_cache"]
)
@pytest.mark.parametrize("command", ["delete", "failures"])
def test_no_name_leaves_the_workspace(command: str, name: str, workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outside = workspace.parent / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    before = files(workspace.parent)
    yes = ["--yes"] if command == "delete" else []
    assert main([command, name, *yes, "--workspace", str(workspace)]) == 2
    assert files(workspace.parent) == before
    assert "remedy: " in capsys.readouterr().err


def test_delete_deletes_the_collection_and_its_link_alone(workspace: Path, answered: Any) -> None:
    (workspace / "other").mkdir()
    (workspace / "other" / "file").write_text("x")
    code, document = answered("delete", NAME, "--yes", "--workspace", str(workspace))
    assert code == 0
    assert document["files"] > 2
    assert not (workspace / NAME).exists()
    assert not (workspace / f"{NAME}_stac").is_symlink()
    assert (workspace / "other" / "file").exists()
    assert answered("list", "--workspace", str(workspace))[1]["collections"] == []


def test_delete_asks_nobody_where_nobody_is(workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(workspace)
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert main(["delete", NAME, "--workspace", str(workspace)]) == 2
    assert files(workspace) == before
    assert "--yes" in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("typed", "code", "left"), [("y\n", 0, False), ("yes\n", 0, False), ("n\n", 2, True), ("\n", 2, True), ("", 2, True)]
)
def test_delete_asks(
    typed: str, code: int, left: bool, workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    assert main(["delete", NAME, "--workspace", str(workspace)]) == code
    assert (workspace / NAME).exists() is left
    assert f"delete the collection {NAME} (6 scenes)" in capsys.readouterr().err


def test_plan_of_something_new_writes_and_asks_nothing(stand: Stand, tmp_path: Path, answered: Any) -> None:
    before = stand.provider.count
    code, document = answered("plan", str(stand.home.spec), "--workspace", str(tmp_path / "none"))
    (plan,) = document["plans"]
    assert (code, plan["decision"]["action"]) == (0, "build")
    assert [shard["state"] for shard in plan["decision"]["shards"]] == ["closed"]
    assert stand.provider.count == before
    assert not (tmp_path / "none").exists()


def test_plan_of_the_same_is_reuse(built: Stand, workspace: Path, answered: Any, capsys: pytest.CaptureFixture[str]) -> None:
    before, asked = files(workspace), built.provider.count
    _, document = answered("plan", str(built.home.spec), "--workspace", str(workspace))
    (plan,) = document["plans"]
    assert (plan["decision"]["action"], plan["decision"]["pages"], plan["decision"]["headers"]) == ("reuse", 0, 0)
    assert main(["plan", str(built.home.spec), "--workspace", str(workspace)]) == 0
    assert f"{NAME}: reuse: " in capsys.readouterr().out
    assert files(workspace) == before
    assert built.provider.count == asked


@pytest.mark.parametrize(
    ("override", "field", "action"),
    [
        ("bbox=[5.9, 43.05, 6.1, 43.1]", "bbox", "derive"),
        ("dates=2024-06", "dates", "derive"),
        ("dates=2023-06/2024-12", "dates", "extend"),
        ('query={"eo:cloud_cover": {lt: 10}}', "query", "derive"),
        ("bands=[B02]", "band", "derive"),
        ("stac.url=http://127.0.0.1:9/stac", "source", "rebuild"),
    ],
)
def test_plan_of_another_question_names_what_differs(
    override: str, field: str, action: str, built: Stand, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(built.home.spec), "--set", override, "--workspace", str(workspace)]) == 0
    text = capsys.readouterr().out
    assert f"{NAME}: {action}: " in text
    (line,) = [line for line in text.splitlines() if line.startswith("differs in")]
    assert field in line


def test_plan_with_a_search_promises_what_a_run_asks_for(
    built: Stand, workspace: Path, answered: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(workspace)
    words = ("plan", str(built.home.spec), "--search", "--workspace", str(workspace), "--set")
    asked = built.provider.count
    _, document = answered(*words, "dates=2024-05/2024-08")
    (plan,) = document["plans"]
    assert plan["decision"]["pages"] is None
    assert built.provider.count != asked
    found = plan["forecast"]
    failed = plan["decision"]["ref"]["failed"]
    assert (found["pages"], found["gone"]) == (len(found["shards"]), 0)
    assert found["headers"] == failed, "what was read is remembered"
    assert sum(shard["scenes"] for shard in found["shards"]) == 6
    assert main([*words, "dates=2024-05/2024-08"]) == 0
    assert "6 scenes: 0 new, 0 changed; 0 gone" in capsys.readouterr().out
    assert main([*words, "bbox=[5.9, 43.05, 6.1, 43.1]"]) == 0
    assert "0 search pages, 0 headers" in capsys.readouterr().out
    assert files(workspace) == before


@pytest.mark.parametrize("override", ["build.retries", "=x", "build.retries=many", "colour=red"])
def test_wrong_overrides_are_refused(override: str, stand: Stand, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(stand.home.spec), "--set", override]) == 2
    assert "--set" in capsys.readouterr().err
