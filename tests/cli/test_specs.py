"""`validate`, `init`, `schema`, `datasets`: commands that read specs and touch nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rasterloom.cli.main import main
from rasterloom.specs.catalog import datasets
from rasterloom.specs.loader import load_specs
from rasterloom.specs.resolve import effort, resolve
from rasterloom.specs.schema import json_schema
from tests.cli.conftest import spec_file

RUNNABLE = [each.id for each in datasets() if each.supported]


def test_validate_names_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both, one = spec_file(tmp_path, "a", "b"), spec_file(tmp_path, "c")
    assert main(["validate", both, one]) == 0
    assert capsys.readouterr().out == f"{both}: a, b: valid\n{one}: c: valid\n"


def test_validate_checks_every_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong, good, also = spec_file(tmp_path, "A"), spec_file(tmp_path, "b"), spec_file(tmp_path, "c", more="colour: red\n")
    assert main(["validate", wrong, good, also, "--json"]) == 2
    seen = capsys.readouterr()
    document = json.loads(seen.out)
    assert not document["valid"]
    assert [each["valid"] for each in document["files"]] == [False, True, False]
    assert [document["files"][index]["errors"][0]["problems"][0]["line"] for index in (0, 2)] == [2, 7]
    assert f"{wrong}:2:" in seen.err
    assert f"{also}:7:" in seen.err


def test_one_name_in_two_files_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x").mkdir()
    one, other = spec_file(tmp_path, "a"), spec_file(tmp_path / "x", "a")
    for command in ("validate", "plan", "run"):
        assert main([command, one, spec_file(tmp_path, "b"), other]) == 2
        assert f"2 specs of {one} and {other} share the name a" in capsys.readouterr().err


def test_what_a_plan_refuses_is_not_valid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fine = spec_file(tmp_path, "a", more="split: {time: PT1S}\n")
    for command in ("validate", "plan"):
        assert main([command, fine]) == 2
        assert "makes more than 10000 windows" in capsys.readouterr().err


def test_every_key_of_the_schema_is_described() -> None:
    parts = [json_schema(), *json_schema()["$defs"].values()]
    assert [name for part in parts for name, key in part.get("properties", {}).items() if not key.get("description")] == []


def test_schema_is_the_published_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json_schema()


def test_datasets_lists_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "--json"]) == 0
    assert [each["id"] for each in json.loads(capsys.readouterr().out)["datasets"]] == [each.id for each in datasets()]
    assert main(["datasets", "list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(datasets()) + 1


def test_datasets_info_shows_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "info", "earthsearch/sentinel-2-l2a"]) == 0
    text = capsys.readouterr().out
    assert "sentinel-2-l2a" in text
    assert "B02" in text


def test_an_unknown_dataset_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "info", "earthsearch/sentinel-2-l2"]) == 2
    assert "earthsearch/sentinel-2-l2a" in capsys.readouterr().err


@pytest.mark.parametrize("dataset", RUNNABLE)
def test_init_writes_a_spec_that_runs(dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new.yaml"
    assert main(["init", str(path), "--dataset", dataset]) == 0
    (spec,) = load_specs(path)
    assert (spec.dataset, bool(spec.bbox), bool(spec.dates)) == (dataset, True, True)
    assert resolve(spec).bands
    assert effort(spec).max_concurrent > 0
    assert str(path) in capsys.readouterr().out


def test_the_optional_lines_of_init_are_valid_too(tmp_path: Path) -> None:
    path = tmp_path / "new.yaml"
    assert main(["init", str(path), "--name", "mine"]) == 0
    text = path.read_text()
    keys = ("bands", "query", "build", "  max", "workspace")
    path.write_text("".join(line[2:] if line[2:].startswith(keys) else line for line in text.splitlines(keepends=True)))
    (spec,) = load_specs(path)
    assert (spec.name, len(spec.bands or ()), spec.workspace) == ("mine", 2, "./workspace")


def test_init_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("precious")
    assert main(["init", str(path)]) == 2
    assert path.read_text() == "precious"
    assert "not overwritten" in capsys.readouterr().err


def test_init_names_the_file_after_the_collection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "--name", "madrid"]) == 0
    assert load_specs(tmp_path / "madrid.yaml")[0].name == "madrid"


def test_init_refuses_a_name_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "--name", "../x"]) == 2
    assert list(tmp_path.iterdir()) == []
    assert "name" in capsys.readouterr().err


def test_init_to_stdout_writes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "-"]) == 0
    assert capsys.readouterr().out.startswith("# ")
    assert list(tmp_path.iterdir()) == []
