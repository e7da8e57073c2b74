"""A real STAC API (stac-fastapi-pgstac) that somebody has started, filled through its Transaction extension."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import requests

CHUNK = 250


class RealStac:
    """Collections that are put into it are taken out again when `stack` closes."""

    def __init__(self, url: str, stack: ExitStack) -> None:
        self.url = url.rstrip("/")
        self._stack = stack

    def publish(self, items: Sequence[Mapping[str, Any]]) -> str:
        groups: dict[str, dict[str, Any]] = {}
        for item in items:
            groups.setdefault(item["collection"], {})[item["id"]] = {**json.loads(json.dumps(item)), "links": []}
        for name, members in groups.items():
            self._replace(name, list(members.values()))
        return self.url

    def _replace(self, name: str, items: list[dict[str, Any]]) -> None:
        requests.delete(f"{self.url}/collections/{name}", timeout=60)
        self._post("/collections", _collection(name))
        self._stack.callback(requests.delete, f"{self.url}/collections/{name}", timeout=60)
        for start in range(0, len(items), CHUNK):
            part = {item["id"]: item for item in items[start : start + CHUNK]}
            self._post(f"/collections/{name}/bulk_items", {"items": part, "method": "upsert"})

    def _post(self, path: str, body: Mapping[str, Any]) -> None:
        answer = requests.post(self.url + path, json=body, timeout=300)
        assert answer.ok, f"{path}: {answer.status_code} {answer.text[:500]}"


def _collection(name: str) -> dict[str, Any]:
    extent = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [["1970-01-01T00:00:00Z", None]]}}
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": name,
        "description": name,
        "license": "other",
        "links": [],
        "extent": extent,
    }
