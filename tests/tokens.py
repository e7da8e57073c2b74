"""Servers that hand out credentials and check them: a SAS token service, blobs that want a token, Azurite, an Earthdata login.

    with BlobServer({"/account/container/a.tif": data}) as blobs, TokenServer(blobs, life=2.0) as tokens: ...

Azurite is the emulator of the AZURITE environment variable (the command `azurite-blob` of `npm install azurite`), or tests of it skip.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import shlex
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from urllib.parse import parse_qs, quote, urlencode

import pytest
import requests

from tests.servers import RangeServer, Request, Response, Server, free_port

VERSION = "2020-12-06"
"""Of the signature, and with it of the text that is signed."""


def sas(account: str, container: str, key: str, *, life: float, permissions: str = "rl") -> str:
    """A service SAS of a container (learn.microsoft.com, "Create a service SAS", version 2020-12-06), percent-encoded."""
    start, end = (f"{datetime.now(UTC) + timedelta(seconds=shift):%Y-%m-%dT%H:%M:%SZ}" for shift in (-3600, life))
    signed = [permissions, start, end, f"/blob/{account}/{container}", "", "", "", VERSION, "c", "", "", "", "", "", "", ""]
    fields = {"sv": VERSION, "st": start, "se": end, "sr": "c", "sp": permissions, "sig": signature(key, "\n".join(signed))}
    return urlencode(fields, quote_via=quote)


def account_sas(account: str, key: str) -> str:
    """All rights for an hour (learn.microsoft.com, "Create an account SAS")."""
    end = f"{datetime.now(UTC) + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
    signed = [account, "rwdlac", "b", "sco", "", end, "", "", VERSION, "", ""]
    fields = {"sv": VERSION, "ss": "b", "srt": "sco", "sp": "rwdlac", "se": end, "sig": signature(key, "\n".join(signed))}
    return urlencode(fields, quote_via=quote)


def signature(key: str, text: str) -> str:
    return base64.b64encode(hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()).decode()


def end_of(target: str) -> datetime | None:
    """`se` of a signed target; None where it has none."""
    found = parse_qs(target.partition("?")[2]).get("se")
    return datetime.fromisoformat(found[0]) if found else None


class DatedServer(RangeServer):
    """Says Last-Modified, which obstore demands of Azure and Google."""

    def respond(self, request: Request) -> Response:
        answer = super().respond(request)
        answer.headers["Last-Modified"] = formatdate(1_700_000_000, usegmt=True)
        return answer


class BlobServer(DatedServer):
    """Blobs at `/account/container/key` for whoever has a SAS of `key` that has not ended; `public` containers for everybody."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        super().__init__(files)
        self.key = base64.b64encode(secrets.token_bytes(64)).decode()
        self.public: set[str] = set()
        self.refused = 0

    def respond(self, request: Request) -> Response:
        _, account, container, *_ = request.path.split("/")
        if f"{account}/{container}" not in self.public and not self._admits(request, account, container):
            self.refused += 1
            return Response(403, b"<Error><Code>AuthenticationFailed</Code></Error>")
        return super().respond(request)

    def _admits(self, request: Request, account: str, container: str) -> bool:
        given = {name: values[0] for name, values in parse_qs(request.target.partition("?")[2]).items()}
        if not given.get("sig") or datetime.fromisoformat(given["se"]) <= datetime.now(UTC):
            return False
        resource = f"/blob/{account}/{container}"
        signed = [given["sp"], given["st"], given["se"], resource, "", "", "", VERSION, "c", "", "", "", "", "", "", ""]
        return hmac.compare_digest(given["sig"], signature(self.key, "\n".join(signed)))


class TokenServer(Server):
    """`GET /token/{account}/{container}` as the Planetary Computer answers it; a container of another account is 404."""

    def __init__(self, key: str, account: str, *, life: float = 2700.0) -> None:
        super().__init__()
        self.key, self.account, self.life = key, account, life
        self.said_life: float | None = None
        """What `msft:expiry` claims, where it lies."""
        self.subscription: str | None = None
        """Demand this key."""
        self.answers: list[Response] = []
        """Given first, one by one."""
        self.tokens: list[str] = []

    def respond(self, request: Request) -> Response:
        if self.answers:
            return self.answers.pop(0)
        if self.subscription is not None and request.headers.get("ocp-apim-subscription-key") != self.subscription:
            return Response(401, b'{"message": "Access denied due to invalid subscription key."}')
        match request.path.split("/"):
            case ["", "token", account, container] if account == self.account:
                return self._token(account, container)
            case _:
                return Response(404, b'{"detail": "Not Found"}', {"Content-Type": "application/json"})

    def _token(self, account: str, container: str) -> Response:
        self.tokens.append(sas(account, container, self.key, life=self.life))
        said = datetime.now(UTC) + timedelta(seconds=self.life if self.said_life is None else self.said_life)
        body = {"msft:expiry": f"{said:%Y-%m-%dT%H:%M:%SZ}", "token": self.tokens[-1]}
        return Response(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    @property
    def signatures(self) -> set[str]:
        """Every signature that was handed out, as text and as it stands in a URL."""
        found = {parse_qs(token)["sig"][0] for token in self.tokens}
        return found | {quote(text, safe="") for text in found}


class Login(Server):
    """An Earthdata-shaped login and file server: a bearer token opens `/protected/...`, which redirects to `elsewhere`."""

    def __init__(self, elsewhere: str = "") -> None:
        super().__init__()
        self.elsewhere = elsewhere
        self.user, self.password, self.token = "nasa-user", "nasa-passw0rd", "EDL-0123456789abcdef"
        self.s3_life = 3600.0

    def respond(self, request: Request) -> Response:
        bearer = request.headers.get("authorization") == f"Bearer {self.token}"
        match request.path.split("/"):
            case ["", "api", "users", "find_or_create_token"]:
                basic = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
                if request.method != "POST" or request.headers.get("authorization") != f"Basic {basic}":
                    return Response(401, b'{"error": "invalid_credentials"}', {"Content-Type": "application/json"})
                body = {"access_token": self.token, "token_type": "Bearer", "expiration_date": "12/31/2099"}
                return Response(200, json.dumps(body).encode(), {"Content-Type": "application/json"})
            case ["", "s3credentials"] if bearer:
                ends = datetime.now(UTC) + timedelta(seconds=self.s3_life)
                body = {"accessKeyId": "TMPKEY", "secretAccessKey": "tmp-s3cret", "sessionToken": "tmp-session", "expiration": str(ends)}
                return Response(200, json.dumps(body).encode(), {"Content-Type": "application/json"})
            case ["", "protected", *rest] if bearer:
                return Response(303, b"", {"Location": f"{self.elsewhere}/{'/'.join(rest)}?A-userid=x"})
            case _:
                return Response(302, b"", {"Location": f"{self.url}/oauth/authorize?client_id=abc"})


@dataclass
class Azurite:
    """An emulator that checks signatures, with one account of a key that nobody else has."""

    url: str
    """Of the account."""
    account: str
    key: str = field(repr=False)

    def put_container(self, name: str) -> None:
        self._put(f"{name}?restype=container", b"", {})

    def put(self, path: str, data: bytes) -> None:
        """`container/key`."""
        self._put(path, data, {"x-ms-blob-type": "BlockBlob"})

    def _put(self, path: str, data: bytes, headers: dict[str, str]) -> None:
        signed = f"{self.url}/{path}{'&' if '?' in path else '?'}{account_sas(self.account, self.key)}"
        answer = requests.put(signed, data=data, headers={"x-ms-version": VERSION, **headers}, timeout=60)
        assert answer.status_code == 201, answer.text


@contextmanager
def azurite() -> Iterator[Azurite]:
    """Skips where AZURITE is not set."""
    command = os.environ.get("AZURITE")
    if not command:
        pytest.skip("AZURITE does not name the command azurite-blob")
    account, key = "rasterloom", base64.b64encode(secrets.token_bytes(64)).decode()
    port = free_port()
    options = ["--inMemoryPersistence", "--blobHost", "127.0.0.1", "--blobPort", str(port), "--skipApiVersionCheck", "--disableTelemetry"]
    process = subprocess.Popen(
        [*shlex.split(command), *options],
        env={**os.environ, "AZURITE_ACCOUNTS": f"{account}:{key}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port, process)
        yield Azurite(f"http://127.0.0.1:{port}/{account}", account, key)
    finally:
        process.kill()
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        assert process.poll() is None, "azurite ended"
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
            return
        time.sleep(0.2)
    raise AssertionError("azurite does not answer")
