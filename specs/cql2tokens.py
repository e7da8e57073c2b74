"""The words of CQL2 text: a text into tokens with their places, and a filter into text again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from rasterloom.specs.cql2 import MAX_DEPTH, All, Compare, Filter, In, IsNull, Like, Literal, Some, WrongFilter, instant_text
from rasterloom.specs.wrong import shown

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<text>'(?:[^']|'')*')
    | (?P<quoted>"(?:[^"]|"")+")
    | (?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![\w:.]))
    | (?P<word>[^\W\d][\w:.]*|:[\w:.]+)
    | (?P<sign><=|>=|<>|!=|==|=|<|>|\(|\)|,|-|\+)
    | (?P<end>\Z)
    | (?P<odd>.)
    )""",
    re.VERBOSE | re.DOTALL,
)
_PLAIN = re.compile(r"[^\W\d][\w:.]*|:[\w:.]+")
RESERVED = frozenset({"AND", "OR", "NOT", "IN", "BETWEEN", "LIKE", "IS", "NULL", "TRUE", "FALSE", "CASEI"})


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    """`text`, `quoted`, `number`, `word`, `sign` or `end`."""
    text: str
    at: int
    """0-based."""

    def is_word(self, *words: str) -> bool:
        return self.kind == "word" and self.text.upper() in words

    def is_sign(self, *signs: str) -> bool:
        return self.kind == "sign" and self.text in signs


def tokens(text: str) -> Iterator[Token]:
    for found in _TOKEN.finditer(text):
        kind = str(found.lastgroup)
        token = Token(kind, found[kind], found.start(kind))
        if kind == "odd":
            raise _odd(token, text)
        yield token
        if kind == "end":
            return


def _odd(token: Token, text: str) -> WrongFilter:
    remedies = {
        "'": ("the text that begins here has no end", "close it with '; a ' inside is written ''"),
        '"': ("the name that begins here has no end, or is empty", 'close it with "'),
        "[": ("a list stands in parentheses", "write IN ('a', 'b')"),
        "*": ("there is no arithmetic", "compare a property with a value"),
        "/": ("there is no arithmetic", "compare a property with a value"),
        "%": ("there is no arithmetic", "compare a property with a value; % belongs in the text after LIKE"),
        "&": ("& is no word", "write AND"),
        "|": ("| is no word", "write OR"),
        "!": ("! is no word", "write NOT"),
    }
    if token.text.isdecimal() or token.text == ".":
        rest = re.split(r"[\s()=<>,]", text[token.at :], maxsplit=1)[0]
        return refused(
            Token("odd", rest, token.at), "is no number", f'write a number, or the name of a property in double quotes: "{rest[:40]}"'
        )
    message, remedy = remedies.get(token.text, ("does not belong here", "write e.g. eo:cloud_cover < 20 AND platform = 'landsat-8'"))
    return refused(token, message, remedy)


def refused(token: Token, message: str, remedy: str) -> WrongFilter:
    what = "the end" if token.kind == "end" else shown(token.text)
    return WrongFilter(f"character {token.at + 1} ({what}): {message}", remedy=remedy)


def check_depth(tokens: Sequence[Token]) -> None:
    """Before anything that recurses."""
    level = 0
    for token in tokens:
        level += token.is_sign("(") - token.is_sign(")")
        if level > MAX_DEPTH:
            raise WrongFilter(f"character {token.at + 1}: nests deeper than {MAX_DEPTH} parentheses", remedy="write it flatter")


def to_text(filter: Filter) -> str:
    """CQL2 text; reading it again gives an equal filter."""
    if isinstance(filter, All):
        return " AND ".join(f"({to_text(part)})" if isinstance(part, Some) else to_text(part) for part in filter.parts)
    if isinstance(filter, Some):
        return " OR ".join(map(to_text, filter.parts))
    name = f"CASEI({_name(filter.name)})" if not isinstance(filter, IsNull) and filter.folded else _name(filter.name)
    if isinstance(filter, Compare):
        return f"{name} {filter.op} {_spelled(filter.value, folded=filter.folded)}"
    no = "NOT " if filter.negated else ""
    if isinstance(filter, In):
        return f"{name} {no}IN ({', '.join(_spelled(value, folded=filter.folded) for value in filter.values)})"
    return f"{name} {no}LIKE {_spelled(filter.pattern, folded=filter.folded)}" if isinstance(filter, Like) else f"{name} IS {no}NULL"


def _name(name: str) -> str:
    if _PLAIN.fullmatch(name) and name.upper() not in RESERVED:
        return name
    return '"' + name.replace('"', '""') + '"'


def _spelled(value: Literal, *, folded: bool) -> str:
    if isinstance(value, datetime):
        return f"TIMESTAMP('{instant_text(value)}')"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, str):
        quoted = "'" + value.replace("'", "''") + "'"
        return f"CASEI({quoted})" if folded else quoted
    return repr(value)
