"""Static catalogs for tests: documents by relative path, for a directory or for a server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Tree = dict[str, dict[str, Any]]


def link(rel: str, href: str) -> dict[str, str]:
    return {"rel": rel, "href": href}


def catalog(name: str, *links: Mapping[str, str]) -> dict[str, Any]:
    return {"type": "Catalog", "stac_version": "1.0.0", "id": name, "description": name, "links": list(links)}


def collection(
    name: str, *links: Mapping[str, str], bbox: Sequence[float] = (-180, -90, 180, 90), dates: Sequence[str | None] = (None, None)
) -> dict[str, Any]:
    extent = {"spatial": {"bbox": [list(bbox)]}, "temporal": {"interval": [list(dates)]}}
    return {**catalog(name, *links), "type": "Collection", "license": "other", "extent": extent}


def tree(collections: Mapping[str, Sequence[Mapping[str, Any]]], **extents: Mapping[str, Any]) -> Tree:
    """Collections with their items, each document in a directory of its own, all links relative."""
    documents: Tree = {"catalog.json": catalog("root", *(link("child", f"./{name}/collection.json") for name in collections))}
    for name, items in collections.items():
        links = [link("item", f"./{one['id']}/{one['id']}.json") for one in items]
        up = [link("root", "../catalog.json"), link("parent", "../catalog.json"), link("self", f"https://example.org/{name}")]
        documents[f"{name}/collection.json"] = collection(name, *up, *links, **extents.get(name, {}))
        documents |= {f"{name}/{one['id']}/{one['id']}.json": {**one, "collection": name} for one in items}
    return documents


def written(documents: Tree, root: Path) -> Path:
    """The tree as files; the path of its root document."""
    for path, document in documents.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(document))
    return root / "catalog.json"


def served(documents: Tree) -> dict[str, bytes]:
    """The tree as files of a `RangeServer`."""
    return {f"/{path}": json.dumps(document).encode() for path, document in documents.items()}
