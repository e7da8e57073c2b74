"""CQL2-JSON to a filter: the same forms as in text, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Any, cast

from rasterloom.specs.cql2 import (
    MAX_DEPTH,
    MIRRORED,
    Filter,
    IsNull,
    Literal,
    Path,
    WrongFilter,
    compared,
    every,
    instant,
    like,
    literal,
    negated,
    one_of,
    property_name,
    some,
    within,
)
from rasterloom.specs.wrong import a_list, shown

_DEEPEST = MAX_DEPTH + 4
"""Operators inside each other: those of a filter at its limit, with `not` and `casei` at a leaf."""
_COUNTS = {"and": 0, "or": 0, "not": 1, "isNull": 1, "in": 2, "like": 2, "between": 3, **dict.fromkeys(MIRRORED, 2)}
"""Operator -> number of its arguments; 0: at least one."""
_SPELLED = {
    "==": "=", "eq": "=", "!=": "<>", "neq": "<>", "ne": "<>", "lt": "<", "lte": "<=", "le": "<=", "gt": ">", "gte": ">=", "ge": ">=",
}  # fmt: skip
_EXAMPLE = '{op: "<", args: [{property: "eo:cloud_cover"}, 20]}'


@dataclass(frozen=True, slots=True)
class _Side:
    """One argument of a comparison: the name of a property, or a value."""

    value: Literal
    is_name: bool
    folded: bool


def parse_json(value: Mapping[Any, Any]) -> Filter:
    """The filter that CQL2-JSON is. Raises `WrongFilter` with the path to the place."""
    return _filter(value, (), _DEEPEST)


def _filter(value: Any, path: Path, left: int) -> Filter:
    op, args = _operation(value, path, left)
    within_args = (*path, "args")
    try:
        if op in ("and", "or"):
            parts = [_filter(part, (*within_args, at), left - 1) for at, part in enumerate(args)]
            return every(parts) if op == "and" else some(parts)
        if op == "not":
            return negated(_filter(args[0], (*within_args, 0), left - 1))
        return _comparison(op, args, within_args)
    except WrongFilter as error:
        raise error if error.path else WrongFilter(error.message, remedy=error.remedy, path=path or ("op",)) from None


def _operation(value: Any, path: Path, left: int) -> tuple[str, list[Any]]:
    if left < 0:
        raise WrongFilter(f"the filter nests deeper than {MAX_DEPTH} operators", remedy="write it flatter", path=path)
    if not isinstance(value, Mapping) or "op" not in value:
        raise WrongFilter(f"{shown(value)} is no operation of CQL2-JSON", remedy=f"write e.g. {_EXAMPLE}", path=path)
    mapping = cast(Mapping[Any, Any], value)
    op, args = mapping["op"], mapping.get("args")
    if not isinstance(op, str) or op not in _COUNTS:
        raise WrongFilter(f"{shown(op)} is no operator that is known", remedy=_nearest(op), path=(*path, "op"))
    if set(mapping) != {"op", "args"}:
        odd = next((key for key in mapping if key not in ("op", "args")), None)
        message = f"an operation has op and args, not {shown(odd)}" if odd is not None else f"{op} has no args"
        raise WrongFilter(message, remedy=f"write e.g. {_EXAMPLE}", path=path if odd is None else (*path, str(odd)))
    if not isinstance(args, list | tuple) or not args or (_COUNTS[op] and len(cast(list[Any], args)) != _COUNTS[op]):
        wanted = f"{_COUNTS[op]} arguments" if _COUNTS[op] else "a list of operations"
        raise WrongFilter(f"{op} wants {wanted}, not {shown(args)}", remedy=f"write e.g. {_EXAMPLE}", path=(*path, "args"))
    return op, list(cast(list[Any], args))


def _nearest(op: Any) -> str:
    text = str(op)
    known = {name.lower(): name for name in _COUNTS} | _SPELLED
    if text.lower() in known:
        return f"write {known[text.lower()]}"
    if text.lower().startswith(("s_", "t_", "a_")) or text == "anyinteracts":
        return "give the area as bbox or intersects, and time as dates or comparisons of datetime"
    near = get_close_matches(text, _COUNTS, n=1, cutoff=0.6)
    return f"write {near[0]}" if near else f"use one of {a_list(_COUNTS)}"


def _comparison(op: str, args: list[Any], path: Path) -> Filter:
    if op in MIRRORED:
        return _compared(op, _side(args[0], (*path, 0)), _side(args[1], (*path, 1)), path)
    name = _side(args[0], (*path, 0))
    if not name.is_name:
        raise WrongFilter(f"{op} begins with a value", remedy='write {property: "..."} as the first argument', path=(*path, 0))
    subject = str(name.value)
    if op == "isNull":
        return IsNull(subject)
    if op == "between":
        low, high = (_value(name, args[at], (*path, at)) for at in (1, 2))
        return within(subject, low, high, folded=name.folded)
    if op == "like":
        pattern = args[1]["args"][0] if name.folded and _is_casei(args[1]) else args[1]
        if not isinstance(pattern, str) or name.folded != _is_casei(args[1]):
            raise WrongFilter(
                f"like wants a text, not {shown(args[1])}", remedy="write 'S2A%'; casei on both sides or none", path=(*path, 1)
            )
        return like(subject, pattern, folded=name.folded)
    members = args[1]
    if not isinstance(members, list | tuple):
        raise WrongFilter(f"in wants a list of values, not {shown(members)}", remedy="write [a, b]", path=(*path, 1))
    return one_of(subject, [_value(name, member, (*path, 1, at)) for at, member in enumerate(cast(list[Any], members))], folded=name.folded)


def _compared(op: str, left: _Side, right: _Side, path: Path) -> Filter:
    if left.is_name == right.is_name:
        what = "two properties" if left.is_name else "two values"
        raise WrongFilter(f"{op} compares {what}", remedy=f"compare a property with a value, e.g. {_EXAMPLE}", path=path)
    if left.folded != right.folded:
        raise WrongFilter("casei stands on one side alone", remedy="put both sides into casei", path=path)
    name, value, op = (left, right, op) if left.is_name else (right, left, MIRRORED[op])
    return compared(op, str(name.value), value.value, folded=name.folded)


def _value(name: _Side, value: Any, path: Path) -> Literal:
    side = _side(value, path)
    if side.is_name or side.folded != name.folded:
        raise WrongFilter(f"{shown(value)} is no value", remedy="give a value; casei on both sides or none", path=path)
    return side.value


def _is_casei(value: Any) -> bool:
    return isinstance(value, Mapping) and _casei_argument(cast(Mapping[Any, Any], value)) is not None


def _casei_argument(value: Mapping[Any, Any]) -> Any:
    args = value.get("args")
    return args[0] if value.get("op") == "casei" and isinstance(args, list | tuple) and len(cast(list[Any], args)) == 1 else None


def _side(value: Any, path: Path) -> _Side:
    if not isinstance(value, Mapping):
        return _Side(_checked(value, path), False, False)
    mapping = cast(Mapping[Any, Any], value)
    if _is_casei(mapping):
        inner = _side(_casei_argument(mapping), (*path, "args", 0))
        if inner.folded or not isinstance(inner.value, str):
            raise WrongFilter("casei wants a property or a text", remedy="leave casei out", path=path)
        return _Side(inner.value, inner.is_name, True)
    match list(mapping.items()):
        case [("property", str(name))]:
            return _Side(_named(name, path), True, False)
        case [("timestamp" | "date" as kind, str(text))] if (found := _instant(str(kind), text)) is not None:
            return _Side(found, False, False)
        case [("timestamp" | "date" as kind, text)]:
            example = "2024-06-01" if kind == "date" else "2024-06-01T10:00:00Z"
            raise WrongFilter(f"{shown(text)} is no {kind}", remedy=f"write {example}", path=(*path, str(kind)))
        case _:
            remedy = "give {property: name}, a text, a number, true, false, {date: ...} or {timestamp: ...}"
            raise WrongFilter(f"{shown(value)} is neither a property nor a value", remedy=remedy, path=path)


def _named(name: str, path: Path) -> str:
    try:
        return property_name(name)
    except WrongFilter as error:
        raise WrongFilter(error.message, remedy=error.remedy, path=(*path, "property")) from None


def _checked(value: Any, path: Path) -> Literal:
    try:
        return literal(value)
    except WrongFilter as error:
        raise WrongFilter(error.message, remedy=error.remedy, path=path) from None


def _instant(kind: str, text: str) -> datetime | None:
    return instant(text) if kind == "timestamp" or len(text) == len("2024-06-01") else None
