"""The STAC `query` object of a spec: `{property: {operator: value}}`, checked."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, cast

from pydantic import BeforeValidator, Field, Strict

from rasterloom.specs.area import is_number
from rasterloom.specs.kinds import Json
from rasterloom.specs.wrong import a_list, shown, wrong

_ORDERED = ("lt", "lte", "gt", "gte")
_TEXTUAL = ("startsWith", "endsWith", "contains")
OPERATORS = ("eq", "neq", *_ORDERED, "in", *_TEXTUAL)
_SIGNS = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte", "=": "eq", "==": "eq", "!=": "neq", "<>": "neq"}
_WORDS = {"ne": "neq", "le": "lte", "ge": "gte", "lessthan": "lt", "greaterthan": "gt", "equals": "eq", "like": "contains"}
_SPELLINGS = _SIGNS | _WORDS | {operator.lower(): operator for operator in OPERATORS}


def checked_conditions(value: Any) -> dict[str, Any]:
    """The conditions of one property. Raises `PydanticCustomError`."""
    if not isinstance(value, Mapping) or not value:
        remedy = f"write {{eq: {shown(value)}}}" if _is_scalar(value) else "write {lt: 20}"
        raise wrong(f"{shown(value)} is not a condition", remedy=remedy)
    return {str(operator): _operand(str(operator), inner) for operator, inner in cast(Mapping[Any, Any], value).items()}


def _operand(operator: str, value: Any) -> Any:
    if operator not in OPERATORS:
        near = _SPELLINGS.get(operator.lower()) or next(iter(get_close_matches(operator, OPERATORS, n=1, cutoff=0.4)), None)
        remedy = f"write {near}" if near else f"use one of {a_list(OPERATORS)}"
        raise wrong(f"{shown(operator)} is not an operator ({a_list(OPERATORS)})", remedy=remedy)
    if operator == "in":
        return _members(value)
    wanted, fits = _wanted(operator, value)
    if not fits:
        raise wrong(f"{operator} wants {wanted}, not {shown(value)}", remedy=f"give {operator} {wanted}")
    return value


def _wanted(operator: str, value: Any) -> tuple[str, bool]:
    if operator in _ORDERED:
        return "a number or text", isinstance(value, str) or is_number(value)
    if operator in _TEXTUAL:
        return "text that is not empty", isinstance(value, str) and bool(value)
    return "a number, text, true or false", _is_scalar(value)


def _members(value: Any) -> list[Any]:
    if not isinstance(value, list | tuple) or not value or not all(_is_scalar(member) for member in cast(list[Any], value)):
        raise wrong(f"in wants a list of numbers or texts, not {shown(value)}", remedy="write in: [a, b]")
    return list(cast(list[Any], value))


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | bool) or is_number(value)


def _text_or_mapping(value: Any) -> Any:
    """The kind alone: `rasterloom.specs.rules` judges the filter itself, and tells the place in it."""
    if isinstance(value, Mapping | str):
        return cast(Any, value)
    raise wrong(f"{shown(value)} is not a filter", remedy='write "eo:cloud_cover < 20 AND year = 2024", or CQL2-JSON')


Query = Annotated[dict[str, Annotated[dict[str, Any], BeforeValidator(checked_conditions)]], Field(min_length=1)]
Filter = Annotated[Json | Annotated[str, Strict()], BeforeValidator(_text_or_mapping)]
