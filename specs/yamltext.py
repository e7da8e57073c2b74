"""Strict YAML: text in, plain values with the position of every node out.

The tree is composed from PyYAML's event stream with a stack of our own, so that depth, node count, anchors, tags and
duplicate keys are judged before anything is built: `safe_load` takes a 430-byte alias bomb, keeps the last of two equal
keys and makes a date of a date; the C loader crashes on deep nesting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from rasterloom.errors import Problem
from rasterloom.specs.wrong import shown

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_NODES = 10_000

Path = tuple[str | int, ...]

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, Any] = {"": None, "~": None, "null": None, "Null": None, "NULL": None, "true": True, "false": False}
_NOT_JSON = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_BIG = 2**63

_SYNTAX = (
    ("character '\\t'", "a tab stands where YAML wants spaces", "indent with spaces"),
    ("found undefined alias", "an alias names no anchor", "write the value out; aliases are not allowed"),
    ("mapping values are not allowed", "a second ': ' stands in one line", "put text that holds ': ' in quotes, or indent the next key"),
    ("could not find expected ':'", "a key has no ':' after it", "write `key: value`"),
    ("expected <block end>", "the indentation does not fit the lines above", "give all keys of one level the same number of spaces"),
    ("expected ',' or", "a flow list or mapping is not closed", "close it with ] or }, and put commas between its members"),
    ("unexpected end of stream", "a quoted text is not closed", "close the quote"),
    ("special characters are not allowed", "a control character stands in the text", "remove it"),
)


@dataclass(frozen=True, slots=True)
class Mark:
    """1-based position in the text."""

    line: int
    column: int


@dataclass(slots=True)
class Document:
    """One YAML document. Paths are tuples of keys and 0-based list positions."""

    value: Any
    start: Mark
    values: dict[Path, Mark] = field(default_factory=dict[Path, Mark])
    keys: dict[Path, Mark] = field(default_factory=dict[Path, Mark])
    refused: set[Path] = field(default_factory=set[Path])
    """Nodes that stand here in another form than they were written: what the models say of them is no news."""
    whole: bool = False
    """False: the text broke off inside it."""

    def mark(self, path: Path, *, of_key: bool = False) -> Mark:
        """Where the value (or the key) of `path` stands; of the nearest ancestor where the text has no such node."""
        first, second = (self.keys, self.values) if of_key else (self.values, self.keys)
        while path:
            if found := first.get(path) or second.get(path):
                return found
            path = path[:-1]
        return self.start


class Stop(Exception):
    """The rest of the text cannot be read."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not been seen yet."""

    value: dict[str, Any] | list[Any]
    path: Path
    key: str | None = None
    """Key that waits for its value; mappings only."""
    expects_key: bool = True
    skip: bool = False
    """True below a key that is refused: read on, keep nothing."""


def read_text(data: bytes, *, file: str) -> str:
    """UTF-8 text of a spec file. A byte order mark of UTF-8 is dropped. Raises `Stop`."""
    if len(data) > MAX_BYTES:
        raise _too_long(len(data), file=file)
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise Stop(Problem(message="the file is UTF-16, not UTF-8", file=file, line=1, column=1, remedy="save it as UTF-8"))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        message = f"byte 0x{data[error.start]:02x} is not UTF-8"
        raise Stop(Problem(message=message, file=file, line=line, column=column, remedy="save the file as UTF-8")) from error


def _too_long(size: int, *, file: str) -> Stop:
    message = f"the spec has {size} bytes, the limit is {MAX_BYTES}"
    return Stop(Problem(message=message, file=file, line=1, column=1, remedy="split it into several files"))


def documents(text: str, *, file: str) -> tuple[list[Document], list[Problem]]:
    """All documents of `text` and everything that is wrong with its YAML. After a syntax error the rest is missing."""
    composer = _Composer(file=file)
    try:
        size = len(text.encode("utf-8", errors="surrogatepass"))
        if size > MAX_BYTES:
            raise _too_long(size, file=file)
        for event in _events(text, file=file):
            composer.take(event)
    except Stop as stop:
        composer.problems.append(stop.problem)
    return composer.documents, composer.problems


def scalar(text: str) -> Any:
    """The value of a plain scalar by the YAML 1.2 core schema, narrowed: only `true`/`false` are booleans, only decimal
    numbers without leading zeros are numbers, dates and times and everything else stay text."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text) if len(text) < 30 else float("inf")
    if _FLOAT.fullmatch(text):
        return float(text)
    return float("nan") if _NOT_JSON.fullmatch(text) else text


def _events(text: str, *, file: str) -> Iterator[Any]:
    try:
        yield from yaml.parse(text, Loader=yaml.SafeLoader)  # pyright: ignore[reportUnknownMemberType]
    except yaml.MarkedYAMLError as error:
        mark: Any = error.problem_mark or error.context_mark
        detail = str(error.problem or error.context or "not YAML")
        message, remedy = _explain(detail)
        raise Stop(Problem(message=message, file=file, line=mark.line + 1, column=mark.column + 1, remedy=remedy)) from error
    except yaml.reader.ReaderError as error:
        position: int = error.position
        line, column = text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position)
        message = f"the character U+{ord(text[position]):04X} is not allowed in YAML"
        raise Stop(Problem(message=message, file=file, line=line, column=column, remedy="remove it")) from error


def _explain(detail: str) -> tuple[str, str]:
    for needle, message, remedy in _SYNTAX:
        if needle in detail:
            return f"not valid YAML: {message}", remedy
    return f"not valid YAML: {detail}", "compare with an example of `rasterloom init`"


class _Composer:
    """Builds documents event by event; problems that do not stop the reading are collected."""

    def __init__(self, *, file: str) -> None:
        self.file = file
        self.documents: list[Document] = []
        self.problems: list[Problem] = []
        self.stack: list[_Open] = []
        self.nodes = 0

    def take(self, event: Any) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._start(event)
        elif isinstance(event, yaml.AliasEvent):
            self._refuse(event, f"*{event.anchor}", "aliases are not allowed", "write the value out")
            self._place(event, None)
        elif isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._open(event)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self.stack.pop()
        elif isinstance(event, yaml.DocumentEndEvent):
            self.documents[-1].whole = True

    def _start(self, event: Any) -> None:
        if event.version or event.tags:
            self._problem(event, "", "directives (lines that begin with %) are not allowed", "remove them")
        line = event.end_mark.line + 1 if event.explicit else 1
        self.documents.append(Document(None, Mark(line, 1)))

    def _refuse(self, event: Any, value: str, message: str, remedy: str) -> None:
        """A problem of the node that begins with `event`."""
        path = self._next_path()
        self.documents[-1].refused.add(path)
        self._problem(event, value, message, remedy, path)

    def _problem(self, event: Any, value: str, message: str, remedy: str, path: Path = ()) -> None:
        mark = _mark(event)
        found = Problem(message=message, path=dotted(path), value=value, remedy=remedy, file=self.file, line=mark.line, column=mark.column)
        self.problems.append(found)

    def _next_path(self) -> Path:
        """Of the node that comes next: a value, or a key (then that of its mapping)."""
        if not self.stack:
            return ()
        parent = self.stack[-1]
        if isinstance(parent.value, list):
            return (*parent.path, len(parent.value))
        return parent.path if parent.expects_key else (*parent.path, parent.key or "")

    def _count(self, event: Any) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise self._stop(event, f"the file has more than {MAX_NODES} values", "split it into several files")
        if event.anchor is not None:
            self._refuse(event, f"&{event.anchor}", f"the anchor &{event.anchor} is not allowed", "write the value out where it is needed")
        if event.tag is not None:
            self._refuse(event, event.tag, f"the tag {shown(event.tag)} is not allowed", "remove it; put text in quotes")

    def _stop(self, event: Any, message: str, remedy: str) -> Stop:
        mark = _mark(event)
        return Stop(Problem(message=message, file=self.file, line=mark.line, column=mark.column, remedy=remedy))

    def _scalar(self, event: Any) -> None:
        self._count(event)
        event.value = self._unicode(event)
        if self.stack and isinstance(self.stack[-1].value, dict) and self.stack[-1].expects_key:
            self._key(event, self.stack[-1])
            return
        value = scalar(event.value) if event.style is None else event.value
        if isinstance(value, int | float) and not isinstance(value, bool) and not -_BIG <= value < _BIG:
            limit = "not a number that JSON can hold" if value != value else f"beyond {_BIG:.0e}, the largest number a spec can hold"
            text = shown(event.value)
            self._refuse(event, text, f"{text} is {limit}", "write a smaller number, or put it in quotes if it is text")
            value = None
        self._place(event, value)

    def _unicode(self, event: Any) -> str:
        """JSON escapes characters beyond U+FFFF as pairs of surrogates, which PyYAML leaves apart."""
        try:
            return event.value.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError as error:
            raise self._stop(event, f"{shown(event.value)} is not Unicode text", "remove the lone surrogate") from error

    def _key(self, event: Any, parent: _Open) -> None:
        key, mark = event.value, _mark(event)
        path = (*parent.path, key)
        parent.key, parent.expects_key, parent.skip = key, False, False
        document = self.documents[-1]
        if key == "<<" and event.style is None:
            self._problem(event, "<<", "merge keys (<<) are not allowed", "write the keys out", parent.path)
            parent.skip = True
        elif (first := document.keys.get(path)) is not None and isinstance(parent.value, dict) and key in parent.value:
            message = f"the key {shown(key)} stands twice: in line {first.line} and in line {mark.line}"
            self._problem(event, shown(key), message, "keep one of them", path)
            parent.skip = True
        else:
            document.keys[path] = mark

    def _open(self, event: Any) -> None:
        self._count(event)
        if len(self.stack) >= MAX_DEPTH:
            raise self._stop(event, f"nested deeper than {MAX_DEPTH} levels", "write it flatter")
        if self.stack and isinstance(self.stack[-1].value, dict) and self.stack[-1].expects_key:
            raise self._stop(event, "a list or mapping is used as a key", "use text as the key")
        value: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
        path = self._place(event, value)
        self.stack.append(_Open(value, path))

    def _place(self, event: Any, value: Any) -> Path:
        """Put `value` where the innermost open node wants it; returns its path."""
        document = self.documents[-1]
        if not self.stack:
            document.value, document.start = value, _mark(event)
            return ()
        parent, path = self.stack[-1], self._next_path()
        if isinstance(parent.value, list):
            parent.value.append(value)
        elif parent.expects_key:
            raise self._stop(event, "an alias is used as a key", "write the key out")
        else:
            parent.expects_key = True
            if parent.skip:
                return path
            parent.value[parent.key or ""] = value
        document.values[path] = _mark(event)
        return path


def _mark(event: Any) -> Mark:
    return Mark(event.start_mark.line + 1, event.start_mark.column + 1)


def dotted(path: Path) -> str:
    """`build.max_concurrent`, `checks[0].rows`; a key that holds a dot stands in brackets."""
    text = ""
    for part in path:
        if isinstance(part, int) or "." in part:
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text
