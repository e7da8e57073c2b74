"""Recorded exchanges of real STAC APIs, served on this machine: `https://HOST/...` of a record is `<url>/HOST/...` here."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.servers import Request, Response, Server

Key = tuple[str, str, str, tuple[tuple[str, str], ...]]


class ReplayServer(Server):
    """Answers what was recorded, and 599 to anything else. A `limit` that a record does not have is not compared."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._records: dict[Key, list[tuple[dict[str, Any], Mapping[str, Any]]]] = {}
        self._hosts: set[str] = set()
        for file in sorted(folder.glob("*.json")):
            for exchange in json.loads(file.read_text())["exchanges"]:
                self._add(exchange["request"], exchange["response"])

    def _add(self, asked: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        parts = urlsplit(asked["uri"])
        self._hosts.add(parts.netloc)
        key = _key(asked["method"], parts.netloc, parts.path, parts.query)
        self._records.setdefault(key, []).append((asked["body"] or {}, answer))

    def respond(self, request: Request) -> Response:
        parts = urlsplit(request.target)
        _, host, *rest = parts.path.split("/")
        asked = request.json if request.body else {}
        for body, answer in self._records.get(_key(request.method, host, "/" + "/".join(rest), parts.query), []):
            if _same(body, asked):
                return Response(answer["status"], self._here(answer["body"]), {"Content-Type": "application/json"})
        return Response(599, b'{"description": "not recorded"}', {"Content-Type": "application/json"})

    def _here(self, body: Any) -> bytes:
        text = body if isinstance(body, str) else json.dumps(body)
        for host in self._hosts:
            text = re.sub(rf"https?://{re.escape(host)}", f"{self.url}/{host}", text)
        return text.encode()


def _key(method: str, host: str, path: str, query: str) -> Key:
    return method, host, path.rstrip("/"), tuple(sorted(parse_qsl(query, keep_blank_values=True)))


def _same(recorded: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    return recorded == {name: value for name, value in asked.items() if name != "limit" or name in recorded}
