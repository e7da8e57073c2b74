from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rasterloom.errors import SpecError
from rasterloom.specs.references import Reference, references, substitute


def test_the_three_forms() -> None:
    assert references("a ${TOKEN} b ${TOKEN:-x y} c ${secret.my-block}") == (
        Reference(kind="environment", name="TOKEN"),
        Reference(kind="environment", name="TOKEN", default="x y"),
        Reference(kind="block", name="my-block"),
    )


def test_text_without_references_is_left_alone() -> None:
    assert substitute("$HOME and $(x) and {y} cost 5$", lambda _: "no") == "$HOME and $(x) and {y} cost 5$"


@pytest.mark.parametrize("text", ["${", "${}", "${a-b}", "${1A}", "${secret.}", "${secret.A_B}", "${A:-${B}}", "${A", "${A B}", "${A:?x}"])
def test_a_broken_reference_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match=r"\$\{ENV_VARIABLE\}"):
        references(text)


NAMES = st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True)
FORMS = (
    st.builds(Reference, kind=st.just("environment"), name=NAMES, default=st.none() | st.text("abc :-$", max_size=5))
    | st.builds(Reference, kind=st.just("block"), name=st.from_regex(r"[a-z0-9][a-z0-9-]{0,8}", fullmatch=True))
)  # fmt: skip


@given(st.lists(FORMS | st.text("abc }:-", max_size=5)))
def test_what_a_lookup_gives_stands_in_place_and_is_not_read_again(parts: list[Reference | str]) -> None:
    text = "".join(map(str, parts))
    assert references(text) == tuple(part for part in parts if isinstance(part, Reference))
    expected = "".join(part if isinstance(part, str) else "${X}" for part in parts)
    assert substitute(text, lambda _: "${X}") == expected
