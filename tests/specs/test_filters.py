"""Filters in both forms: one value, one canonical text, exact places of mistakes, and no text that hurts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rasterloom.errors import SpecError
from rasterloom.specs.cql2 import MAX_DEPTH, Filter, WrongFilter, depth, to_json
from rasterloom.specs.cql2tokens import to_text
from rasterloom.specs.filters import canonical_filter, filter_of, parse_filter
from tests.filters import filters


def prop(name: str) -> dict[str, str]:
    return {"property": name}


GOOD: dict[str, tuple[str, Any, str]] = {
    "of the guide": (
        "eo:cloud_cover < 20 AND year = 2024",
        {"op": "and", "args": [{"op": "<", "args": [prop("eo:cloud_cover"), 20]}, {"op": "=", "args": [prop("year"), 2024]}]},
        "eo:cloud_cover < 20 AND year = 2024",
    ),
    "value first": ("20.0 > eo:cloud_cover", {"op": ">", "args": [20, prop("eo:cloud_cover")]}, "eo:cloud_cover < 20"),
    "negative": ("a >= -1.5e0", {"op": ">=", "args": [prop("a"), -1.5]}, "a >= -1.5"),
    "prefix": ("properties.a = TRUE", {"op": "=", "args": [prop("properties.a"), True]}, "a = TRUE"),
    "quoted": ('"view-angle" <> 3', {"op": "<>", "args": [prop("view-angle"), 3]}, '"view-angle" <> 3'),
    "quote in text": ("a = 'it''s'", {"op": "=", "args": [prop("a"), "it's"]}, "a = 'it''s'"),
    "keyword as a name": ('"in" = 1', {"op": "=", "args": [prop("in"), 1]}, '"in" = 1'),
    "in": ("a IN ('y', 'x', 'y')", {"op": "in", "args": [prop("a"), ["x", "y"]]}, "a IN ('x', 'y')"),
    "in of one": ("a IN (7)", {"op": "in", "args": [prop("a"), [7]]}, "a = 7"),
    "not in": ("a NOT IN (1, 2)", {"op": "not", "args": [{"op": "in", "args": [prop("a"), [1, 2]]}]}, "a NOT IN (1, 2)"),
    "between": ("a between 1 and 5", {"op": "between", "args": [prop("a"), 1, 5]}, "a >= 1 AND a <= 5"),
    "not between": ("a NOT BETWEEN 1 AND 5", {"op": "not", "args": [{"op": "between", "args": [prop("a"), 1, 5]}]}, "a < 1 OR a > 5"),
    "like": ("a LIKE 'S2\\_%'", {"op": "like", "args": [prop("a"), "S2\\_%"]}, "a LIKE 'S2\\_%'"),
    "not like": ("a NOT LIKE '%x'", {"op": "not", "args": [{"op": "like", "args": [prop("a"), "%x"]}]}, "a NOT LIKE '%x'"),
    "null": ("a IS NULL", {"op": "isNull", "args": [prop("a")]}, "a IS NULL"),
    "not null": ("a is not null", {"op": "not", "args": [{"op": "isNull", "args": [prop("a")]}]}, "a IS NOT NULL"),
    "date": ("d > DATE('2024-06-01')", {"op": ">", "args": [prop("d"), {"date": "2024-06-01"}]}, "d > TIMESTAMP('2024-06-01T00:00:00Z')"),
    "timestamp": (
        "d > TIMESTAMP('2024-06-01T10:00:00.25+02:00')",
        {"op": ">", "args": [prop("d"), {"timestamp": "2024-06-01T08:00:00.25Z"}]},
        "d > TIMESTAMP('2024-06-01T08:00:00.250000Z')",
    ),
    "instant as a text": ("d <= '2024-06-01'", {"op": "<=", "args": [prop("d"), "2024-06-01"]}, "d <= TIMESTAMP('2024-06-01T00:00:00Z')"),
    "a name that is also a word": ("date = 3", {"op": "=", "args": [prop("date"), 3]}, "date = 3"),
    "casei": (
        "CASEI(a) IN (CASEI('X'), CASEI('y'))",
        {
            "op": "in",
            "args": [{"op": "casei", "args": [prop("a")]}, [{"op": "casei", "args": ["x"]}, {"op": "casei", "args": ["Y"]}]],
        },
        "CASEI(a) IN (CASEI('x'), CASEI('y'))",
    ),
    "not of and": (
        "NOT (a < 5 AND b = 'x')",
        {"op": "not", "args": [{"op": "and", "args": [{"op": "<", "args": [prop("a"), 5]}, {"op": "=", "args": [prop("b"), "x"]}]}]},
        "a >= 5 OR b <> 'x'",
    ),
    "not before and": (
        "NOT a = 1 AND b = 2",
        {"op": "and", "args": [{"op": "not", "args": [{"op": "=", "args": [prop("a"), 1]}]}, {"op": "=", "args": [prop("b"), 2]}]},
        "a <> 1 AND b = 2",
    ),
    "and before or": (
        "a = 1 OR b = 2 AND c = 3",
        {
            "op": "or",
            "args": [
                {"op": "=", "args": [prop("a"), 1]},
                {"op": "and", "args": [{"op": "=", "args": [prop("b"), 2]}, {"op": "=", "args": [prop("c"), 3]}]},
            ],
        },
        "b = 2 AND c = 3 OR a = 1",
    ),
    "parentheses": (
        "(a = 1 OR b = 2) AND ((c = 3))",
        {
            "op": "and",
            "args": [
                {"op": "or", "args": [{"op": "=", "args": [prop("a"), 1]}, {"op": "=", "args": [prop("b"), 2]}]},
                {"op": "=", "args": [prop("c"), 3]},
            ],
        },
        "(a = 1 OR b = 2) AND c = 3",
    ),
    "several lines": (
        "a = 1\n  AND b = 2\n",
        {"op": "and", "args": [{"op": "=", "args": [prop("b"), 2]}, {"op": "=", "args": [prop("a"), 1]}]},
        "a = 1 AND b = 2",
    ),
    "said twice": ("a = 1 AND a = 1", {"op": "and", "args": [{"op": "=", "args": [prop("a"), 1]}]}, "a = 1"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "document", "normal"), GOOD.values(), ids=GOOD)
def test_text_and_json_are_one_filter(text: str, document: Any, normal: str) -> None:
    found = parse_filter(text)
    assert parse_filter(document) == found
    assert to_text(found) == normal
    assert canonical_filter(text) == canonical_filter(document) == canonical_filter(to_text(found))
    assert filter_of(canonical_filter(text)) == found


def test_the_order_of_conjuncts_makes_no_other_filter() -> None:
    assert canonical_filter("a = 1 AND (b = 2 AND c = 3)") == canonical_filter("c = 3 AND b = 2 AND a = 1")
    assert canonical_filter("a = 1 OR b = 2") != canonical_filter("a = 1 AND b = 2")


BAD: dict[str, tuple[str, str, str]] = {
    "no operator": ("cloud", "character 6 (the end)", "=, <>"),
    "no value": ("a <", "character 4 (the end)", "eo:cloud_cover < 20"),
    "two equals": ("a == 1", "character 3 (==)", "write ="),
    "not equals": ("a != 1", "character 3 (!=)", "write <>"),
    "null": ("a = NULL", "character 5 (NULL)", "IS NULL"),
    "double quotes": ('a = "S2A"', "character 3 (=): compares two properties", "'S2A'"),
    "no quotes": ("platform = landsat", "compares two properties", "'landsat'"),
    "two values": ("1 = 1", "compares two values", "property"),
    "missing and": ("a < 20 b = 3", "character 8 (b)", "write AND"),
    "ampersand": ("a < 20 && b = 3", "character 8 (&)", "AND"),
    "function": ("read_csv('/etc/passwd') = 'x'", "character 9 ((): read_csv is no function", "no functions"),
    "spatial": ("S_INTERSECTS(geometry, POINT(1 2))", "S_INTERSECTS is a function", "intersects"),
    "temporal": ("T_AFTER(datetime, DATE('2024-01-01'))", "T_AFTER is a function", "TIMESTAMP"),
    "hyphen": ("view-angle < 3", "character 5 (-)", '"view-'),
    "arithmetic": ("a * 2 = 3", "character 3 (*)", "compare"),
    "empty in": ("a IN ()", "IN lists nothing", "at least one"),
    "mixed in": ("a IN (1, 'x')", "a number, a text together", "one kind"),
    "in without comma": ("a IN (1 2)", "character 9 (2)", "commas"),
    "open list": ("a IN (1, 2", "character 11 (the end)", "commas"),
    "open parenthesis": ("(a = 1", "character 7 (the end)", "close"),
    "closed parenthesis": ("a = 1)", "character 6 ()): closes", "remove"),
    "like a number": ("a LIKE 3", "character 8 (3)", "LIKE 'S2A%'"),
    "odd escape": (r"a LIKE 'x\y'", r"has a \ before", r"write \\"),
    "open text": ("a = 'x", "character 5 (')", "close it"),
    "open name": ('"a = 1', 'character 1 (")', "close it"),
    "number with letters": ("20abc = 3", "character 1 (20abc)", '"20abc"'),
    "huge": ("a = 1e999", "character 5 (1e999)", "smaller"),
    "large whole": (f"a = {2**63}", "outside of -2^63", "smaller"),
    "is what": ("a IS 3", "character 6 (3)", "IS NULL"),
    "order of truths": ("a < TRUE", "no order", "= or <>"),
    "between without and": ("a BETWEEN 1, 2", "character 12 (,)", "BETWEEN 10 AND 20"),
    "between kinds": ("a BETWEEN 1 AND 'x'", "a number and a text", "one kind"),
    "no date": ("a = DATE('2024-13-01')", "character 10 ('2024-13-01')", "DATE('2024-06-01')"),
    "date with a time": ("a = DATE('2024-06-01T00:00:00Z')", "is no date", "DATE('2024-06-01')"),
    "casei alone": ("CASEI(a) = 'x'", "one side", "CASEI('text')"),
    "casei of a number": ("CASEI(a) = CASEI(3)", "wants a property or a text", "leave it out"),
    "casei order": ("CASEI(a) < CASEI('x')", "no order", "LIKE"),
    "misspelled": ("a likee 'x'", "character 3 (likee)", "write LIKE"),
    "reference": ("a = ${HOME}", "character 5 ($)", "eo:cloud_cover"),
    "sql": ("a = 1; DROP TABLE x", "character 6 (;)", "eo:cloud_cover"),
    "nothing": ("  ", "is not a filter", "eo:cloud_cover"),
    "parentheses": ("(" * 33 + "a = 1" + ")" * 33, "character 33: nests deeper than 32", "flatter"),
    "long": ("a = '" + "x" * 10_000 + "'", "the limit is 10000", "shorten"),
    "torn": ("a = '\ud800'", "not Unicode", "surrogate"),
}


@pytest.mark.parametrize(("text", "message", "remedy"), BAD.values(), ids=BAD)
def test_a_wrong_text_says_where_what_and_what_to_write(text: str, message: str, remedy: str) -> None:
    with pytest.raises(WrongFilter) as caught:
        parse_filter(text)
    assert message in caught.value.message
    assert remedy in caught.value.remedy


WRONG_JSON: dict[str, tuple[Any, tuple[str | int, ...], str, str]] = {
    "empty": ({}, (), "no operation", "op"),
    "unknown operator": ({"op": "lt", "args": [prop("a"), 1]}, ("op",), "lt is no operator", "write <"),
    "spatial": ({"op": "s_intersects", "args": [prop("geometry"), {}]}, ("op",), "s_intersects", "intersects"),
    "function": ({"op": "read_csv", "args": ["/etc/passwd"]}, ("op",), "no operator", "use one of"),
    "no args": ({"op": "="}, (), "no args", "args"),
    "odd key": ({"op": "=", "args": [prop("a"), 1], "name": 1}, ("name",), "not name", "args"),
    "one argument": ({"op": "=", "args": [prop("a")]}, ("args",), "2 arguments", "args"),
    "deep place": (
        {"op": "and", "args": [{"op": "=", "args": [prop("a"), 1]}, {"op": "not", "args": [{"op": "=", "args": [prop("a"), None]}]}]},
        ("args", 1, "args", 0, "args", 1),
        "null",
        "isNull",
    ),
    "two properties": ({"op": "=", "args": [prop("a"), prop("b")]}, ("args",), "two properties", "value"),
    "odd value": ({"op": "=", "args": [prop("a"), [1]]}, ("args", 1), "no value", "text"),
    "interval": ({"op": "=", "args": [prop("a"), {"interval": ["..", ".."]}]}, ("args", 1), "neither", "timestamp"),
    "no instant": ({"op": "=", "args": [prop("a"), {"timestamp": "soon"}]}, ("args", 1, "timestamp"), "soon is no timestamp", "2024"),
    "in of no list": ({"op": "in", "args": [prop("a"), 1]}, ("args", 1), "a list", "[a, b]"),
    "member": ({"op": "in", "args": [prop("a"), [1, None]]}, ("args", 1, 1), "null", "isNull"),
    "old between": ({"op": "between", "args": [prop("a"), [1, 2]]}, ("args",), "3 arguments", "args"),
    "like a number": ({"op": "like", "args": [prop("a"), 3]}, ("args", 1), "wants a text", "S2A%"),
    "value first": ({"op": "isNull", "args": [3]}, ("args", 0), "begins with a value", "property"),
}


@pytest.mark.parametrize(("document", "path", "message", "remedy"), WRONG_JSON.values(), ids=WRONG_JSON)
def test_wrong_json_says_where_what_and_what_to_write(document: Any, path: tuple[str | int, ...], message: str, remedy: str) -> None:
    with pytest.raises(WrongFilter) as caught:
        parse_filter(document)
    assert caught.value.path == path
    assert message in caught.value.message
    assert remedy in caught.value.remedy


@given(filters(leaves=20))
def test_every_filter_survives_both_forms(filter: Filter) -> None:
    text, document = to_text(filter), to_json(filter)
    assert parse_filter(text) == filter == parse_filter(document)
    assert canonical_filter(text) == canonical_filter(json.loads(json.dumps(document)))


def read(value: Any) -> Filter | None:
    """The filter, or None where it is refused with a remedy."""
    try:
        return parse_filter(value)
    except SpecError as error:
        return None if error.remedy else pytest.fail("no remedy")


WORDS = "a b:c AND OR NOT IN LIKE BETWEEN IS NULL ( ) , = < >= 'x' '2024-06-01' 1 2.5 - TRUE CASEI DATE TIMESTAMP ' \" \\ %"


@settings(max_examples=300)
@given(st.lists(st.sampled_from(WORDS.split()), max_size=25).map(" ".join) | st.text(max_size=40))
def test_any_text_is_a_filter_or_a_spec_error(text: str) -> None:
    found = read(text)
    if found is None:
        return
    assert parse_filter(to_text(found)) == found


ATOMS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["and", "a"])
OPERATIONS = st.sampled_from(["and", "or", "not", "=", "<", "in", "like", "isNull", "between", "casei"])
DOCUMENTS = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["op", "args", "property", "timestamp", "date"]), inner, max_size=3)
        | st.fixed_dictionaries({"op": OPERATIONS, "args": st.lists(inner, max_size=3)})
        | st.fixed_dictionaries({"property": st.text(max_size=4)})
    ),
    max_leaves=15,
)


@settings(max_examples=300)
@given(DOCUMENTS)
def test_any_json_is_a_filter_or_a_spec_error(document: Any) -> None:
    found = read(document)
    if found is None:
        return
    assert parse_filter(to_json(found)) == found


@pytest.mark.parametrize(
    "text",
    [
        "(" * 9_999,
        "NOT " * 2_400 + "a = 1",
        " OR ".join(["a = 1"] * 1_400),
        "CASEI(" * 1_400,
        "a LIKE '" + "\\\\" * 4_900 + "'",
        "- " * 4_000,
        "'" * 9_999,
        '"' * 9_999,
        " " * 9_999,
        "a IN (" + ",".join(map(str, range(1_900))) + ")",
    ],
)  # fmt: skip
def test_a_hostile_text_is_read_or_refused_without_recursion(text: str) -> None:
    found = read(text)
    assert found is None or depth(found) <= MAX_DEPTH


def test_a_deep_document_is_refused_before_it_is_walked() -> None:
    document: dict[str, Any] = {"op": "=", "args": [prop("a"), 1]}
    for _ in range(100_000):
        document = {"op": "not", "args": [document]}
    with pytest.raises(WrongFilter, match="nests deeper than 32"):
        parse_filter(document)
    while isinstance(inner := document["args"][0], dict) and "op" in inner:
        document = inner  # taken apart from the outside: so deep a value is not to be freed at once


def test_and_and_or_inside_each_other_have_a_limit_too() -> None:
    text = "x = 0"
    for level in range(MAX_DEPTH):
        text = f"a{level} = 1 {'AND' if level % 2 else 'OR'} ({text})"
    with pytest.raises(WrongFilter, match="levels of AND and OR"):
        parse_filter(text)


@pytest.mark.parametrize("text", ["a = 1", "", "[]", "{", "[" * 100_000])
def test_what_is_no_canonical_text_is_a_spec_error(text: str) -> None:
    with pytest.raises(SpecError):
        filter_of(text)
