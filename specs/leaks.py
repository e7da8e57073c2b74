"""Literal secrets in a spec: found by the name of the key or by their shape, refused, and never repeated in a message.

A spec is text that is shared; secrets are named in it (`rasterloom.specs.references`), not written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from rasterloom.errors import SpecError
from rasterloom.specs.references import references
from rasterloom.specs.shapes import has_secret_shape

Path = tuple[str | int, ...]

_SECRET_KEY = re.compile(
    r"(?i)(^|[_.-])(password|passwd|passphrase|pwd|secret|secrets|token|apikey|api[_-]?key|access[_-]?key|access[_-]?key[_-]?id|account[_-]?key"
    r"|subscription[_-]?key|private[_-]?key|connection[_-]?string|authorization|cookie|sas|credential|credentials)($|[_.-])"
)
_LONG = re.compile(r"(?=[^\s]*[0-9])(?=[^\s]*[A-Za-z])[A-Za-z0-9+/_=-]{24,}")
"""Looks like a key; judged only below `auth` and `stac.headers`, where names of things are short."""
_DATA = frozenset({"query", "filter", "intersects", "band_map", "band_index_map", "bands", "reads", "dedupe"})
"""Keys below these are names of properties and bands."""
_REFERRING = (("auth",), ("stac", "headers"), ("workspace",), ("export",))
"""Where references are read, and nowhere else: a spec must not be able to send a secret away."""


@dataclass(frozen=True, slots=True)
class Leak:
    path: Path
    message: str
    remedy: str


def is_secret_key(key: str | int) -> bool:
    return isinstance(key, str) and bool(_SECRET_KEY.search(key))


def leaks(spec: Mapping[str, Any]) -> Iterator[Leak]:
    """Every text of a raw spec that is a literal secret, or a reference where none is read."""
    for path, text in texts(spec):
        if "${" in text:
            yield from _reference_leaks(path, text)
        if is_literal_secret(path, text):
            remedy = "name it, ${ENV_VARIABLE} or ${secret.block-name}, in `auth` or `stac.headers`; revoke the one written here"
            yield Leak(path, "a literal secret stands here; a spec is text that is shared", remedy)


def is_literal_secret(path: Path, text: str) -> bool:
    """By shape anywhere, by the name of a key outside of names of properties, by sheer length below credentials."""
    if has_secret_shape(text):
        return True
    if not text or "${" in text or not path or path[0] in _DATA:
        return False
    return any(is_secret_key(key) for key in path) or (_is_below(path, _REFERRING[:2]) and bool(_LONG.fullmatch(text)))


def _reference_leaks(path: Path, text: str) -> Iterator[Leak]:
    if not _is_below(path, _REFERRING):
        yield Leak(path, "a ${...} reference is not read here", "references stand only in auth, stac.headers, workspace and export")
        return
    try:
        found = references(text)
    except SpecError as error:
        yield Leak(path, error.problems[0].message, error.problems[0].remedy)
        return
    if any(is_secret_key(key) for key in path) and any(reference.default for reference in found):
        yield Leak(path, "the default of a secret is a literal secret", "leave the `:-default` out")


def _is_below(path: Path, roots: tuple[Path, ...]) -> bool:
    return any(path[: len(root)] == root for root in roots)


def texts(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Every text of a raw spec with its path, keys left out."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in cast(Mapping[Any, Any], value).items():
            yield from texts(inner, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(cast(list[Any], value)):
            yield from texts(inner, (*path, index))
