"""Filters made at random, for tests of every room that reads or applies them."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import strategies as st

from rasterloom.specs.cql2 import Filter, IsNull, compared, every, like, literal, negated, one_of, some

NUMBERS = st.integers(-3, 3) | st.sampled_from([0.5, -1.5, 2.25])
TEXTS = st.sampled_from(["", "a", "A", "ab", "b%", "a_b", "it's", "Ä", "\\", "landsat-8"])
PATTERNS = st.lists(st.sampled_from(["a", "b", "A", "%", "_", r"\%", r"\_", r"\\", "'", "\n"]), max_size=5).map("".join)
INSTANTS = st.sampled_from([datetime(2024, 6, day, hour, tzinfo=UTC) for day in (1, 2) for hour in (0, 12)])
KINDS = {"n": NUMBERS, "m": NUMBERS, "t": TEXTS, "u:v": TEXTS, "seen": INSTANTS, "b": st.booleans()}
"""Property -> values that it is compared with."""


def leaf(name: str) -> st.SearchStrategy[Filter]:
    """A comparison of this property with values of its kind."""
    values = KINDS[name].map(literal) if name != "seen" else KINDS[name]
    signs = ["=", "<>"] if name == "b" else ["=", "<>", "<", "<=", ">", ">="]
    made = [
        st.builds(lambda op, value: compared(op, name, value), st.sampled_from(signs), values),
        st.builds(lambda members: one_of(name, members), st.lists(values, min_size=1, max_size=3)),
        st.just(IsNull(name)),
    ]
    if name in ("t", "u:v"):
        made.append(st.builds(lambda pattern: like(name, pattern), PATTERNS))
    return st.one_of(made)


def filters(*, names: tuple[str, ...] = tuple(KINDS), leaves: int = 8) -> st.SearchStrategy[Filter]:
    """Any filter over some of the properties."""
    return st.recursive(
        st.sampled_from(names).flatmap(leaf),
        lambda part: (
            st.lists(part, min_size=1, max_size=3).map(every) | st.lists(part, min_size=1, max_size=3).map(some) | part.map(negated)
        ),
        max_leaves=leaves,
    )
