"""CQL2 text to a filter and back: a small recursive-descent parser whose depth is known before it begins.

Grammar: OGC 21-065r2 annex B, of which it reads comparisons of a property with a value, IN, BETWEEN, LIKE, IS NULL, CASEI, AND, OR, NOT.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches

from rasterloom.specs.cql2 import (
    MIRRORED,
    Filter,
    IsNull,
    Literal,
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
from rasterloom.specs.cql2tokens import RESERVED, Token, check_depth, refused, tokens
from rasterloom.specs.wrong import shown

_SPELLED = {"==": "=", "!=": "<>"}
_SIGNS = frozenset(MIRRORED)
_AFTER = "follow a property with =, <>, <, <=, >, >=, IN, BETWEEN, LIKE or IS NULL"


@dataclass(frozen=True, slots=True)
class _Name:
    """A property, as one side of a comparison."""

    name: str
    folded: bool = False


@dataclass(frozen=True, slots=True)
class _Value:
    """A literal, as one side of a comparison."""

    value: Literal
    folded: bool = False


_Side = _Name | _Value


def parse_text(text: str) -> Filter:
    """The filter that a CQL2 text is. Raises `WrongFilter` with the place, what stands there and what to write."""
    found = list(tokens(text))
    check_depth(found)
    return _Parser(found).whole()


class _Parser:
    """One pass from left to right. Recursion goes down with parentheses alone."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
        self._at = 0

    @property
    def _token(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._token
        self._at += token.kind != "end"
        return token

    def _took(self, *, word: str = "", sign: str = "") -> bool:
        found = self._token.is_word(word) if word else self._token.is_sign(sign)
        self._at += found
        return found

    def _expect(self, sign: str, remedy: str) -> None:
        if not self._took(sign=sign):
            raise refused(self._token, f"wanted is {sign}", remedy)

    def whole(self) -> Filter:
        found = self._either()
        token = self._token
        if token.is_sign(")"):
            raise refused(token, "closes a parenthesis that nothing opened", "remove it")
        if token.kind != "end":
            near = "write AND before it" if token.kind in ("word", "quoted") or token.is_sign("(") else "join comparisons with AND or OR"
            raise refused(token, "the filter could end here", near)
        return found

    def _either(self) -> Filter:
        return self._joined("OR", some, lambda: self._joined("AND", every, self._maybe_not))

    def _joined(self, word: str, join: Callable[[Sequence[Filter]], Filter], part: Callable[[], Filter]) -> Filter:
        parts = [part()]
        while self._took(word=word):
            parts.append(part())
        return join(parts) if len(parts) > 1 else parts[0]

    def _maybe_not(self) -> Filter:
        odd = False
        while self._took(word="NOT"):
            odd = not odd
        part = self._primary()
        return negated(part) if odd else part

    def _primary(self) -> Filter:
        if not self._took(sign="("):
            return self._predicate()
        found = self._either()
        self._expect(")", "close the parenthesis")
        return found

    def _predicate(self) -> Filter:
        start = self._token
        side = self._side()
        odd = self._took(word="NOT")
        token = self._take()
        try:
            found = self._after(side, token, odd=odd)
        except WrongFilter as error:
            if error.message.startswith("character "):
                raise
            raise WrongFilter(f"character {start.at + 1} ({shown(start.text)}): {error.message}", remedy=error.remedy) from None
        return negated(found) if odd else found

    def _after(self, side: _Side, token: Token, *, odd: bool) -> Filter:
        if token.is_sign(*_SPELLED):
            raise refused(token, "is no operator of CQL2", f"write {_SPELLED[token.text]}")
        if token.is_sign(*_SIGNS) and not odd:
            return self._comparison(side, token)
        name = self._named(side, token)
        if token.is_word("IN"):
            return one_of(name.name, self._members(name), folded=name.folded)
        if token.is_word("BETWEEN"):
            return self._between(name)
        if token.is_word("LIKE"):
            return self._like(name)
        if token.is_word("IS") and not odd:
            return self._is_null(name)
        if token.is_sign("(") and name.name.upper() in _FUNCTIONS:
            raise refused(token, f"{name.name} is a function", _FUNCTIONS[name.name.upper()])
        raise _no_operator(token, name)

    def _named(self, side: _Side, token: Token) -> _Name:
        if isinstance(side, _Name):
            return side
        raise refused(token, "a value is not a property, and there is no arithmetic", "begin the comparison with a property")

    def _comparison(self, left: _Side, sign: Token) -> Filter:
        right = self._side()
        if isinstance(left, _Value):
            if isinstance(right, _Value):
                raise refused(sign, "compares two values", "name a property on one side")
            return _compared(right, MIRRORED[sign.text], left, sign)
        if isinstance(right, _Name):
            raise refused(sign, "compares two properties", f"write a text in single quotes: '{right.name}'")
        return _compared(left, sign.text, right, sign)

    def _members(self, name: _Name) -> list[Literal]:
        self._expect("(", "write IN ('a', 'b')")
        found: list[Literal] = []
        while not (not found and self._took(sign=")")):
            found.append(self._value(name))
            if self._took(sign=")"):
                break
            self._expect(",", "separate the values with commas, and close the list with )")
        return found

    def _between(self, name: _Name) -> Filter:
        low = self._value(name)
        if not self._took(word="AND"):
            raise refused(self._token, "BETWEEN has no AND", "write x BETWEEN 10 AND 20")
        return within(name.name, low, self._value(name), folded=name.folded)

    def _like(self, name: _Name) -> Filter:
        token = self._token
        folded = self._took(word="CASEI")
        if folded:
            self._expect("(", "write CASEI('a%')")
        pattern = self._take()
        if pattern.kind != "text":
            raise refused(pattern, "LIKE wants a text", "write LIKE 'S2A%'")
        if folded:
            self._expect(")", "close CASEI(")
        _check_folded(name, _Value("", folded), token)
        return like(name.name, _unquoted(pattern), folded=name.folded)

    def _is_null(self, name: _Name) -> Filter:
        no = self._took(word="NOT")
        if not self._took(word="NULL"):
            raise refused(self._token, "IS goes with NULL or NOT NULL", "write IS NULL, or compare with =")
        return IsNull(name.name, negated=no)

    def _value(self, name: _Name) -> Literal:
        token = self._token
        side = self._side()
        if isinstance(side, _Name):
            raise refused(token, "is a property, wanted is a value", f"write a text in single quotes: '{side.name}'")
        _check_folded(name, side, token)
        return side.value

    def _side(self) -> _Side:
        token = self._take()
        if token.is_sign("-", "+"):
            return _Value(self._number(self._take(), minus=token.text == "-"))
        if token.kind == "number":
            return _Value(self._number(token, minus=False))
        if token.kind == "text":
            return _Value(_literal(_unquoted(token), token))
        if token.kind == "quoted":
            return _Name(_checked_name(token.text[1:-1].replace('""', '"'), token))
        if token.kind == "word":
            return self._word(token)
        raise refused(token, "wanted is a property or a value", "write e.g. eo:cloud_cover < 20")

    def _word(self, token: Token) -> _Side:
        if token.is_word("TRUE", "FALSE"):
            return _Value(token.is_word("TRUE"))
        if token.is_word("NULL"):
            raise refused(token, "nothing is equal to null", "write IS NULL or IS NOT NULL")
        if token.is_word("CASEI"):
            return self._casei(token)
        if token.is_word("DATE", "TIMESTAMP") and self._token.is_sign("("):
            return _Value(self._instant(token))
        if token.text.upper() in RESERVED:
            raise refused(token, "wanted is a property or a value", f'write "{token.text}" where it is the name of a property')
        return _Name(_checked_name(token.text, token))

    def _casei(self, token: Token) -> _Side:
        self._expect("(", "write CASEI(platform) = CASEI('Landsat-8')")
        if self._token.is_word("CASEI"):
            raise refused(self._token, "CASEI stands in CASEI", "write it once")
        inner = self._side()
        self._expect(")", "close CASEI(")
        if isinstance(inner, _Value) and not isinstance(inner.value, str):
            raise refused(token, "CASEI wants a property or a text", "leave it out")
        return _Name(inner.name, True) if isinstance(inner, _Name) else _Value(inner.value, True)

    def _instant(self, token: Token) -> datetime:
        self._expect("(", "write DATE('2024-06-01')")
        spelled = self._take()
        found = instant(_unquoted(spelled)) if spelled.kind == "text" else None
        if found is None or (token.is_word("DATE") and len(spelled.text) != len("'2024-06-01'")):
            example = "DATE('2024-06-01')" if token.is_word("DATE") else "TIMESTAMP('2024-06-01T10:00:00Z')"
            raise refused(spelled, f"is no {token.text.lower()}", f"write {example}")
        self._expect(")", f"close {token.text}(")
        return found

    def _number(self, token: Token, *, minus: bool) -> Literal:
        if token.kind != "number":
            raise refused(token, "wanted is a number", "there is no arithmetic; a name with a - stands in double quotes")
        value = int(token.text) if token.text.isdecimal() and len(token.text) < 40 else float(token.text)
        return _literal(-value if minus else value, token)


_NO_FUNCTION = "there are no functions but DATE, TIMESTAMP and CASEI; compare a property with a value"
_AREA = "give the area as bbox or intersects"
_FUNCTIONS = {
    "S_INTERSECTS": _AREA,
    "INTERSECTS": _AREA,
    "S_WITHIN": _AREA,
    "T_AFTER": "write datetime > TIMESTAMP('...'), or give dates",
    "T_BEFORE": "write datetime < TIMESTAMP('...'), or give dates",
    "T_DURING": "write datetime BETWEEN TIMESTAMP('...') AND TIMESTAMP('...'), or give dates",
    "T_INTERSECTS": "give dates",
    "ANYINTERACTS": "give dates",
}


def _no_operator(token: Token, side: _Name) -> WrongFilter:
    if token.is_sign("("):
        return refused(token, f"{shown(side.name)} is no function that is known", _NO_FUNCTION)
    if token.is_sign("-", "+"):
        return refused(
            token, "there is no arithmetic", f'a name with a {token.text} stands in double quotes, e.g. "{side.name}{token.text}..."'
        )
    if token.kind == "end":
        return refused(token, f"the property {shown(side.name)} is not compared with anything", _AFTER)
    near = get_close_matches(token.text.upper(), ["IN", "BETWEEN", "LIKE", "IS", "NOT"], n=1, cutoff=0.5) if token.kind == "word" else []
    return refused(token, f"is no operator behind the property {shown(side.name)}", f"write {near[0]}" if near else _AFTER)


def _compared(name: _Name, op: str, value: _Value, sign: Token) -> Filter:
    _check_folded(name, value, sign)
    return compared(op, name.name, value.value, folded=name.folded)


def _check_folded(name: _Name, value: _Value, token: Token) -> None:
    if name.folded != value.folded:
        raise refused(token, "CASEI stands on one side alone", "write CASEI(property) = CASEI('text')")


def _unquoted(token: Token) -> str:
    return token.text[1:-1].replace("''", "'")


def _literal(value: object, token: Token) -> Literal:
    try:
        return literal(value)
    except WrongFilter as error:
        raise refused(token, error.message, error.remedy) from None


def _checked_name(name: str, token: Token) -> str:
    try:
        return property_name(name)
    except WrongFilter as error:
        raise refused(token, error.message, error.remedy) from None
