"""Band maths: what a text means, where a mistake stands, and no text that hurts."""

from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rasterloom.errors import SpecError
from rasterloom.specs.expressions import MAX_DEPTH, MAX_LENGTH, Node, parse_expression

BANDS = ("B04", "B08", "SCL", "8A", "red-edge", "vh.db")


def spelled(node: Node) -> str:
    """With every parenthesis, which is how precedence shows."""
    if node[0] in ("band", "number"):
        return f"{node[1]:g}" if node[0] == "number" else node[1]
    return f"({node[0]} {' '.join(map(spelled, node[1:]))})"


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("(B08 - B04) / (B08 + B04)", "(/ (- B08 B04) (+ B08 B04))"),
        ("B04 - B08 - 1", "(- (- B04 B08) 1)"),
        ("1 + B04 * 2 ** -B08", "(+ 1 (* B04 (** 2 (neg B08))))"),
        ("-B04 ** 2 ** 3", "(neg (** B04 (** 2 3)))"),
        ("+B04/2/4", "(/ (/ B04 2) 4)"),
        ("B04 > 1 & B08 < 2 | ~(SCL == 3)", "(| (& (> B04 1) (< B08 2)) (~ (== SCL 3)))"),
        (
            "where((SCL != 4) & (B04 >= .5e1), min(B04, B08, 1.), clip(abs(B08), 0, 1))",
            "(where (& (!= SCL 4) (>= B04 5)) (min B04 B08 1) (clip (abs B08) 0 1))",
        ),
        ("(B04 > 1) * B08", "(* (> B04 1) B08)"),
        ('"red-edge" - "8A" + vh.db', "(+ (- red-edge 8A) vh.db)"),
        ("10*log10(B04)\n + log(exp(sqrt(B08)))", "(+ (* 10 (log10 B04)) (log (exp (sqrt B08))))"),
    ],
)
def test_a_text_is_read_with_the_precedence_that_everybody_knows(text: str, tree: str) -> None:
    found = parse_expression(text, BANDS)
    assert spelled(found.root) == tree
    assert json.loads(json.dumps(found.root)) == json.loads(json.dumps(parse_expression(text).root))


def test_an_expression_says_which_bands_it_needs_and_whether_it_is_a_mask() -> None:
    assert parse_expression("B08 + B04 * B08").bands == ("B08", "B04")
    masks = ("B04 > 1", "~(B04 == 1)", "(B04 > 1) | (B08 > 1)", "where(B04 > 1, B04 > 2, B08 > 2)")
    assert all(parse_expression(text).is_mask for text in masks)
    assert not any(parse_expression(text).is_mask for text in ("B04", "(B04 > 1) + 0", "where(B04 > 1, 1, 0)", "-(B04 > 1)"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("B8 - B04", "column 1 (B8): is no band\n  remedy: write B08"),
        ("B04 + nir", "column 7 (nir): is no band"),
        ("red-edge + 1", 'column 1 (red): is no band\n  remedy: a name with signs in it stands in double quotes: "red-edge"'),
        ("8A + 1", "column 1 (8): begins no number\n  remedy: write a number, or a band in double quotes"),
        ("B04 >", "column 6 (the end): wanted is a number, a band, a function or ("),
        ("(B04", "column 5 (the end): wanted is ) for the parenthesis of column 1"),
        ("B04)", "column 4 ()): closes a parenthesis that nothing opened"),
        ("B04 B08", "column 5 (B08): the expression could end here"),
        ("B04 & B08", "column 5 (&): wants masks, and a band is a number"),
        ("~SCL", "column 1 (~): wants masks"),
        ("1 < B04 < 2", "column 9 (<): compares what is a comparison already"),
        ("B04 and B08", "column 5 (and): is no operator\n  remedy: write &"),
        ("B04 ^ 2", "column 5 (^): is no operator\n  remedy: write a power as **"),
        ("B04 = 2", "column 5 (=): is no operator\n  remedy: compare with =="),
        ("sqr(B04)", "column 1 (sqr): is no function that is known\n  remedy: write sqrt"),
        ("ndvi(B04)", "there are abs, sqrt, log"),
        ("min(B04)", "column 1 (min): has 1 arguments, wanted are 2 to 8\n  remedy: write e.g. min(B04, B08)"),
        ("clip(B04, 1)", "has 2 arguments, wanted are 3\n  remedy: write e.g. clip(B04, 0, 10000)"),
        ("where(B04, 1, 2)", "the first argument is no mask\n  remedy: write e.g. where(B04 > 100, B08, 0)"),
        ("sqrt + B04", "column 1 (sqrt): is a function without its arguments"),
        ("1 + 2", "the expression 1 + 2 names no band"),
        ("1e999 * B04", "column 1 (1e999): is larger than any float64"),
        ('"B04', 'column 1 ("): the name that begins here has no end'),
        ("__import__('os').system('x')", "column 12 ('): a text has no place here"),
        ("B04.__class__", "column 1 (B04.__class__): is no band"),
        ("B04[0]", "column 4 ([): is no operator"),
        ("", "column 1 (the end)"),
        ("-" * 99 + "B04", f"column {MAX_DEPTH + 1} (-): nests deeper than {MAX_DEPTH}"),
        ("(" * 99 + "B04", f"nests deeper than {MAX_DEPTH}"),
        ("B04" + " ** B04" * 99, f"nests deeper than {MAX_DEPTH}"),
        ("B04" + "+B04" * 120, "more than 200 operations, numbers and bands"),
        ("B04" + " " * MAX_LENGTH, "has 1003 characters, the most are 1000"),
    ],
)
def test_a_mistake_is_told_with_its_column_and_what_to_write(text: str, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_expression(text, BANDS)
    assert says in str(caught.value)
    assert caught.value.remedy


WORDS = st.sampled_from(
    ["B04", "B08", "(", ")", "+", "-", "*", "/", "**", "~", "&", "|", "<", "==", ",", "where", "min(", "abs(", "1", "2.5", '"8A"', " "]
)


@given(st.text(max_size=60) | st.lists(WORDS, max_size=300).map("".join))
def test_no_text_gives_anything_but_a_tree_or_a_spec_error(text: str) -> None:
    try:
        found = parse_expression(text, BANDS)
    except SpecError:
        return
    assert set(found.bands) <= set(BANDS)
    assert parse_expression(text).root == found.root


def test_the_deepest_tree_needs_little_of_the_stack() -> None:
    deepest = "B04" + "+B04" * 99
    nested = "(" * (MAX_DEPTH - 1) + "B04" + ")" * (MAX_DEPTH - 1)
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len_of_stack() + 250)
    try:
        assert len(parse_expression(deepest).bands) == len(parse_expression(nested).bands) == 1
    finally:
        sys.setrecursionlimit(before)


def len_of_stack() -> int:
    frame, count = sys._getframe(), 0
    while frame is not None:
        frame, count = frame.f_back, count + 1
    return count
