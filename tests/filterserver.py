"""A STAC API with the filter extension, as pgstac has it: judged by an evaluator of its own, and as strict as one likes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rasterloom.specs.cql2 import to_json
from rasterloom.specs.filters import parse_filter
from tests.servers import Request, Response, StacServer

CQL2 = "http://www.opengis.net/spec/cql2/1.0/conf"
CLASSES = ("https://api.stacspec.org/v1.0.0-rc.2/item-search#filter", f"{CQL2}/basic-cql2", f"{CQL2}/cql2-json", f"{CQL2}/cql2-text")
ADVANCED = f"{CQL2}/advanced-comparison-operators"


class FilterServer(StacServer):
    """Says `classes` beside what `StacServer` says."""

    def __init__(self, items: Sequence[Mapping[str, Any]] = (), *, classes: Sequence[str] = CLASSES) -> None:
        super().__init__(items)
        self.classes = tuple(classes)
        self.query_class = True
        self.ignore_filter = False
        self.refusal: Response | None = None
        """The answer to every search with a filter."""

    @property
    def filters(self) -> list[Any]:
        """What every search asked for as `filter`; None where it did not."""
        return [(one.json if one.method == "POST" else one.query).get("filter") for one in self.searches]

    def _landing(self) -> dict[str, Any]:
        landing = super()._landing()
        own = [name for name in landing["conformsTo"] if self.query_class or not name.endswith("#query")]
        return landing | {"conformsTo": [*own, *self.classes]}

    def _search(self, request: Request) -> Response:
        asked = request.json if request.method == "POST" else request.query
        if "filter" in asked and self.refusal is not None:
            return self.refusal
        if "filter" in asked and "query" in asked:
            return _refused("Query extension is not available when using pgstac with cql2")
        if "filter" in asked and asked.get("filter-lang") != ("cql2-json" if request.method == "POST" else "cql2-text"):
            return _refused("filter-lang")
        return super()._search(request)

    def _fits(self, item: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
        filter = None if self.ignore_filter else asked.get("filter")
        document = to_json(parse_filter(filter)) if isinstance(filter, str) else filter
        return super()._fits(item, asked) and (document is None or judged(document, item) is True)


def _refused(text: str) -> Response:
    return Response(400, json.dumps({"code": "BadRequest", "description": text}).encode(), {"Content-Type": "application/json"})


def judged(document: Any, item: Mapping[str, Any]) -> Any:
    """SQL's answer of the forms that basic CQL2 has; values of other kinds are an error, as they are in a database."""
    op, args = document["op"], document["args"]
    if op in ("and", "or"):
        found = [judged(part, item) for part in args]
        decisive = op == "or"
        return decisive if decisive in found else None if None in found else not decisive
    if op == "not":
        found = judged(args[0], item)
        return None if found is None else not found
    left = _value(args[0], item)
    if op == "isNull":
        return left is None
    right = [_value(part, item) for part in args[1]] if op == "in" else _value(args[1], item)
    if left is None:
        return None
    return {
        "=": lambda: left == right,
        "<>": lambda: left != right,
        "<": lambda: left < right,
        "<=": lambda: left <= right,
        ">": lambda: left > right,
        ">=": lambda: left >= right,
        "in": lambda: left in right,
    }[op]()


def _value(side: Any, item: Mapping[str, Any]) -> Any:
    if not isinstance(side, Mapping):
        return side
    if "timestamp" in side:
        return datetime.fromisoformat(side["timestamp"])
    name = side["property"]
    if name in ("id", "collection"):
        return item[name]
    value = item["properties"].get(name)
    return datetime.fromisoformat(value) if name == "datetime" and value is not None else value
