"""`filter` in either form, as one value and as one canonical text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

from rasterloom.specs.cql2 import MAX_DEPTH, MAX_LENGTH, Filter, WrongFilter, depth, to_json
from rasterloom.specs.cql2json import parse_json
from rasterloom.specs.cql2text import parse_text
from rasterloom.specs.identity import canonical_json
from rasterloom.specs.wrong import shown


def parse_filter(value: object) -> Filter:
    """CQL2 text, or a mapping of CQL2-JSON, as a filter. Raises `WrongFilter`, a `SpecError`; never recurses deeper than it allows."""
    if isinstance(value, Mapping):
        return _bounded(parse_json(cast(Mapping[Any, Any], value)))
    if not isinstance(value, str) or not value.strip():
        raise WrongFilter(f"{shown(value)} is not a filter", remedy='write "eo:cloud_cover < 20 AND year = 2024", or CQL2-JSON')
    if len(value) > MAX_LENGTH:
        raise WrongFilter(f"the filter has {len(value)} characters, the limit is {MAX_LENGTH}", remedy="shorten it")
    return _bounded(parse_text(value))


def canonical_filter(value: object) -> str:
    """Canonical CQL2-JSON text: equal for text and JSON of the same filter. Raises as `parse_filter`."""
    return canonical_json(to_json(parse_filter(value)))


@lru_cache(maxsize=64)
def filter_of(canonical: str) -> Filter:
    """The filter of a canonical text. Raises `WrongFilter` for other text than `canonical_filter` gives."""
    try:
        value = json.loads(canonical)
    except (ValueError, RecursionError) as error:
        raise WrongFilter(f"{shown(canonical)} is not CQL2-JSON", remedy="write the filter again") from error
    return parse_json(value)


def _bounded(filter: Filter) -> Filter:
    if depth(filter) > MAX_DEPTH:
        raise WrongFilter(f"the filter nests deeper than {MAX_DEPTH} levels of AND and OR", remedy="write it flatter")
    size = len(canonical_json(to_json(filter)))
    if size > MAX_LENGTH * 4:
        raise WrongFilter(f"the filter has {size} characters as CQL2-JSON, the limit is {MAX_LENGTH * 4}", remedy="shorten it")
    return filter
