"""A real object store, and a proxy before it that serialises writes and breaks connections, answers and promises.

The server is moto's, in the interpreter that MOTO_PYTHON names or in this one (`pip install "moto[s3]" flask flask-cors`), or any that
TORTURE_S3_ENDPOINT names (Ceph, MinIO; with TORTURE_S3_KEY and TORTURE_S3_SECRET), or Azurite (TORTURE_AZURITE). moto looks and
stores in two steps that are not locked, so the proxy lets one write through at a time; its faults come from a seed.
"""

from __future__ import annotations

import http.client
import importlib.util
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest

from tests.servers import Request, Response, Server, free_port
from tests.torture import azurite

BUCKET = "torture"
_ERROR = b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>a planted fault</Message></Error>'
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


def moto_python() -> str | None:
    named = os.environ.get("MOTO_PYTHON")
    return named or (sys.executable if importlib.util.find_spec("moto") and importlib.util.find_spec("flask") else None)


@dataclass(frozen=True, slots=True)
class Store:
    """An object store that runs."""

    url: str
    root: str
    """URI of its one bucket."""

    def environment(self, url: str) -> dict[str, str]:
        """Of a process that is to find the store at `url`."""
        if self.root.startswith("az:"):
            return azurite.environment(url)
        key, secret = (os.environ.get(name, "tester") for name in ("TORTURE_S3_KEY", "TORTURE_S3_SECRET"))
        return {"AWS_ENDPOINT_URL": url, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}


@contextmanager
def object_store() -> Iterator[Store]:
    """Skips where there is none to start."""
    if "TORTURE_AZURITE" in os.environ:
        with azurite.azurite(os.environ["TORTURE_AZURITE"], BUCKET) as url:
            yield Store(url, f"az://{BUCKET}")
    elif "TORTURE_S3_ENDPOINT" in os.environ:
        yield Store(os.environ["TORTURE_S3_ENDPOINT"], f"s3://{BUCKET}")
    else:
        with moto() as url:
            yield Store(url, f"s3://{BUCKET}")


@contextmanager
def moto() -> Iterator[str]:
    python = moto_python()
    if python is None:
        pytest.skip("moto is not installed, and none of MOTO_PYTHON, TORTURE_S3_ENDPOINT and TORTURE_AZURITE is set")
    port = free_port()
    process = subprocess.Popen(
        [python, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        make_bucket(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def make_bucket(url: str, process: subprocess.Popen[bytes]) -> None:
    host = urlsplit(url).netloc
    for _ in range(300):
        assert process.poll() is None, "the S3 server ended"
        with suppress(OSError):
            connection = http.client.HTTPConnection(host, timeout=30)
            connection.request("PUT", f"/{BUCKET}")
            assert connection.getresponse().status in (200, 409)
            return
        time.sleep(0.2)
    raise AssertionError("the S3 server does not answer")


@dataclass(slots=True)
class Weather:
    """Chances per request."""

    burst: float = 0.0
    """This and some more requests are answered with 503, undone."""
    cut_body: float = 0.0
    """A download breaks off in the middle; an upload is never answered and not done."""
    short_body: float = 0.0
    """A range comes back too short, with an honest length."""
    lost_answer: float = 0.0
    """A write is done, and the connection closed without an answer."""
    late_error: float = 0.0
    """A write is done, and answered with 500."""
    conflict: float = 0.0
    """A conditional write is answered with 409: done or not done, it does not say."""

    @classmethod
    def storm(cls, strength: float = 1.0) -> Weather:
        return cls(
            burst=0.02 * strength,
            cut_body=0.03 * strength,
            lost_answer=0.05 * strength,
            late_error=0.05 * strength,
            conflict=0.2 * strength,
        )


@dataclass
class Proxy(Server):
    """Stands before the store at `url_behind`, whose bucket is `root`."""

    url_behind: str = ""
    root: str = ""
    weather: Weather = field(default_factory=Weather)
    seed: int = 0

    def __post_init__(self) -> None:
        super().__init__()
        self.faults: dict[str, int] = {}
        """How often each kind of fault was planted."""
        self._random = random.Random(self.seed)
        self._dice = threading.Lock()
        self._writes = threading.Lock()
        self._local = threading.local()
        self._burst_left = 0

    def respond(self, request: Request) -> Response:
        is_write = request.method in ("PUT", "POST", "DELETE")
        if self._bursts():
            return Response(503, _ERROR % b"SlowDown")
        if is_write and "if-none-match" in request.headers and self._strikes("conflict"):
            if self._strikes("conflict", 0.5):
                self._forwarded(request)
            return Response(409, _ERROR % b"ConditionalRequestConflict")
        if is_write and self._strikes("cut_body"):
            raise ConnectionResetError
        response = self._forwarded(request)
        if is_write and self._strikes("lost_answer"):
            raise ConnectionResetError
        if is_write and self._strikes("late_error"):
            return Response(500, _ERROR % b"InternalError")
        return response if is_write else self._damaged(request, response)

    def _damaged(self, request: Request, response: Response) -> Response:
        if len(response.body) > 1 and self._strikes("cut_body"):
            response.cut_after = len(response.body) // 2
        elif request.range is not None and self._strikes("short_body"):
            response.body = response.body[: len(response.body) // 2]
        return response

    def _bursts(self) -> bool:
        with self._dice:
            if self._burst_left > 0:
                self._burst_left -= 1
                return True
        if self._strikes("burst"):
            with self._dice:
                self._burst_left = self._random.randint(0, 4)
            return True
        return False

    def _strikes(self, kind: str, chance: float | None = None) -> bool:
        with self._dice:
            struck = self._random.random() < (getattr(self.weather, kind) if chance is None else chance)
            if struck and chance is None:
                self.faults[kind] = self.faults.get(kind, 0) + 1
            return struck

    def _forwarded(self, request: Request) -> Response:
        if request.method in ("PUT", "POST", "DELETE"):
            with self._writes:
                return self._sent(request)
        return self._sent(request)

    def _sent(self, request: Request) -> Response:
        connection = self._connection()
        headers = {name: value for name, value in request.headers.items() if name not in ("connection", "accept-encoding")}
        try:
            connection.request(request.method, request.target, body=request.body or None, headers=headers)
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException):
            self._local.connection = None
            raise ConnectionResetError from None
        kept = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP}
        if request.method == "HEAD":
            kept["Content-Length"] = answer.getheader("Content-Length") or "0"
        return Response(answer.status, body, kept)

    def _connection(self) -> http.client.HTTPConnection:
        """One per thread, as one thread serves one connection."""
        if getattr(self._local, "connection", None) is None:
            self._local.connection = http.client.HTTPConnection(urlsplit(self.url_behind).netloc, timeout=60)
        return self._local.connection
