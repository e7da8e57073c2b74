"""One STAC item from a URL or a file, for who wants to begin with it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from rasterloom.access.network.http import LARGEST_BODY, Ask, Web
from rasterloom.access.network.redact import canonical_href, redact
from rasterloom.errors import AccessDenied, SpecError, Unreadable

TIMEOUT = 10.0
"""Seconds for one request."""


def item_at(place: str) -> tuple[Any, str]:
    """The JSON at a URL or path, and its address: an absolute path, or the URL without what signs it.

    Raises `SpecError` where it cannot be had or is no JSON, `AccessDenied`, `Unavailable`.
    """
    scheme = place.partition("://")[0].lower() if "://" in place else ""
    if scheme in ("http", "https"):
        return _from_web(place), canonical_href(place)
    if scheme not in ("", "file"):
        remedy = "give its https address, or download it and give the file"
        raise SpecError(f"{redact(place)[:200]!r} is neither an http(s) URL nor a file", remedy=remedy)
    path = os.path.abspath(Path(unquote(urlsplit(place).path) if scheme else place).expanduser())
    return _from_file(path), path


def _from_web(url: str) -> Any:
    try:
        return Web(url, headers={}, retries=1, timeout=TIMEOUT).json(Ask(url=url, what="the item")).document
    except (SpecError, Unreadable) as error:
        raise SpecError(error.message, remedy="give the URL of one item, as its `self` link has it") from None
    except AccessDenied as error:
        raise AccessDenied(error.message, remedy="download the item where you may, and give the file") from None


def _from_file(path: str) -> Any:
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST_BODY + 1)
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}", remedy="give the path of the JSON file of one item") from None
    if len(data) > LARGEST_BODY:
        raise SpecError(f"{path} is larger than {LARGEST_BODY >> 20} MiB", remedy="give a file with one item")
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise SpecError(f"{path} is not JSON", remedy="give the path of the JSON file of one item") from None
