"""What an import costs is part of the contract: no Prefect and no network library before they are needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("prefect", "pyarrow.dataset", "obstore", "pystac_client", "requests", "matplotlib", "tifffile", "imagecodecs", "pyproj")


def imported_by(code: str) -> set[str]:
    """Which of the heavy modules a fresh interpreter has after `code`."""
    program = f"import sys\n{code}\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
    return set(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split())


def test_the_package_alone_imports_nothing_heavy() -> None:
    assert imported_by("import rasterloom") == set()


@pytest.mark.parametrize("room", ["specs", "cli"])
def test_rooms_that_answer_at_once_import_nothing_heavy(room: str) -> None:
    assert imported_by(f"import rasterloom.{room}") == set()


def test_loading_a_collection_imports_no_prefect() -> None:
    assert "prefect" not in imported_by("import rasterloom.access.collection")


def test_read_jobs_import_no_matplotlib_before_they_draw() -> None:
    """Every run of a deployment imports them, and it would cost each a second."""
    assert "matplotlib" not in imported_by("import rasterloom.access.reads.run")
