"""The whole product against real servers in processes and threads of their own. See README.md beside this file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
from prefect.settings import PREFECT_API_URL
from prefect.testing.utilities import prefect_test_harness

from rasterloom.tasks.settings import local_settings
from tests.acceptance.stac import RealStac
from tests.servers import StacServer

Items = Sequence[Mapping[str, Any]]
Publish = Callable[[Items], str]
"""Puts items into a STAC API and returns its URL."""
SCENES = 500


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[str]:
    """URL of one Prefect server for all tests of this folder."""
    with local_settings(), prefect_test_harness(server_startup_timeout=120):
        yield PREFECT_API_URL.value()


@pytest.fixture(params=["local", "real"])
def publish(request: pytest.FixtureRequest) -> Iterator[Publish]:
    """Into the STAC server of these tests, and into the real one that ACCEPTANCE_STAC names (skipped without)."""
    with ExitStack() as stack:
        if request.param == "local":
            yield lambda items: stack.enter_context(StacServer(items)).url
            return
        url = os.environ.get("ACCEPTANCE_STAC")
        if not url:
            pytest.skip("ACCEPTANCE_STAC names no STAC API with the Transaction extension")
        yield RealStac(url, stack).publish


@pytest.fixture(scope="session")
def archive(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of the benchmark's server: 500 scenes of 4 bands with the headers of full-size Sentinel-2 COGs."""
    command = [sys.executable, str(root / "bench" / "server.py"), str(tmp_path_factory.mktemp("templates")), "--scenes", str(SCENES)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()


@pytest.fixture(scope="session")
def archive_items(archive: str) -> list[dict[str, Any]]:
    """All items of the archive."""
    body = {"collections": ["bench-s2"], "limit": 1000}
    return requests.post(f"{archive}/stac/search", json=body, timeout=60).json()["features"]
