"""What a STAC API is asked for of a filter: as much as it can, never more than it may be trusted with, and the answer is the same."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rasterloom.access.items.filters import judgement, matches
from rasterloom.access.items.pages import Page
from rasterloom.access.items.pushdown import ABLE, LONGEST_TEXT, Skills, expected, shared_out, skills_of
from rasterloom.access.items.queries import matches as queried
from rasterloom.access.items.scene import answers, scene_of
from rasterloom.access.sources import stac
from rasterloom.errors import SpecError, Unavailable
from rasterloom.specs.cql2 import Filter, to_json
from rasterloom.specs.cql2tokens import to_text
from rasterloom.specs.effort import Effort
from rasterloom.specs.filters import canonical_filter, parse_filter
from rasterloom.specs.identity import canonical_json
from rasterloom.specs.loader import spec_from
from rasterloom.specs.question import Question
from rasterloom.specs.resolve import effort, resolve
from tests.access.questions import item, question, shard
from tests.filters import filters
from tests.filterserver import ADVANCED, CLASSES, FilterServer
from tests.servers import Response, Status

QUICK = Effort(retries=0, timeout=60)
TEXT = "eo:cloud_cover < 20 AND (platform = 'a' OR platform IS NULL) AND year = 2024 AND name LIKE 'S2%'"
PUSHED = parse_filter("eo:cloud_cover < 20 AND (platform = 'a' OR platform IS NULL)")


def asked(text: str, query: dict[str, Any] | None = None, url: str = "https://api.example.org/v1") -> Question:
    return replace(question(url, query=None if query is None else canonical_json(query)), filter=canonical_filter(text))


ITEMS = [
    item(name, properties={"datetime": f"2024-06-0{at + 1}T10:00:00Z", **properties})
    for at, (name, properties) in enumerate(
        {
            "clear": {"eo:cloud_cover": 1.5, "platform": "a", "name": "S2A"},
            "unknown": {"eo:cloud_cover": 2, "name": "S2B"},
            "cloudy": {"eo:cloud_cover": 50, "platform": "a", "name": "S2A"},
            "other": {"eo:cloud_cover": 3, "platform": "b", "name": "S2A"},
            "named": {"eo:cloud_cover": 3, "platform": "a", "name": "L8"},
            "empty": {"platform": "a", "name": "S2A"},
        }.items()
    )
]


def found(pages: Sequence[Page], whole: Question) -> tuple[set[str], set[str]]:
    """Ids that came, and those of them that answer."""
    items = [one for page in pages for one in page.items]
    scenes = [(scene_of(one, whole)[0], one) for one in items]
    return {one["id"] for one in items}, {one["id"] for scene, one in scenes if scene is not None and answers(scene, one, whole)}


def search(whole: Question, effort: Effort = QUICK) -> tuple[set[str], set[str]]:
    return found(list(stac.search(whole, shard(), effort=effort, secrets=lambda _: "")), whole)


# --- what is said to whom ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "filter", "local"),
    [
        (TEXT, to_text(PUSHED), ["name LIKE 'S2%'", "year = 2024"]),
        ("a < 'b'", None, ["a < 'b'"]),
        ("a = 'b' OR a < 'b'", None, ["a < 'b' OR a = 'b'"]),
        ("a IN (1, 2)", "a = 1 OR a = 2", []),
        ("a NOT IN ('x', 'y')", "a <> 'x' AND a <> 'y'", []),
        (f"a IN ({', '.join(map(str, range(101)))})", None, [f"a IN ({', '.join(map(str, range(101)))})"]),
        (
            "datetime > '2024-06-01' AND made > '2024-06-01'",
            "datetime > '2024-06-01' OR datetime IS NULL",
            ["made > TIMESTAMP('2024-06-01T00:00:00Z')"],
        ),
        ("CASEI(a) = CASEI('x')", None, ["CASEI(a) = CASEI('x')"]),
        ("a = 9007199254740993", None, ["a = 9007199254740993"]),
        ("a = TRUE AND a IS NOT NULL", "a IS NOT NULL AND a = TRUE", []),
        ("datetime IS NULL", None, ["datetime IS NULL"]),
    ],
)  # fmt: skip
def test_a_server_of_basic_cql2_is_asked_for_what_all_understand_alike(text: str, filter: str | None, local: list[str]) -> None:
    skills = skills_of(CLASSES, ignores_filter=False, query_knows=None)
    said = shared_out(asked(text), skills, "POST").to_json()
    assert said == {"filter": None if filter is None else to_text(parse_filter(filter)), "query": None, "local": local}


def test_like_and_in_are_asked_for_where_the_server_says_it_has_them() -> None:
    skills = skills_of([*CLASSES, ADVANCED], ignores_filter=False, query_knows=None)
    text = "a IN (1, 2) AND b LIKE 'x%'"
    assert shared_out(asked(text), skills, "POST").to_json() == {"filter": text, "query": None, "local": []}


@pytest.mark.parametrize(
    ("text", "query", "said", "local"),
    [
        ("a < 20 AND a >= 5 AND b = 'x'", None, {"a": {"lt": 20, "gte": 5}, "b": {"eq": "x"}}, 0),
        ("a < 20 OR b = 'x'", None, None, 1),
        ("a IN (1, 2) AND b <> 3", None, {"a": {"in": [1, 2]}, "b": {"neq": 3}}, 0),
        ("a < 20 AND a < 30", None, {"a": {"lt": 20}}, 1),
        ("a < 20", {"a": {"lt": 50}, "c": {"contains": "x"}}, {"a": {"lt": 50}, "c": {"contains": "x"}}, 1),
        ("a < 20", {"a": {"gt": 5}}, {"a": {"lt": 20, "gt": 5}}, 0),
        ("year = 2024 AND datetime > '2024-06-01' AND id = 'x' AND a LIKE 'x' AND a IS NULL", None, None, 5),
    ],
)
def test_a_server_without_filters_is_asked_with_query(text: str, query: Any, said: Any, local: int) -> None:
    whole = asked(text, query)
    shared = shared_out(whole, Skills(languages=frozenset(), advanced=False, query=True), "POST")
    assert shared.filter is None
    assert shared.query == said
    assert len(shared.local) == local


def test_a_provider_whose_query_knows_one_property_is_asked_for_no_other() -> None:
    skills = Skills(languages=frozenset(), advanced=False, query=True, known=("eo:cloud_cover",))
    said = shared_out(asked("eo:cloud_cover < 20 AND platform = 'a'"), skills, "POST")
    assert said.query == {"eo:cloud_cover": {"lt": 20}}
    assert [to_text(part) for part in said.local] == ["platform = 'a'"]


@pytest.mark.parametrize(
    "query", [{"a": {"contains": "x"}}, {"a": {"in": ["x"]}}, {"a": {"neq": True}}, {"made": {"gt": "2024-06-01"}}, {"a": {"lt": "b"}}]
)
def test_a_query_that_no_filter_can_say_is_sent_as_it_is(query: dict[str, Any]) -> None:
    said = shared_out(asked("b < 3", query), ABLE, "POST")
    assert said.filter is None
    assert said.query == {**query, "b": {"lt": 3}}


def test_a_long_filter_is_not_put_into_a_url() -> None:
    text = f"a = '{'x' * LONGEST_TEXT}' AND b < 3"
    assert shared_out(asked(text), ABLE, "POST").filter is not None
    assert shared_out(asked(text), ABLE, "GET").filter is None


@pytest.mark.parametrize(
    ("classes", "languages"),
    [
        (CLASSES, {"cql2-json", "cql2-text"}),
        (["https://api.stacspec.org/v1.0.0/item-search#filter", "http://www.opengis.net/spec/cql2/1.1/conf/cql2-text"], {"cql2-text"}),
        (CLASSES[1:], set()),
        (["https://api.stacspec.org/v1.0.0-rc.1/collection-search#filter", *CLASSES[1:]], set()),
        ([], set()),
    ],
)
def test_conformance_classes_are_told_by_their_ends(classes: Sequence[str], languages: set[str]) -> None:
    assert skills_of(classes, ignores_filter=False, query_knows=None).languages == languages
    assert skills_of(classes, ignores_filter=True, query_knows=None).languages == set()


@pytest.mark.shared
def test_recorded_landing_pages_say_what_their_providers_can(shared: Path) -> None:
    found: dict[str, set[frozenset[str]]] = {}
    for path in sorted((shared / "data" / "stac" / "exchanges").glob("*.json")):
        for exchange in json.loads(path.read_text("utf-8"))["exchanges"]:
            body = exchange["response"]["body"]
            if isinstance(body, dict) and "conformsTo" in body and body.get("type") == "Catalog":
                skills = skills_of(body["conformsTo"], ignores_filter=False, query_knows=None)
                assert (skills.query, skills.advanced) == (True, False)
                found.setdefault(exchange["request"]["uri"].split("/")[2], set()).add(skills.languages)
    assert found == {
        "planetarycomputer.microsoft.com": {frozenset({"cql2-json", "cql2-text"})},
        "earth-search.aws.element84.com": {frozenset()},
    }


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        ("pc/sentinel-2-l2a", {"filter": "eo:cloud_cover < 20 AND platform = 'a'", "query": None, "local": []}),
        (
            "earthsearch/sentinel-2-l2a",
            {"filter": None, "query": {"eo:cloud_cover": {"lt": 20}, "platform": {"eq": "a"}}, "local": []},
        ),
        ("cmr/hls-l30", {"filter": None, "query": {"eo:cloud_cover": {"lt": 20}}, "local": ["platform = 'a'"]}),
    ],
)
def test_what_is_known_of_a_provider_is_heeded_before_it_is_asked(dataset: str, said: Mapping[str, Any]) -> None:
    spec = spec_from({"name": "a", "dataset": dataset, "dates": "2024", "filter": "eo:cloud_cover < 20 AND platform = 'a'"})
    assert expected(resolve(spec), effort(spec)).to_json() == said


QUERIES = st.none() | st.dictionaries(
    st.sampled_from(["n", "m", "t"]),
    st.dictionaries(st.sampled_from(["eq", "neq", "lt", "gte"]), st.sampled_from([0, 1.5, True]), min_size=1, max_size=2),
    min_size=1,
    max_size=2,
)
SKILLS = st.builds(
    Skills,
    languages=st.sampled_from([frozenset[str](), ABLE.languages]),
    advanced=st.booleans(),
    query=st.booleans(),
    known=st.sampled_from([None, ("n",)]),
)
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "n": st.none() | st.integers(-3, 3),
        "m": st.sampled_from([0, 0.5, 1.5, -1.5, "a", True]),
        "t": st.sampled_from(["a", "A", "ab", "it's", 3]),
        "u:v": st.sampled_from(["a", "landsat-8"]),
        "b": st.booleans(),
    },
)


@example(parse_filter("n = 0"), {"n": {"neq": True}}, ABLE, {"n": 0})
@given(filters(), QUERIES.filter(lambda query: query is None or all(_is_sound(rules) for rules in query.values())), SKILLS, PROPERTIES)
def test_what_answers_is_never_kept_back(filter: Filter, query: Any, skills: Skills, properties: Mapping[str, Any]) -> None:
    whole = replace(asked("a = 1", query), filter=canonical_json(to_json(filter)))
    one = item(properties={"datetime": "2024-06-01T00:00:00Z", **properties})
    for method in ("POST", "GET"):
        said = shared_out(whole, skills, method)
        if matches(whole.filter, one) and queried(whole.query, one):
            assert said.filter is None or judgement(said.filter)(one) is True
            assert said.query is None or queried(json.dumps(said.query), one)


def _is_sound(rules: Mapping[str, Any]) -> bool:
    return not any(isinstance(value, bool) and operator in ("lt", "gte") for operator, value in rules.items())


# --- servers ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_server_with_filters_sends_little_and_the_answer_is_exact(method: str) -> None:
    with FilterServer(ITEMS) as server:
        server.methods = (method,)
        came, answering = search(asked(TEXT, url=server.url))
        assert server.filters == [to_json(PUSHED) if method == "POST" else to_text(PUSHED)]
    assert came == {"clear", "unknown", "named"}
    assert answering == {"clear", "unknown"}


def test_a_span_without_an_instant_is_not_lost_where_the_server_finds_its_instant_unknown() -> None:
    span = {"datetime": None, "start_datetime": "2024-06-02T00:00:00Z", "end_datetime": "2024-06-04T00:00:00Z"}
    with FilterServer([*ITEMS, item("span", properties=span)]) as server:
        _, answering = search(asked("datetime IN ('2024-06-02', '2024-06-02T10:00:00Z')", url=server.url))
        assert all(server.filters)
    assert answering == {"span", "unknown"}


def test_a_server_that_learns_late_that_it_takes_get_alone_is_asked_in_text() -> None:
    with FilterServer(ITEMS) as server:
        server.methods, server.link_methods = ("GET",), False
        _, answering = search(asked(TEXT, url=server.url))
        assert [one.method for one in server.searches] == ["POST", "GET"]
        assert server.filters == [to_json(PUSHED), to_text(PUSHED)]
    assert answering == {"clear", "unknown"}


@pytest.mark.parametrize("change", ["ignores", "no class", "known to ignore"])
def test_the_answer_is_the_same_without_the_servers_help(change: str) -> None:
    with FilterServer(ITEMS, classes=() if change == "no class" else CLASSES) as server:
        server.ignore_filter, server.query_class = change == "ignores", False
        came, answering = search(asked(TEXT, url=server.url), Effort(retries=0, ignores_filter=change == "known to ignore"))
        assert len(server.searches) == 1
        assert (server.filters == [None]) is (change != "ignores")
    assert came == {one["id"] for one in ITEMS}
    assert answering == {"clear", "unknown"}


def test_filter_and_query_are_never_asked_together() -> None:
    with FilterServer(ITEMS) as server:
        came, _ = search(asked("platform = 'a'", {"eo:cloud_cover": {"lt": 20}}, url=server.url))
        assert server.filters == [to_json(parse_filter("platform = 'a' AND eo:cloud_cover < 20"))]
    assert came == {"clear", "named"}


@pytest.mark.parametrize("status", [400, 422, 500])
def test_a_server_that_refuses_the_filter_is_asked_without_it(status: int, caplog: pytest.LogCaptureFixture) -> None:
    with FilterServer(ITEMS) as server:
        server.refusal = Response(status, b'{"description": "no such queryable: platform"}', {"Content-Type": "application/json"})
        pages = list(stac.search(asked(TEXT, {"eo:cloud_cover": {"lt": 20}}, url=server.url), shard(), effort=QUICK, secrets=lambda _: ""))
        assert [bool(filter) for filter in server.filters] == [True, False]
        assert server.searches[1].json["query"] == {"eo:cloud_cover": {"lt": 20}}
    assert found(pages, asked(TEXT))[1] == {"clear", "unknown"}
    assert pages[0].requests == 3
    assert "no such queryable: platform" in caplog.text


def test_every_page_behind_the_first_is_asked_with_the_filter_too() -> None:
    many = [item(f"i{number:03}", properties={"datetime": "2024-06-01T00:00:00Z", "a": number % 2}) for number in range(40)]
    with FilterServer(many) as server:
        server.merge = True
        came, _ = search(asked("a = 1", url=server.url), Effort(page_size=5, retries=0))
        assert len(server.searches) == 4
        assert all(server.filters)
    assert len(came) == 20


def test_another_fault_of_the_request_shows_itself() -> None:
    with FilterServer(ITEMS) as server:
        server.faults["/search"] = Status(400, body=b'{"description": "no such collection"}')
        with pytest.raises(SpecError, match="no such collection"):
            search(asked(TEXT, url=server.url))
        assert [bool(filter) for filter in server.filters] == [True, False]


@pytest.mark.parametrize(("status", "error"), [(404, SpecError), (503, Unavailable)])
def test_a_server_that_is_not_there_is_not_asked_again(status: int, error: type[Exception]) -> None:
    with FilterServer(ITEMS) as server:
        server.faults["/search"] = Status(status)
        with pytest.raises(error):
            search(asked(TEXT, url=server.url))
        assert len(server.searches) == 1
