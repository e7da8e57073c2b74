"""Files for every test of the room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.raster.corpus import CountingFile, Field, build, plain_fields, write_corpus


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Name -> file, all of which GDAL opens."""
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def real(shared: Path) -> dict[str, Path]:
    """Real files of ../shared; `corrupt.tif` is left out, because some of its tiles lie beyond its end on purpose."""
    files = sorted((shared / "data" / "cogs").glob("*/*"))
    return {str(path.relative_to(shared)): path for path in files if path.name != "corrupt.tif"}


@pytest.fixture
def counting() -> type[CountingFile]:
    return CountingFile


@pytest.fixture
def plain() -> dict[int, Field]:
    return plain_fields()


@pytest.fixture
def make() -> Callable[..., bytes]:
    return build
