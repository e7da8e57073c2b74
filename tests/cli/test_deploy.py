"""`rasterloom deploy`: what it refuses before it asks a server, and the file that it writes for Prefect's own command."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rasterloom.cli.main import main

SPEC = """\
version: 1
name: {name}
dataset: earthsearch/sentinel-2-l2a
bbox: [-122.5, 37.7, -122.3, 37.9]
dates: 2024-06
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "Team specs"
    folder.mkdir()
    for name in ("one", "two"):
        (folder / f"{name}.yaml").write_text(SPEC.format(name=name))
    return folder


def test_prune_wants_the_whole_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Else it would remove what is deployed of a spec that is still there."""
    assert main(["deploy", str(folder / "one.yaml"), "--prune"]) == 2
    assert "two.yaml is not among the specs" in capsys.readouterr().err


def test_prune_wants_one_folder_or_a_label(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "three.yaml").write_text(SPEC.format(name="three"))
    specs = [str(file) for file in (*sorted(folder.iterdir()), tmp_path / "three.yaml")]
    assert main(["deploy", *specs, "--prune"]) == 2
    assert "several folders" in capsys.readouterr().err


def test_output_is_a_file_of_prefect(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "prefect.yaml"
    assert main(["deploy", *(str(file) for file in sorted(folder.iterdir())), "--output", str(target)]) == 0
    document = yaml.safe_load(target.read_text())
    assert [each["name"] for each in document["deployments"]] == ["one", "two"]
    assert document["deployments"][0]["tags"] == ["rasterloom", "rasterloom:team-specs"]
    assert main(["deploy", str(folder / "one.yaml"), "--output", str(tmp_path / "no" / "prefect.yaml")]) == 2


@pytest.mark.parametrize("text", ["a.example.org", "a.example.org=0", "a.example.org=x", "a b=3"])
def test_a_limit_is_a_host_and_a_number(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["setup", "--limit", text]) == 2
    assert "remedy" in capsys.readouterr().err
