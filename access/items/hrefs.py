"""Which href of an asset is taken, and what a relative one means."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

from rasterloom.access.network.redact import canonical_href
from rasterloom.errors import Unreadable

_PLAIN = re.compile(r"https?://[A-Za-z0-9.-]+(?::[0-9]+)?/[A-Za-z0-9_./+,=~-]*")
"""URLs that are canonical as they stand, which are most of them: parsing them was a third of what an item costs."""
S3_PATHS = ("href", "alternate.s3.href")


def chosen_href(asset: Mapping[str, Any], rule: str, sibling: object = None) -> str:
    """The href at a path (`href`, or e.g. `alternate.s3.href`); by the rule `s3` the first that is an `s3://` address: `href`,
    `alternate.s3.href`, `href` of `sibling` (the asset `s3_<key>` beside it, where NASA's catalog has one), and else `href`.

    Raises `Unreadable` (`href-missing`).
    """
    if rule != "s3":
        return _href_at(asset, rule)
    found = [_text_at(asset, path) for path in S3_PATHS] + [_text_at(sibling, "href")]
    return next((href for href in found if href.lower().startswith("s3://")), "") or _href_at(asset, "href")


def _href_at(asset: Mapping[str, Any], path: str) -> str:
    href = _text_at(asset, path)
    if not href:
        raise Unreadable(f"the asset has no text at {path!r}", reason="href-missing", remedy="correct the item in the catalog")
    return href


def _text_at(asset: object, path: str) -> str:
    """An empty text where there is none."""
    value: Any = asset
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value.strip() if isinstance(value, str) else ""


def absolute_href(href: str, base: str) -> str:
    """Canonical href, absolute where `base` (the item's own address) allows it. Raises `Unreadable` (`bad-href`, `href-relative`)."""
    if _PLAIN.fullmatch(href):
        return href
    try:
        scheme = urlsplit(href).scheme
    except ValueError:
        raise Unreadable("the href is no URL and no path", reason="bad-href", remedy="correct the href in the catalog") from None
    if scheme or (posixpath.isabs(href) and not urlsplit(base).scheme):
        return canonical_href(href)
    if not base:
        raise Unreadable(
            "a relative href, and the item has no self link", reason="href-relative", remedy="the catalog must say where the file lies"
        )
    return canonical_href(_joined(base, href))


def _joined(base: str, href: str) -> str:
    parts = urlsplit(base)
    if parts.scheme in ("http", "https", "file"):
        return urljoin(base, href)
    # urljoin knows no s3, gs or az
    root = f"{parts.scheme}://{parts.netloc}" if parts.scheme else ""
    path = base[len(root) :]
    return root + posixpath.normpath(posixpath.join(posixpath.dirname(path), href))


def address_of(item: Mapping[str, Any], endpoint: str, collection: str) -> str:
    """Where the item itself stands: its absolute self link, else its place in the API; an empty text where there is none."""
    return self_address(item) or (f"{endpoint}/collections/{collection}/items/{item.get('id')}" if endpoint else "")


def self_address(item: Mapping[str, Any]) -> str | None:
    """The absolute self link of an item, where it has one."""
    links = item.get("links")
    for link in links if isinstance(links, list) else ():
        if isinstance(link, Mapping) and link.get("rel") == "self" and _is_absolute(link.get("href")):
            return link["href"]
    return None


def _is_absolute(href: object) -> bool:
    if not isinstance(href, str):
        return False
    try:
        return bool(urlsplit(href).scheme) or posixpath.isabs(href)
    except ValueError:
        return False
