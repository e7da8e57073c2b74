"""What of `query` and `filter` a STAC API is asked for: as much as it says it can, and nothing that may lose an item.

An API is asked for a weaker filter where it may understand a comparison otherwise than we do (the order of texts is that of its collation,
instants are stored in many spellings); every item is judged again here, so that what it is asked for decides the traffic alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rasterloom.access.items.filters import OF_INSTANT, OF_ITEM
from rasterloom.errors import SpecError
from rasterloom.specs.cql2 import (
    Compare,
    Filter,
    In,
    IsNull,
    Leaf,
    Like,
    compared,
    conjuncts,
    every,
    leaves,
    literal,
    some,
    to_json,
    weakened,
)
from rasterloom.specs.cql2tokens import to_text
from rasterloom.specs.effort import Effort
from rasterloom.specs.filters import filter_of
from rasterloom.specs.question import Question, StacSource

MOST_MEMBERS = 100
"""Values of an IN that are spelled out with OR where a server has no IN."""
LONGEST_TEXT = 4000
"""Characters of a filter in a URL."""
_EXACT = 1 << 53
_OPERATORS = {"=": "eq", "<>": "neq", "<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
_SIGNS = {word: sign for sign, word in _OPERATORS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Skills:
    """What a STAC API says it can, less what is known to be untrue."""

    languages: frozenset[str]
    """Of `filter`: `cql2-json`, `cql2-text`."""
    advanced: bool
    """LIKE and IN."""
    query: bool
    known: tuple[str, ...] | None = None
    """The only properties that `query` heeds, by order alone; None: all."""


ABLE = Skills(languages=frozenset({"cql2-json", "cql2-text"}), advanced=True, query=True)
"""An API that can do everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushdown:
    """One question's conditions, shared out."""

    filter: Filter | None
    """Asked of the server as `filter`."""
    query: Mapping[str, Any] | None
    """Asked of the server as `query`; never together with `filter`, which some servers refuse."""
    local: tuple[Filter, ...]
    """Conjuncts of the filter that the server is not asked for, or not for all of."""

    def parameters(self, method: str) -> dict[str, Any]:
        """Of a search by POST or GET."""
        if self.filter is not None:
            found = to_json(self.filter) if method == "POST" else to_text(self.filter)
            return {"filter": found, "filter-lang": "cql2-json" if method == "POST" else "cql2-text"}
        return {} if self.query is None else {"query": dict(self.query)}

    def to_json(self) -> dict[str, Any]:
        """For people and programs: the conditions as text and JSON."""
        return {
            "filter": None if self.filter is None else to_text(self.filter),
            "query": None if self.query is None else dict(self.query),
            "local": [to_text(part) for part in self.local],
        }


def skills_of(conforms_to: Iterable[str], *, ignores_filter: bool, query_knows: tuple[str, ...] | None) -> Skills:
    """By the conformance classes of a landing page, whatever their versions, and by what the dataset catalog knows of the provider."""
    classes = tuple(conforms_to)

    def has(ending: str) -> bool:
        return any(re.search(rf"/{ending}/?$", name) for name in classes)

    filters = has("item-search#filter") and not ignores_filter
    languages = frozenset(name for name in ("cql2-json", "cql2-text") if filters and has(f"conf/{name}"))
    return Skills(
        languages=languages,
        advanced=has("conf/advanced-comparison-operators"),
        query=has("item-search#query"),
        known=query_knows,
    )


def shared_out(question: Question, skills: Skills, method: str) -> Pushdown:
    """The conditions of a question between a server with these skills and us."""
    asked: dict[str, Any] | None = None if question.query is None else json.loads(question.query)
    if question.filter is None:
        return Pushdown(filter=None, query=asked, local=())
    filter = filter_of(question.filter)
    said = _as_filter(filter, asked or {}, skills, method)
    if said is not None:
        return said
    return _as_query(filter, asked, skills)


def expected(question: Question, effort: Effort) -> Pushdown:
    """As `shared_out` for an API of basic CQL2 and `query`, but for what is known of the provider: without asking it."""
    languages = frozenset[str]() if effort.ignores_filter else ABLE.languages
    skills = Skills(languages=languages, advanced=False, query=True, known=effort.query_knows)
    return shared_out(question, skills, effort.method) if isinstance(question.source, StacSource) else unfiltered(question)


def unfiltered(question: Question) -> Pushdown:
    """For a server that refuses the filter: `query` as it was written."""
    asked = None if question.query is None else json.loads(question.query)
    return Pushdown(filter=None, query=asked, local=() if question.filter is None else conjuncts(filter_of(question.filter)))


# --- as `filter` ------------------------------------------------------------------------------------------------------------------


def _as_filter(filter: Filter, query: Mapping[str, Any], skills: Skills, method: str) -> Pushdown | None:
    """All in one `filter`; None where the server has none, or `query` has a condition that a filter cannot say."""
    if ("cql2-json" if method == "POST" else "cql2-text") not in skills.languages:
        return None

    def keep(leaf: Leaf) -> Filter | None:
        return _sayable(leaf, advanced=skills.advanced)

    conditions = list(_of_query(query))
    if any(condition is None or keep(condition) is None for condition in conditions):
        return None
    kept = weakened(filter, keep)
    parts = [*(condition for condition in conditions if condition is not None), *([] if kept is None else [kept])]
    whole = every(parts) if parts else None
    if whole is None or (method == "GET" and len(to_text(whole)) > LONGEST_TEXT):
        return None
    local = tuple(part for part in conjuncts(filter) if any(keep(leaf) is None for leaf in leaves(part)))
    return Pushdown(filter=whole, query=None, local=local)


def _sayable(leaf: Leaf, *, advanced: bool) -> Filter | None:
    """The leaf as a server may be asked for it; None where it may take it for less than it is."""
    if leaf.name in ("year", "month"):
        return None  # ours, not the server's
    if isinstance(leaf, IsNull):
        return None if leaf.name in OF_INSTANT else leaf
    if leaf.folded:
        return None
    if leaf.name == "datetime":
        return _of_instant(leaf)
    if isinstance(leaf, Compare):
        return leaf if _is_shared(leaf) else None
    if isinstance(leaf, Like):
        return leaf if advanced else None
    return leaf if advanced and all(_is_shared(each) for each in _each(leaf)) else _spelled_out(leaf)


def _of_instant(leaf: Compare | In | Like) -> Filter | None:
    """Where `datetime` is null we take the start of the span; some servers do, and some take it for unknown."""
    if isinstance(leaf, Like) or (isinstance(leaf, Compare) and not _is_shared(leaf)):
        return None
    said = _spelled_out(leaf) if isinstance(leaf, In) else leaf
    return None if said is None else some((said, IsNull("datetime")))


def _is_shared(leaf: Compare) -> bool:
    """Whether all servers understand it alike."""
    if isinstance(leaf.value, str):
        return leaf.op in ("=", "<>")
    if isinstance(leaf.value, datetime):
        return leaf.name == "datetime"
    return abs(leaf.value) <= _EXACT


def _each(leaf: In) -> list[Compare]:
    return [compared("<>" if leaf.negated else "=", leaf.name, value) for value in leaf.values]


def _spelled_out(leaf: In) -> Filter | None:
    parts = _each(leaf)
    if len(parts) > MOST_MEMBERS or not all(map(_is_shared, parts)):
        return None
    return every(parts) if leaf.negated else some(parts)


def _of_query(query: Mapping[str, Any]) -> Iterator[Leaf | None]:
    """The conditions of a `query` as comparisons; None for one that is no comparison."""
    for name, rules in query.items():
        for operator, value in rules.items():
            yield _comparison(name.removeprefix("properties."), operator, value)


def _comparison(name: str, operator: str, value: Any) -> Compare | None:
    """`in` and `contains` look into lists, and for `neq` values of two kinds differ, as for no comparison."""
    if operator not in _SIGNS or operator == "neq" or (isinstance(value, bool) and operator != "eq"):
        return None
    try:
        return compared(_SIGNS[operator], name, literal(value))
    except SpecError:  # a number that no filter can hold
        return None


# --- as `query` -------------------------------------------------------------------------------------------------------------------


def _as_query(filter: Filter, asked: Mapping[str, Any] | None, skills: Skills) -> Pushdown:
    """The conjuncts that `query` can say, beside what the user asks for; what stands there already stays as it is."""
    query = {name: dict(rules) for name, rules in (asked or {}).items()}
    local: list[Filter] = []
    for part in conjuncts(filter):
        rule = _rule(part, skills) if skills.query else None
        if rule is None or rule.operator in query.get(rule.name, {}):
            local.append(part)
        else:
            query.setdefault(rule.name, {})[rule.operator] = rule.value
    return Pushdown(filter=None, query=query or asked, local=tuple(local))


@dataclass(frozen=True, slots=True)
class _Rule:
    name: str
    operator: str
    value: Any


def _rule(part: Filter, skills: Skills) -> _Rule | None:
    if not isinstance(part, Compare | In) or part.folded or part.name in (*OF_INSTANT, *OF_ITEM):
        return None
    if skills.known is not None and (part.name not in skills.known or not isinstance(part, Compare) or part.op in ("=", "<>")):
        return None
    if isinstance(part, Compare):
        return _Rule(part.name, _OPERATORS[part.op], part.value) if _is_shared(part) else None
    return None if part.negated or not all(map(_is_shared, _each(part))) else _Rule(part.name, "in", list(part.values))
