"""One Prefect server for all tests of the room. Its home was moved by tests/conftest.py before Prefect was imported."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prefect.testing.utilities import prefect_test_harness

from rasterloom.tasks.settings import local_settings


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    with local_settings(), prefect_test_harness(server_startup_timeout=120):
        yield
