"""Pydantic's errors as Problems: one table, plain English, each with the value, the limit and a remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from itertools import islice
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from rasterloom.errors import Problem
from rasterloom.specs.leaks import is_secret_key
from rasterloom.specs.model import CollectionSpec
from rasterloom.specs.shapes import HIDDEN
from rasterloom.specs.wrong import KIND, a_list, shown
from rasterloom.specs.yamltext import Document, Path, dotted

Explained = tuple[str, str]
_Context = Mapping[str, Any]


def _quoting(value: Any) -> str:
    if isinstance(value, bool | int | float) and not isinstance(value, str):
        return f'put it in quotes: "{shown(value)}"'
    return "write one text in its place"


def _mapping(text: str, value: Any, _: _Context) -> Explained:
    return f"{text} is {_kind(value)}, wanted is a mapping", "write `key: value` lines below it, or {key: value}"


def _word(text: str, value: Any, context: _Context) -> Explained:
    if isinstance(value, str) and value == str(context["expected"]):  # version: "1"
        return f'"{text}" is text, wanted is the number {value}', f"write {value}, without quotes"
    return f"{text} is none of {context['expected']}", _nearest_word(value, str(context["expected"]))


def _short(text: str, _: Any, context: _Context) -> Explained:
    return f"{text} has {context['actual_length']} members, the least is {context['min_length']}", "add one, or leave the key out"


def _wanted(what: str, remedy: str) -> Callable[[str, Any, _Context], Explained]:
    return lambda text, value, _: (f"{text} is {_kind(value)}, wanted is {what}", remedy)


_TABLE: dict[str, Callable[[str, Any, _Context], Explained]] = {
    "string_type": lambda text, value, _: (f"{text} is {_kind(value)}, wanted is text", _quoting(value)),
    "int_type": _wanted("a whole number", "write a number without quotes or a fraction"),
    "int_from_float": _wanted("a whole number", "write a number without a fraction"),
    "float_type": _wanted("a number", "write a number without quotes"),
    "bool_type": _wanted("true or false", "write true or false"),
    "dict_type": _mapping,
    "model_type": _mapping,
    "model_attributes_type": _mapping,
    "tuple_type": lambda text, value, _: (f"{text} is {_kind(value)}, wanted is a list", f"write [{text}]"),
    "literal_error": _word,
    "greater_than_equal": lambda text, _, context: (f"{text} is below the limit {context['ge']:g}", f"write {context['ge']:g} or more"),
    "less_than_equal": lambda text, _, context: (f"{text} is above the limit {context['le']:g}", f"write {context['le']:g} or less"),
    "too_short": _short,
    "union_tag_invalid": lambda _, __, context: (
        f"the kind {shown(context['tag'])} is none of {context['expected_tags']}",
        _nearest_word(context["tag"], context["expected_tags"]),
    ),
    "union_tag_not_found": lambda _, __, ___: ("the key kind is missing", "add kind: stack, composite, zonal, points or chips"),
    "greater_than": lambda text, _, context: (f"{text} is not above {context['gt']:g}", f"write more than {context['gt']:g}"),
    "finite_number": lambda text, _, __: (f"{text} is not a finite number", "write a number"),
    "string_unicode": lambda text, _, __: (f"{text} is not Unicode text", "write plain text"),
}
"""Error type -> (text of the value, value, context) -> (message, remedy)."""


_KINDS = frozenset({"stack", "composite", "zonal", "points", "chips"})
MAX_EXPLAINED = 200
"""Finding the nearest key takes a millisecond; a hostile file has thousands of wrong ones."""


def problems(error: ValidationError, *, file: str = "", document: Document | None = None) -> tuple[Problem, ...]:
    """Every problem of `error`, at its line where the spec came from a text, in the order of the text."""
    found = list(islice(_problems(error, file=file, document=document), MAX_EXPLAINED))
    return tuple(sorted(dict.fromkeys(found), key=lambda problem: (problem.line, problem.column)))


def _problems(error: ValidationError, *, file: str, document: Document | None) -> Iterator[Problem]:
    details = error.errors(include_url=False)
    hidden = {tuple(one["loc"]) for one in details if "literal secret" in one["msg"]}
    for one in details:
        tagged: Path = tuple(part for part in one["loc"] if part != "[key]")
        path = _untagged(tagged)
        if _may_repeat_a_secret(one, path, hidden) or (document and path and _touches(path, document.refused)):
            continue
        value = _value(one, path, document)
        text = HIDDEN if _touches(path, hidden) or any(map(is_secret_key, path)) else shown(value)
        message, remedy = _explain(one["type"], one.get("ctx", {}), one["msg"], tagged, value, text)
        mark = document.mark(path, of_key=one["type"] in ("extra_forbidden", "missing") or "[key]" in one["loc"]) if document else None
        yield Problem(message=message, path=dotted(path), value=text if value is not None else "", remedy=remedy, file=file,
                      line=mark.line if mark else 0, column=mark.column if mark else 0)  # fmt: skip


def _untagged(path: Path) -> Path:
    """The path in the document: of a read, pydantic names the kind too, `reads.mean.composite.bands`."""
    return (*path[:2], *path[3:]) if path[:1] == ("reads",) and len(path) > 2 and path[2] in _KINDS else path


def _touches(path: Path, hidden: set[Path]) -> bool:
    return any(path[: len(at)] == at or at[: len(path)] == path for at in hidden)


def _may_repeat_a_secret(one: Any, path: Path, hidden: set[Path]) -> bool:
    """The text of our own rules quotes values: beside a secret only the problem of the secret itself is told."""
    return one["type"] == KIND and one["input"] is not None and _touches(path, hidden)


def _value(one: Any, path: Path, document: Document | None) -> Any:
    """What was written; a rule across keys has no input of its own and is looked up."""
    if one["type"] == "missing" or not path:
        return None
    if one["input"] is not None or document is None:
        return one["input"]
    value: Any = document.value
    for part in path:
        try:
            value = value[part]
        except (LookupError, TypeError):
            return None
    return value


def _explain(kind: str, context: _Context, text: str, path: Path, value: Any, written: str) -> Explained:
    if kind == KIND:
        return str(context["message"]), str(context["remedy"])
    if kind == "extra_forbidden":
        return _unknown_key(path)
    if kind == "missing":
        return f"the key {path[-1]} is missing", f"add {path[-1]}: ..."
    row = _TABLE.get(kind)
    return row(written, value, context) if row else (f"{written}: {text}", "see `rasterloom schema`")


def _unknown_key(path: Path) -> Explained:
    key, known = str(path[-1]), known_keys(path[:-1])
    near = get_close_matches(key.lower(), known, n=1, cutoff=0.6)
    elsewhere = [dotted((section, key)) for section in known_keys(()) if key in known_keys((section,))]
    message = f"the key {shown(key)} is not known here"
    if near:
        return message, f"write {near[0]}"
    if elsewhere and not path[:-1]:
        return message, f"it belongs to {elsewhere[0].rpartition('.')[0]}: write {elsewhere[0]}"
    return message, f"remove it; known are {a_list(known)}"


def known_keys(path: Path) -> list[str]:
    """Keys of the section at `path`, in order; empty where there is no such section."""
    annotation: Any = CollectionSpec
    for part in path:
        model = _model_of(annotation)
        if model is not None and isinstance(part, str) and part in model.model_fields:
            annotation = model.model_fields[part].annotation
        elif tagged := [kind for kind in _models_of(annotation) if part == _tag_of(kind)]:
            annotation = tagged[0]
    model = _model_of(annotation)
    return list(model.model_fields) if model else []


def _model_of(annotation: Any) -> type[BaseModel] | None:
    return next(_models_of(annotation), None)


def _models_of(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, UnionType, tuple, dict, Annotated):
        for part in get_args(annotation):
            yield from _models_of(part)


def _tag_of(model: type[BaseModel]) -> str | None:
    kind = model.model_fields.get("kind")
    return get_args(kind.annotation)[0] if kind and get_origin(kind.annotation) is Literal else None


def _kind(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, list | tuple | set | frozenset):
        return "a list"
    return "a mapping" if isinstance(value, Mapping) else "text" if isinstance(value, str) else f"a {type(value).__name__}"


def _nearest_word(value: Any, expected: str) -> str:
    words = [word.strip("'") for word in expected.replace(" or ", ", ").split(", ")]
    near = get_close_matches(str(value), words, n=1, cutoff=0.4)
    return f"write {near[0]}" if near else f"write {words[0]}"
