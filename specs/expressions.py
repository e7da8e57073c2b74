"""Band maths as a user writes it, `(B08 - B04) / (B08 + B04)`, into a tree of whitelisted operations. Nothing is ever evaluated as code.

    either   = both ("|" both)*
    both     = compared ("&" compared)*
    compared = sum [("<" | "<=" | ">" | ">=" | "==" | "!=") sum]
    sum      = product (("+" | "-") product)*
    product  = signed (("*" | "/") signed)*
    signed   = ("-" | "+" | "~") signed | power
    power    = atom ["**" signed]
    atom     = number | band | '"' band '"' | function "(" either ("," either)* ")" | "(" either ")"

A band is a number, a comparison is a mask. `&`, `|`, `~` and the first argument of `where` want masks; where a number is wanted, a mask
counts as 1 and 0.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from rasterloom.errors import SpecError
from rasterloom.specs.cql2tokens import Token
from rasterloom.specs.wrong import a_list, shown

MAX_LENGTH, MAX_NODES, MAX_DEPTH = 1000, 200, 24
"""Characters of a text; numbers, bands and operations of its tree; parentheses, signs and powers inside of each other."""

Node = tuple[Any, ...]
"""`("number", 1.5)`, `("band", "B04")` or `(operation, Node, ...)`, which JSON can hold. Operations: `FUNCTIONS`, the signs, `neg`."""

_ONE = dict.fromkeys(("abs", "sqrt", "log", "log10", "exp"), (1, 1))
FUNCTIONS = {**_ONE, "min": (2, 8), "max": (2, 8), "clip": (3, 3), "where": (3, 3)}
"""Name -> fewest and most arguments. `log` is the natural logarithm."""
COMPARISONS = frozenset({"<", "<=", ">", ">=", "==", "!="})
_MASKS = COMPARISONS | {"&", "|", "~"}

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<quoted>"[^"]+")
    | (?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![\w:.]))
    | (?P<word>[^\W\d][\w:.]*)
    | (?P<sign>\*\*|<=|>=|==|!=|[-+*/<>&|~(),])
    | (?P<end>\Z)
    | (?P<odd>.)
    )""",
    re.VERBOSE | re.DOTALL,
)
_ODD = {
    '"': ("the name that begins here has no end, or is empty", 'close it with "'),
    "=": ("is no operator", "compare with =="),
    "!": ("is no operator", "negate a mask with ~, compare with !="),
    "^": ("is no operator", "write a power as **"),
    "%": ("is no operator", "there are + - * / ** alone"),
    "[": ("is no operator", "join with parentheses"),
    "'": ("a text has no place here", 'a name with signs in it stands in double quotes: "B-1"'),
}
_WORDS = {"and": "&", "or": "|", "not": "~"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """A text that was understood."""

    text: str
    root: Node
    bands: tuple[str, ...]
    """Codes, each once, in the order of the text."""

    @property
    def is_mask(self) -> bool:
        """Whether the result is true or false for a pixel, in place of a number."""
        return _is_mask(self.root)


def parse_expression(text: str, bands: Collection[str] | None = None) -> Expression:
    """The expression that `text` is; `bands` are the codes that it may name, None any.

    Raises SpecError with the column, what stands there and what to write; never anything else.
    """
    if len(text) > MAX_LENGTH:
        raise SpecError(f"the expression has {len(text)} characters, the most are {MAX_LENGTH}", remedy="write several expressions")
    parser = _Parser(list(_tokens(text)), bands)
    root = parser.whole()
    if not parser.named:
        raise SpecError(f"the expression {shown(text)} names no band", remedy="write e.g. (B08 - B04) / (B08 + B04)")
    return Expression(text=text, root=root, bands=tuple(parser.named))


def _tokens(text: str) -> Iterator[Token]:
    for found in _TOKEN.finditer(text):
        kind = str(found.lastgroup)
        token = Token(kind, found[kind], found.start(kind))
        if kind == "odd":
            raise _refused(token, *_ODD.get(token.text, _odd(token.text)))
        yield token
        if kind == "end":
            return


def _odd(sign: str) -> tuple[str, str]:
    if sign.isdecimal() or sign == ".":
        return "begins no number", 'write a number, or a band in double quotes: "8A"'
    return "does not belong here", "write e.g. (B08 - B04) / (B08 + B04)"


def _refused(token: Token, message: str, remedy: str) -> SpecError:
    what = "the end" if token.kind == "end" else shown(token.text)
    return SpecError(f"column {token.at + 1} ({what}): {message}", remedy=remedy)


def _is_mask(node: Node) -> bool:
    return node[0] in _MASKS or (node[0] == "where" and _is_mask(node[2]) and _is_mask(node[3]))


class _Parser:
    """One pass from left to right; how deep it goes is counted, so that no text exhausts the stack."""

    def __init__(self, tokens: list[Token], bands: Collection[str] | None) -> None:
        self._tokens, self._bands = tokens, bands
        self._at = self._depth = self._nodes = 0
        self.named: dict[str, None] = {}

    @property
    def _token(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._token
        self._at += token.kind != "end"
        return token

    def _took(self, *signs: str) -> Token | None:
        return self._take() if self._token.is_sign(*signs) else None

    def _node(self, token: Token, *parts: Any) -> Node:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _refused(token, f"the expression has more than {MAX_NODES} operations, numbers and bands", "write several expressions")
        return parts

    @contextmanager
    def _deeper(self, token: Token) -> Generator[None]:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _refused(token, f"nests deeper than {MAX_DEPTH}", "write it flatter")
        yield
        self._depth -= 1

    def whole(self) -> Node:
        found = self._either()
        token = self._token
        if token.kind == "end":
            return found
        if token.is_sign(")"):
            raise _refused(token, "closes a parenthesis that nothing opened", "remove it")
        if token.is_sign(*COMPARISONS):
            raise _refused(token, "compares what is a comparison already", "write (a < b) & (b < c)")
        if token.text.lower() in _WORDS:
            raise _refused(token, "is no operator", f"write {_WORDS[token.text.lower()]}")
        raise _refused(token, "the expression could end here", "write an operator before it: + - * / ** < <= > >= == != & |")

    def _either(self) -> Node:
        found = self._both()
        while sign := self._took("|"):
            found = self._masks(sign, found, self._both())
        return found

    def _both(self) -> Node:
        found = self._compared()
        while sign := self._took("&"):
            found = self._masks(sign, found, self._compared())
        return found

    def _masks(self, sign: Token, *parts: Node) -> Node:
        if not all(map(_is_mask, parts)):
            remedy = "compare each side, e.g. (B04 > 100) & (B08 > 200); bits of a band are a mask: {band: QA, bits: [3]}"
            raise _refused(sign, "wants masks, and a band is a number", remedy)
        return self._node(sign, sign.text, *parts)

    def _compared(self) -> Node:
        found = self._sum()
        sign = self._took(*COMPARISONS)
        return self._node(sign, sign.text, found, self._sum()) if sign else found

    def _sum(self) -> Node:
        found = self._product()
        while sign := self._took("+", "-"):
            found = self._node(sign, sign.text, found, self._product())
        return found

    def _product(self) -> Node:
        found = self._signed()
        while sign := self._took("*", "/"):
            found = self._node(sign, sign.text, found, self._signed())
        return found

    def _signed(self) -> Node:
        sign = self._took("-", "+", "~")
        if sign is None:
            return self._power()
        with self._deeper(sign):
            found = self._signed()
        if sign.text == "~":
            return self._masks(sign, found)
        return found if sign.text == "+" else self._node(sign, "neg", found)

    def _power(self) -> Node:
        found = self._atom()
        sign = self._took("**")
        if sign is None:
            return found
        with self._deeper(sign):
            return self._node(sign, "**", found, self._signed())

    def _atom(self) -> Node:
        token = self._take()
        if token.kind == "number":
            return self._node(token, "number", _number(token))
        if token.kind == "quoted":
            return self._band(token, token.text[1:-1])
        if token.kind == "word":
            return self._call(token) if self._token.is_sign("(") else self._band(token, token.text)
        if not token.is_sign("("):
            raise _refused(token, "wanted is a number, a band, a function or (", "write e.g. (B08 - B04) / (B08 + B04)")
        with self._deeper(token):
            found = self._either()
        self._close(token)
        return found

    def _close(self, opened: Token) -> None:
        if not self._took(")"):
            raise _refused(self._token, f"wanted is ) for the parenthesis of column {opened.at + 1}", "close it, or join with an operator")

    def _call(self, name: Token) -> Node:
        if name.text not in FUNCTIONS:
            near = get_close_matches(name.text, FUNCTIONS, n=1)
            raise _refused(name, "is no function that is known", f"write {near[0]}" if near else f"there are {a_list(FUNCTIONS)}")
        opened = self._take()
        with self._deeper(opened):
            parts = [self._either()]
            while self._took(","):
                parts.append(self._either())
        self._close(opened)
        fewest, most = FUNCTIONS[name.text]
        if not fewest <= len(parts) <= most:
            wanted = f"{fewest}" if fewest == most else f"{fewest} to {most}"
            raise _refused(name, f"has {len(parts)} arguments, wanted are {wanted}", _usage(name.text))
        if name.text == "where" and not _is_mask(parts[0]):
            raise _refused(name, "the first argument is no mask", _usage("where"))
        return self._node(name, name.text, *parts)

    def _band(self, token: Token, code: str) -> Node:
        if self._bands is not None and code not in self._bands:
            raise _unknown(token, code, self._bands, self._tokens[self._at : self._at + 2])
        self.named[code] = None
        return self._node(token, "band", code)


def _number(token: Token) -> float:
    value = float(token.text)
    if value == float("inf"):
        raise _refused(token, "is larger than any float64", "write a number below 1e308")
    return value


def _usage(name: str) -> str:
    arguments = {"where": "B04 > 100, B08, 0", "clip": "B04, 0, 10000", "min": "B04, B08", "max": "B04, B08"}
    return f"write e.g. {name}({arguments.get(name, 'B04')})"


def _unknown(token: Token, code: str, bands: Collection[str], rest: list[Token]) -> SpecError:
    joined = code + "".join(part.text for part in rest)
    if joined in bands:
        return _refused(token, "is no band", f'a name with signs in it stands in double quotes: "{joined}"')
    if code in FUNCTIONS:
        return _refused(token, "is a function without its arguments", _usage(code))
    near = get_close_matches(code, bands, n=1, cutoff=0.3)
    remedy = f"write {near[0]}; there are {a_list(bands)}" if near else f"there are {a_list(bands)}"
    return _refused(token, "is no band", remedy)
