"""The root is the package: what is shipped has to be exactly the rooms, whichever way the wheel is built."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOMS = ("specs", "raster", "access", "tasks", "flows", "demo", "cli")
AT_THE_ROOT = {"__init__.py", "errors.py", "py.typed"}
DATA = ("specs/catalog/*.yaml", "specs/schema.json")
"""The example specs beside them are for readers of the repository."""


def shipped(root: Path) -> set[str]:
    """What the wheel should hold, from the folders of the rooms alone."""
    patterns = [*(f"{room}/**/*.py" for room in ROOMS), *DATA]
    files = [file for pattern in patterns for file in root.glob(pattern)]
    return {f"rasterloom/{file.relative_to(root).as_posix()}" for file in files} | {f"rasterloom/{name}" for name in AT_THE_ROOT}


def wheel_contents(wheel: Path) -> set[str]:
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


def build(what: str, source: Path, target: Path) -> Path:
    subprocess.run([sys.executable, "-m", "build", f"--{what}", "--outdir", str(target), str(source)], check=True, capture_output=True)
    return next(target.iterdir())


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """A copy of what git knows or would take, so that building leaves nothing in the checkout."""
    copy = tmp_path_factory.mktemp("checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=root, check=True, capture_output=True, text=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (root / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, copy / name)
    return copy


@pytest.mark.slow
def test_wheel_holds_exactly_the_rooms(checkout: Path, tmp_path: Path) -> None:
    assert wheel_contents(build("wheel", checkout, tmp_path)) == shipped(checkout)


@pytest.mark.slow
def test_wheel_of_the_sdist_holds_exactly_the_rooms(checkout: Path, tmp_path: Path) -> None:
    with tarfile.open(build("sdist", checkout, tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    unpacked = next((tmp_path / "unpacked").iterdir())
    assert wheel_contents(build("wheel", unpacked, tmp_path / "wheel")) == shipped(checkout)
