"""`snapshots`, `rollback`, `verify`, `gc`, and what opens an older snapshot."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from rasterloom.access.building.publish import publish
from rasterloom.access.collection import load
from rasterloom.access.values import Failure
from rasterloom.access.versions.heartbeat import Heartbeat
from rasterloom.access.workspace.place import open_workspace
from rasterloom.cli.main import main
from rasterloom.errors import SpecError
from rasterloom.specs.effort import Effort
from tests.access.building import job, opened, question, scene, searched, staged

FAILED = Failure(stage="header", reason="missing", message="404", item_id="x", band="B02", href="https://h/x.tif")


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Snapshots 1, 2 and 3 of `s2` with 5, 10 and 20 scenes; two are kept."""
    place = tmp_path_factory.mktemp("history")
    for number in range(3):
        one = job(place, asked=question(("B02",)), run_id=f"run-{number}", effort=Effort(keep_snapshots=2, force=True))
        scenes = [scene(each, bands=("B02",)) for each in range(0, 8000, 1600 >> number)]
        failures = (FAILED,) if number == 2 else ()
        publish(one, [searched(scenes)], staged(opened(one), scenes, failures=failures, width=512, tile=256))
    return place


@pytest.fixture
def place(three: Path, tmp_path: Path) -> Path:
    shutil.copytree(three, tmp_path / "ws", symlinks=True)
    return tmp_path / "ws"


@pytest.fixture
def answered(place: Path, capsys: pytest.CaptureFixture[str]):
    """Runs a command with --json in the workspace and gives its exit code and its document."""

    def ask(*words: str) -> tuple[int, dict[str, Any]]:
        code = main([*words, "--workspace", str(place), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return ask


def said(place: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main([*words, "--workspace", str(place)]) in (0, 5)
    return capsys.readouterr().out


def test_snapshots_lists_every_commit(place: Path, answered: Any, capsys: pytest.CaptureFixture[str]) -> None:
    code, document = answered("snapshots", "s2")
    lines = document["snapshots"]
    assert code == 0
    assert [(each["number"], each["rows"], each["failed"], each["is_current"], each["is_kept"]) for each in lines] == [
        (3, 20, 1, True, True),
        (2, 10, 0, False, True),
        (1, 5, 0, False, False),
    ]
    text = said(place, capsys, "snapshots", "s2").splitlines()
    assert text[0].split() == ["SNAPSHOT", "COMMITTED", "(UTC)", "SCENES", "FAILED", "SIZE", "BY"]
    assert text[1].endswith("current")
    assert text[3].endswith("no longer kept")


def test_rollback_and_forth(place: Path, answered: Any, capsys: pytest.CaptureFixture[str]) -> None:
    code, document = answered("rollback", "s2", "2")
    assert (code, document["snapshot"], document["rollback_of"], document["rows"]) == (0, 4, 2, 10)
    assert len(load("s2", str(place))) == 10
    assert os.readlink(place / "s2_stac") == f"s2/_versions/{document['directory']}"
    assert "rollback to 2" in said(place, capsys, "snapshots", "s2")
    assert answered("failures", "s2")[1]["failures"] == []
    assert "snapshot 5 holds what 3 held, 20 scenes" in said(place, capsys, "rollback", "s2", "3")
    assert len(load("s2", str(place))) == 20
    assert len(answered("failures", "s2")[1]["failures"]) == 1


@pytest.mark.parametrize(("number", "told"), [("1", "no longer kept"), ("0", "it has 1 to 3"), ("9", "it has 1 to 3")])
def test_rollback_to_what_is_not_there_changes_nothing(place: Path, answered: Any, number: str, told: str) -> None:
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    code, document = answered("rollback", "s2", number)
    assert code == 2
    assert told in document["error"]["message"]
    assert document["error"]["remedy"]
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


def test_an_older_snapshot_is_opened_by_its_number(place: Path, tmp_path: Path, answered: Any) -> None:
    assert len(load("s2", str(place), snapshot=2)) == len(load(place / "s2", snapshot=2)) == 10
    assert answered("info", "s2", "--snapshot", "2")[1]["records"] == 10
    assert answered("info", "s2", "--snapshot", "2", "--path")[1]["path"].endswith("/s2/_versions/run-1")
    assert answered("export", "s2", str(tmp_path / "copy"), "--snapshot", "2")[1]["rows"] == 10
    assert pq.read_table(tmp_path / "copy").num_rows == 10
    assert answered("info", "s2", "--snapshot", "1")[0] == 2
    with pytest.raises(SpecError, match="has no snapshots"):
        load(tmp_path / "copy", snapshot=1)


def test_info_shows_where_it_comes_from(place: Path, tmp_path: Path, answered: Any, capsys: pytest.CaptureFixture[str]) -> None:
    _, document = answered("info", "s2")
    found = document["provenance"]
    assert (found["snapshot"], found["parent"], found["rows"], found["failed"], found["run_id"]) == (3, 2, 20, 1, "run-2")
    assert json.loads(found["failed_by_reason"]) == {"missing": 1}
    assert json.loads(found["question"])["source"]["collection"] == "sentinel-2-l2a"
    text = said(place, capsys, "info", "s2")
    assert "3 (build, " in text
    assert "1 missing" in text
    assert "pyarrow " in text
    load("s2", str(place)).export(tmp_path / "copy")
    assert "provenance" not in answered("info", str(tmp_path / "copy"))[1]


def test_provenance_is_a_table(place: Path, tmp_path: Path) -> None:
    collection = load("s2", str(place))
    table = collection.provenance()
    assert table["snapshot"].to_pylist() == [3, 2, 1]
    assert table["rows"].to_pylist() == [20, 10, 5]
    assert table["requests"].to_pylist() == [1, 1, 1]
    assert load("s2", str(place), snapshot=2).provenance()["snapshot"].to_pylist() == [2, 1]
    collection.export(tmp_path / "copy")
    with pytest.raises(SpecError, match="has no history"):
        load(tmp_path / "copy").provenance()


def test_verify_tells_what_is_damaged(place: Path, answered: Any, capsys: pytest.CaptureFixture[str]) -> None:
    code, document = answered("verify", "s2")
    assert (code, document["damaged"], document["findings"], len(document["snapshots"])) == (0, False, [], 3)
    assert "of snapshots 1, 2, 3" in said(place, capsys, "verify", "s2")
    victim = next((place / "s2/_versions/run-2").rglob("*.parquet"))
    victim.write_bytes(victim.read_bytes()[:-1])
    code, document = answered("verify", "s2")
    assert (code, document["damaged"]) == (5, True)
    assert [(each["kind"], each["path"]) for each in document["findings"]] == [("changed", victim.relative_to(place).as_posix())]
    assert "DAMAGE  changed  s2/_versions/run-2/" in said(place, capsys, "verify", "s2")
    assert answered("verify", "s2", "--repair")[0] == 5, "data cannot be repaired"


def test_verify_repairs_the_hint(place: Path, answered: Any) -> None:
    (place / "s2/_latest.json").write_text("{}")
    code, document = answered("verify", "s2")
    assert (code, [each["kind"] for each in document["findings"]]) == (0, ["hint"])
    assert answered("verify", "s2", "--repair")[1]["findings"] == []
    assert answered("verify", "s2")[1]["findings"] == []


def test_gc_takes_what_is_not_kept_after_the_grace_time(place: Path, answered: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert answered("gc", "s2")[1]["collected"][0]["versions"] == []
    (part,) = answered("gc", "s2", "--grace", "0", "--dry-run")[1]["collected"]
    assert (part["versions"], (place / "s2/_versions/run-0").is_dir()) == (["run-0"], True)
    assert "WOULD TAKE FROM" in said(place, capsys, "gc", "s2", "--grace", "0", "--dry-run")
    first, cache = answered("gc", "--all", "--grace", "0")[1]["collected"]
    assert (first["name"], first["versions"], cache["name"], cache["files"]) == ("s2", ["run-0"], "_cache", 0)
    assert sorted(path.name for path in (place / "s2/_versions").iterdir()) == ["run-1", "run-2"]
    assert answered("verify", "s2")[1]["findings"] == []
    assert answered("gc", "nothing")[0] == 2


# --- names, paths and links --------------------------------------------------------------------------------------------------------


def test_a_plain_name_is_the_workspace_s(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A directory of that name in the current directory is another one: `./s2`."""
    (tmp_path / "here").mkdir()
    load("s2", str(place), snapshot=2).export(tmp_path / "here/s2")
    load("s2", str(place), snapshot=2).export(tmp_path / "here/only-here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("RASTERLOOM_WORKSPACE", str(place))
    assert (len(load("s2")), len(load("./s2")), len(load("only-here"))) == (20, 10, 10)
    assert main(["info", "s2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["records"] == 20
    with pytest.raises(SpecError, match="no collection named 'only-here'"):
        load("only-here", str(place))


@pytest.mark.parametrize("command", ["delete", "failures", "snapshots", "verify", "gc", "rollback", "info"])
@pytest.mark.parametrize("name", ["", "..", "../ws2", "s2/../s2", "alias", "outside"])
def test_no_name_leaves_the_workspace_or_follows_a_link(
    command: str, name: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`alias` leads to a collection inside, `outside` to one elsewhere: neither is a collection of this workspace."""
    shutil.copytree(place, tmp_path / "ws2", symlinks=True)
    (place / "alias").symlink_to("s2")
    (place / "outside").symlink_to(tmp_path / "ws2" / "s2")
    monkeypatch.chdir(place)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    more = {"delete": ["--yes"], "rollback": ["2"], "gc": ["--grace", "0"]}.get(command, [])
    if command == "info" and "/" in name:
        pytest.skip("a path, and paths may be read")
    assert main([command, name, *more, "--workspace", str(place)]) == 2
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("part", ["_versions", "_commits", "_versions/run-2"])
def test_delete_stops_at_a_link_inside_of_a_collection(place: Path, tmp_path: Path, part: str) -> None:
    """What stands behind it stays."""
    (place / "s2" / part).rename(tmp_path / "elsewhere")
    (place / "s2" / part).symlink_to(tmp_path / "elsewhere")
    before = sorted(path.relative_to(tmp_path) for path in (tmp_path / "elsewhere").rglob("*"))
    main(["delete", "s2", "--yes", "--workspace", str(place)])
    assert sorted(path.relative_to(tmp_path) for path in (tmp_path / "elsewhere").rglob("*")) == before


@pytest.mark.parametrize("target", ["{ws}/s2/copy", "{ws}/s2/_versions/run-9", "{link}/copy", "{ws}/s2_stac", "{ws}/s2_stac/year=2024"])
def test_no_export_lands_in_a_stored_collection(place: Path, tmp_path: Path, answered: Any, target: str) -> None:
    (tmp_path / "link").symlink_to(place / "s2")
    before = sorted(tmp_path.rglob("*"))
    assert answered("export", "s2", target.format(ws=place, link=tmp_path / "link"))[0] == 2
    assert sorted(tmp_path.rglob("*")) == before


def test_a_collection_that_is_being_built_is_not_deleted(place: Path, answered: Any) -> None:
    with Heartbeat(open_workspace(str(place)), "s2", "run-9"):
        code, document = answered("delete", "s2", "--yes")
    assert code == 4
    assert "building s2 now" in document["error"]["message"]
    assert answered("delete", "s2", "--yes")[0] == 0


def test_what_never_committed_can_be_deleted(place: Path, answered: Any) -> None:
    (place / "half/_versions/run").mkdir(parents=True)
    (place / "half/_versions/run/part.parquet").write_bytes(b"x")
    assert answered("delete", "half", "--yes")[1]["files"] == 1
    assert not (place / "half").exists()


def test_a_version_opens_by_its_directory_after_a_rollback(place: Path, answered: Any) -> None:
    assert answered("rollback", "s2", "2")[0] == 0
    found = load(place / "s2/_versions/run-1")
    assert found.commit is not None
    assert (found.commit.version, replace(found.commit, files=()).rows) == (4, 10)
