"""What several tests of the access room begin with."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import boto3
import pytest

from tests.access.world import JUNE, World
from tests.servers import RangeServer, StacServer
from tests.torture.objects import moto


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with StacServer() as stac, RangeServer({}) as files:
        made = World(stac, files, tmp_path / "ws")
        for number in range(6):
            made.add(number, JUNE + timedelta(days=10 * number))
        yield made


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A workspace in an object store."""
    with moto() as url:
        named = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ENDPOINT_URL": url, "AWS_REGION": "us-east-1"}
        for name, value in named.items():
            monkeypatch.setenv(name, value)
        boto3.client("s3", endpoint_url=url).create_bucket(Bucket="shelf")
        yield "s3://shelf/ws"
