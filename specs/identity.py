"""What makes two questions the same: canonical JSON of the whole question, hashed. There is no list of exceptions."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, cast

from rasterloom.specs.question import Band, Box, CatalogSource, CopySource, Dedupe, Interval, Question, Source, StacSource, TableSource

_EXACT = 2**53
_TEXTS = ("query", "filter", "intersects")
"""Fields of a question that hold canonical JSON."""
_SOURCES = {"stac": StacSource, "catalog": CatalogSource, "table": TableSource, "collection": CopySource}


def canonical_json(value: Any) -> str:
    """Equal values give equal text: keys sorted, no spaces, `20.0` as `20`, tuples as lists, instants as RFC 3339 UTC.

    Raises TypeError for anything else than JSON values, dataclasses and datetimes, ValueError for NaN and infinity.
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return int(value) if math.isfinite(value) and value.is_integer() and abs(value) < _EXACT else value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in cast(Mapping[Any, Any], value).items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in cast(Sequence[Any], value)]
    raise TypeError(f"{type(value).__name__} has no canonical JSON")


def digest(value: Any) -> str:
    """64 hex digits: sha256 of the canonical JSON."""
    return sha256(canonical_json(value).encode()).hexdigest()


def fingerprint(question: Question) -> str:
    """64 hex digits. The order of `bands` counts: it is the order of what is read."""
    return digest(question_to_json(question))


def question_to_json(question: Question) -> dict[str, Any]:
    """JSON mapping with every field of the question, `query`, `filter` and `intersects` as JSON values rather than text."""
    mapping = cast(dict[str, Any], _plain(question))
    for key in _TEXTS:
        mapping[key] = None if mapping[key] is None else json.loads(mapping[key])
    return mapping


def question_from_json(mapping: Mapping[str, Any]) -> Question:
    """Inverse of `question_to_json`. Raises KeyError or TypeError where a field is missing or unknown."""
    box, dates, dedupe = mapping["bbox"], mapping["dates"], mapping["dedupe"]
    fields_of: dict[str, Any] = dict(mapping) | {
        "source": source_from_json(mapping["source"]),
        "bbox": None if box is None else box_from_json(box),
        "dates": interval_from_json(dates),
        **{key: None if mapping[key] is None else canonical_json(mapping[key]) for key in _TEXTS},
        "bands": tuple(Band(**band) for band in mapping["bands"]),
        "dedupe": None if dedupe is None else Dedupe(key=tuple(dedupe["key"]), order_by=tuple(dedupe["order_by"])),
    }
    return Question(**fields_of)


def source_from_json(mapping: Mapping[str, Any]) -> Source:
    """Inverse of `to_json` for the source of a question. Raises KeyError or TypeError where a field is missing or unknown."""
    given: dict[str, Any] = dict(mapping)
    given |= {key: tuple((old, new) for old, new in given[key]) for key in ("column_map", "url_rewrite") if key in given}
    return _SOURCES[given["kind"]](**given)


def box_from_json(mapping: Mapping[str, Any]) -> Box:
    return Box(**{key: float(value) for key, value in mapping.items()})


def interval_from_json(mapping: Mapping[str, Any]) -> Interval:
    return Interval(**{key: None if text is None else datetime.fromisoformat(text) for key, text in mapping.items()})


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[str, ...]:
    """One line for people per field that differs between two questions in JSON: `dates.end: x -> y`."""
    return tuple(_differences(a, b, ""))


def _differences(a: Any, b: Any, path: str) -> Iterator[str]:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        left, right = cast(Mapping[str, Any], a), cast(Mapping[str, Any], b)
        for key in dict.fromkeys((*left, *right)):
            yield from _differences(left.get(key), right.get(key), f"{path}.{key}" if path else key)
    elif path == "bands" and isinstance(a, list) and isinstance(b, list):
        yield from _bands(cast(list[dict[str, Any]], a), cast(list[dict[str, Any]], b))
    elif _plain(a) != _plain(b):
        yield f"{path}: {_words(a)} -> {_words(b)}"


def _bands(a: list[dict[str, Any]], b: list[dict[str, Any]]) -> Iterator[str]:
    left, right = ({band["code"]: band for band in bands} for bands in (a, b))
    for code in dict.fromkeys((*left, *right)):
        yield from _differences(_where(left.get(code)), _where(right.get(code)), f"bands.{code}")
    if list(left) != list(right) and set(left) == set(right):
        yield f"bands: order {', '.join(left)} -> {', '.join(right)}"


def _where(band: dict[str, Any] | None) -> str | None:
    return None if band is None else f"{band['asset']}[{band['index']}]"


def _words(value: Any) -> str:
    text = value if isinstance(value, str) else "nothing" if value is None else canonical_json(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def to_json(value: Any) -> dict[str, Any]:
    """A frozen value of this room (`Shard`, `Interval`, `Effort`, ...) as a JSON mapping."""
    return cast(dict[str, Any], _plain(asdict(value)))
