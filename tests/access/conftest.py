"""What several tests of the access room begin with."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.access.world import JUNE, World
from tests.servers import RangeServer, StacServer


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with StacServer() as stac, RangeServer({}) as files:
        made = World(stac, files, tmp_path / "ws")
        for number in range(6):
            made.add(number, JUNE + timedelta(days=10 * number))
        yield made
