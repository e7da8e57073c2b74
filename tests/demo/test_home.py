"""The demo's directory, and that it takes no one else's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rasterloom.demo.home import claim, settle
from rasterloom.errors import SpecError
from rasterloom.specs.loader import load_specs
from rasterloom.specs.resolve import effort, resolve


def test_the_spec_of_the_demo_is_a_spec(tmp_path: Path) -> None:
    home = claim(tmp_path / "it's a 'demo'")
    home.write_spec("http://127.0.0.1:4711/stac", 4711)
    (spec,) = load_specs(home.spec)
    assert resolve(spec).source.url == "http://127.0.0.1:4711/stac"
    assert [band.asset for band in resolve(spec).bands] == ["blue", "green", "red", "nir"]
    assert spec.workspace == str(home.workspace)
    assert effort(spec).allow_private_hosts
    assert home.port() == 4711


def test_its_own_directory_is_taken_again_and_emptied(tmp_path: Path) -> None:
    home = claim(tmp_path / "demo")
    home.workspace.mkdir()
    (home.directory / "notes.txt").write_text("mine")
    assert claim(tmp_path / "demo") == home
    assert not home.workspace.exists()
    assert (home.directory / "notes.txt").read_text() == "mine"


def test_an_empty_directory_may_be_taken(tmp_path: Path) -> None:
    assert claim(tmp_path).directory == tmp_path


def test_a_foreign_directory_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace" / "precious").write_text("x")
    with pytest.raises(SpecError, match="not made by a demo"):
        claim(tmp_path)
    assert (tmp_path / "workspace" / "precious").read_text() == "x"


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(SpecError, match="is a file"):
        claim(tmp_path / "file")
    with pytest.raises(SpecError, match="cannot write to"):
        claim(tmp_path / "file" / "below")


def test_serving_again_needs_a_demo(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no demo was made"):
        claim(tmp_path).port()


def test_it_has_a_prefect_of_its_own_unless_a_server_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = claim(tmp_path)
    monkeypatch.setenv("PREFECT_HOME", "users")
    monkeypatch.setenv("NO_PROXY", "example.com")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    settle(home)
    assert os.environ["PREFECT_HOME"] == "users"
    monkeypatch.delenv("PREFECT_API_URL")
    settle(home)
    assert os.environ["PREFECT_HOME"] == str(tmp_path / "prefect")
    assert "127.0.0.1" in os.environ["NO_PROXY"].split(",")
    assert os.environ["NO_PROXY"].startswith("example.com,")
