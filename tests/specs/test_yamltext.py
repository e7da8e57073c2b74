"""YAML without surprises: what each scalar means, where each node stands, and what is refused before it can do harm."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rasterloom.errors import SpecError
from rasterloom.specs.loader import load_specs, parse_specs
from rasterloom.specs.yamltext import MAX_BYTES, MAX_DEPTH, documents, scalar

SCALARS: list[tuple[str, Any]] = [
    ("true", True), ("false", False), ("True", "True"), ("yes", "yes"), ("on", "on"), ("NO", "NO"), ("n", "n"), ("Off", "Off"),
    ("null", None), ("~", None), ("", None),
    ("1", 1), ("-7", -7), ("+7", 7), ("0", 0), ("012", "012"), ("0x1F", "0x1F"), ("0o14", "0o14"), ("1_000", "1_000"), ("1:30", "1:30"),
    ("1.5", 1.5), ("-.5", -0.5), ("5.", 5.0), ("1e-4", 1e-4), ("1e3", 1000.0), ("1E3", 1000.0), ("1.5e+3", 1500.0), ("012.5", "012.5"),
    (".", "."), ("..", ".."), ("-", "-"), ("e3", "e3"), ("1e", "1e"), ("1.2.3", "1.2.3"),
    ("2024-06-01", "2024-06-01"), ("2024-06", "2024-06"), ("2024-06-01T00:00:00Z", "2024-06-01T00:00:00Z"), ("2024", 2024),
    ("=", "="), ("B04", "B04"), ("1B", "1B"), ("٣", "٣"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), SCALARS, ids=[text or "nothing" for text, _ in SCALARS])
def test_a_plain_scalar_means(text: str, value: Any) -> None:
    found = scalar(text)
    assert (found, type(found)) == (value, type(value))


def test_quoted_text_is_text() -> None:
    (document,), found = documents("a: 'true'\nb: \"1\"\nc: |\n  2\n", file="f")
    assert (document.value, found) == ({"a": "true", "b": "1", "c": "2\n"}, [])


def test_keys_are_text() -> None:
    (document,), found = documents("{1: a, NO: b, 2024-06-01: c, 1e3: d, true: e, ~: f}", file="f")
    assert found == []
    assert document.value == {"1": "a", "NO": "b", "2024-06-01": "c", "1e3": "d", "true": "e", "~": "f"}


def test_every_node_has_its_position() -> None:
    (first, second), found = documents("a: 1\nb:\n  - x\n  - {c: y}\n---\nd: z\n", file="f")
    assert found == []
    where = {path: (mark.line, mark.column) for path, mark in first.values.items()}
    assert where == {("a",): (1, 4), ("b",): (3, 3), ("b", 0): (3, 5), ("b", 1): (4, 5), ("b", 1, "c"): (4, 9)}
    assert (first.keys[("b", 1, "c")].column, second.values[("d",)].line) == (6, 6)
    assert first.mark(("b", 1, "c", "deeper")) == first.mark(("b", 1, "c"))


def test_all_documents_and_all_their_problems_are_told_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        parse_specs("name: A\ndataset: pc/naip\n---\nname: b\nname: c\ndataset: pc/napi\nbbox: [1]\n", file="two.yaml")
    assert [(problem.line, problem.path) for problem in caught.value.problems] == [(1, "name"), (5, "name"), (6, "dataset"), (7, "bbox")]


def test_several_documents_are_several_specs() -> None:
    specs = parse_specs("name: a\ndataset: pc/naip\n---\nname: b\ndataset: pc/naip\n")
    assert [spec.name for spec in specs] == ["a", "b"]


ALIAS_BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGE_BOMB = "a: &a {k: v}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 9)}]}}\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


HOSTILE = {
    "alias": ALIAS_BOMB,
    "merge": MERGE_BOMB,
    "lists": "[" * 100_000,
    "mappings": "{a: " * 50_000,
    "dashes": "- " * 100_000,
    "questions": "? " * 100_000,
    "indents": "\n".join(" " * n + "a:" for n in range(600)),
    "digits": "a: " + "9" * 100_000,
    "quote": "'" + "x" * 200_000,
    "keys": "{" + ",".join(f"k{n}: 1" for n in range(9_000)) + "}",
    "bands": "bands: [" + ",".join("AB"[n % 2] * (n % 60 + 1) for n in range(9_000)) + "]\nname: a\ndataset: pc/naip",
    "shared": "band_map: {" + ",".join(f"b{n}: x" for n in range(4_900)) + "}\nname: a\nstac: {url: 'https://x.example', collection: c}",
    "urls": "name: '" + "a://" * 50_000 + "'",
    "filter": "filter: '" + "(" * 9_000 + "'",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_text_is_refused_soon(text: str) -> None:
    start = time.process_time()
    with pytest.raises(SpecError) as caught:
        parse_specs(text)
    assert len(caught.value.problems) <= 100
    assert len(str(caught.value)) < 100_000
    assert time.process_time() - start < 5


def test_size_is_bounded(tmp_path: Path) -> None:
    file = tmp_path / "large.yaml"
    file.write_text("#" * (MAX_BYTES + 1))
    with pytest.raises(SpecError, match=f"{MAX_BYTES + 1} bytes, the limit is {MAX_BYTES}"):
        load_specs(file)


@pytest.mark.parametrize("depth", [MAX_DEPTH, MAX_DEPTH + 1])
def test_depth_is_bounded(depth: int) -> None:
    _, found = documents("[" * depth + "]" * depth, file="f")
    assert bool(found) == (depth > MAX_DEPTH)


def test_a_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    file = tmp_path / "bom.yaml"
    file.write_bytes(b"\xef\xbb\xbfname: a\ndataset: pc/naip\n")
    assert load_specs(file)[0].name == "a"


@pytest.mark.parametrize(
    ("data", "line", "says"),
    [
        ("name: a\nbands: [é]".encode("latin-1"), 2, "byte 0xe9 is not UTF-8"),
        ("name: a".encode("utf-16"), 1, "UTF-16"),
        (b"name: a\n\x00", 2, "U+0000"),
    ],
)
def test_other_encodings_are_told(data: bytes, line: int, says: str, tmp_path: Path) -> None:
    file = tmp_path / "odd.yaml"
    file.write_bytes(data)
    with pytest.raises(SpecError) as caught:
        load_specs(file)
    (problem,) = caught.value.problems
    assert (problem.line, says in problem.message) == (line, True)


def test_a_missing_file_is_told_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "sf-bay.yaml").write_text("name: a")
    with pytest.raises(SpecError, match=r"did you mean .*sf-bay\.yaml"):
        load_specs(tmp_path / "sf_bay.yaml")
    with pytest.raises(SpecError, match="cannot be read"):
        load_specs(tmp_path)


@given(st.text(max_size=200) | st.text(alphabet="{}[]:,-?&*!|>'\"%@`#\n\t ab1.<", max_size=80))
def test_any_text_gives_specs_or_a_spec_error(text: str) -> None:
    try:
        found = len(parse_specs(text))
    except SpecError as error:
        found = len(error.problems)
    assert found > 0
