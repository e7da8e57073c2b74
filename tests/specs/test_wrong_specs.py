"""Every wrong spec is told with file, line, offending value and a remedy; nothing but `SpecError` comes out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from rasterloom.errors import Problem, SpecError
from rasterloom.specs.loader import load_specs

BASE = """version: 1
name: a
dataset: earthsearch/sentinel-2-l2a
bbox: [-122.5, 37.7, -122.3, 37.9]
"""
"""Four good lines; a case adds a fifth."""
OTHER = """version: 1
name: a
stac: {url: "https://stac.example.com/v1", collection: scenes}
"""
"""Three good lines but for the band map."""


@dataclass(frozen=True)
class Case:
    name: str
    text: str
    line: int
    path: str
    says: str
    """Part of the message: value and limit."""
    remedy: str


def on_base(name: str, added: str, path: str, says: str, remedy: str, line: int = 5) -> Case:
    return Case(name, BASE + added, line, path, says, remedy)


CASES = [
    # keys and types
    on_base("unknown key", "band: [B04]", "band", "the key band is not known", "write bands"),
    on_base("unknown nested key", "build: {retry: 3}", "build.retry", "the key retry is not known", "write retries"),
    on_base("key of a section", "max_concurrent: 3", "max_concurrent", "the key max_concurrent is not known", "write build.max_concurrent"),
    on_base(
        "key of a mask",
        "reads: {a: {kind: composite, mask: {band: SCL, bitz: [3]}}}",
        "reads.a.mask[0].bitz",
        "the key bitz is not known",
        "write bits",
    ),
    on_base(
        "one of two masks",
        "reads: {a: {kind: stack, mask: [{band: SCL, keep: [4]}, {band: B01}]}}",
        "reads.a.mask[1]",
        "none of values, bits, keep is given",
        "give exactly one",
    ),
    on_base(
        "a band that is not read",
        "bands: [B04, B08]\nreads: {a: {kind: stack, mask: {band: SCL, keep: [4]}}}",
        "reads.a.mask.band",
        "the band SCL is not in the band map (B04, B08)",
        "use some of B04, B08",
        line=6,
    ),
    on_base(
        "one place for two outputs",
        "reads: {a: {kind: stack, output: ./out}, b: {kind: stack, output: ./out/}}",
        "reads.b.output",
        "is the output of a too",
        "give every read its own place",
    ),
    on_base(
        "band maths",
        "reads: {a: {kind: composite, expressions: {ndvi: (B08 - B04}}}",
        "reads.a.expressions.ndvi",
        "column 11 (the end): wanted is )",
        "close it",
    ),
    on_base(
        "code as band maths",
        "reads: {a: {kind: composite, expressions: {n: abs(B04.real) ^ 2}}}",
        "reads.a.expressions.n",
        "column 15 (^): is no operator",
        "write a power as **",
    ),
    on_base("mixed period", "reads: {a: {kind: composite, period: P1M15D}}", "reads.a.period", "P1M15D is no period", "write e.g. P1M"),
    on_base("short period", "reads: {a: {kind: composite, period: 30s}}", "reads.a.period", "30s is no period", "PT6H"),
    on_base("key like no other", "zzz: 3", "zzz", "the key zzz is not known", "known are version, name"),
    on_base("text for a number", 'build: {retries: "5"}', "build.retries", "5 is text, wanted is a whole number", "without quotes"),
    on_base("fraction", "build: {retries: 2.5}", "build.retries", "2.5 is a number, wanted is a whole number", "without"),
    on_base("boolean for a number", "build: {retries: true}", "build.retries", "true is true or false", "write a number"),
    on_base("text for a boolean", "build: {force: yes}", "build.force", "yes is text, wanted is true or false", "write true or false"),
    on_base("capital boolean", "build: {force: True}", "build.force", "True is text", "write true or false"),
    on_base("above the limit", "build: {max_concurrent: 100000}", "build.max_concurrent", "100000 is above the limit 1000", "1000 or less"),
    Case(
        "coverage of nothing",
        OTHER + "bands: [a]\nchecks: [{coverage: {min: 0.9}}]",
        5,
        "checks[0].coverage",
        "none is given",
        "give bbox or intersects",
    ),
    on_base("below the limit", "build: {max_concurrent: 0}", "build.max_concurrent", "0 is below the limit 1", "1 or more"),
    on_base("share above 1", "build: {max_error_rate: 5}", "build.max_error_rate", "5 is above the limit 1", "1 or less"),
    on_base(
        "no such word", "build: {on_error: quarantin}", "build.on_error", "quarantin is none of 'quarantine' or 'fail'", "write quarantine"
    ),
    on_base("text for a mapping", "build: fast", "build", "fast is text, wanted is a mapping", "{key: value}"),
    on_base("text for a list", "bands: B04", "bands", "B04 is text, wanted is a list", "write [B04]"),
    on_base("empty list", "bands: []", "bands", "[] has 0 members, the least is 1", "leave the key out"),
    on_base("missing key", "dedupe: {order_by: [updated]}", "dedupe.key", "the key key is missing", "add key"),
    Case("version", BASE.replace("1\n", "2\n", 1), 1, "version", "2 is none of 1", "write 1"),
    Case("number as name", BASE.replace("name: a", "name: 2024"), 2, "name", "2024 is a number, wanted is text", 'quotes: "2024"'),
    # names
    Case("path as name", BASE.replace("name: a", "name: ../up/a"), 2, "name", "../up/a is not a name", "write up-a"),
    Case("capitals in a name", BASE.replace("name: a", "name: My Bay"), 2, "name", "My Bay is not a name", "write my-bay"),
    Case("long name", BASE.replace("name: a", f"name: {'a' * 64}"), 2, "name", "at most 63", "write aaa"),
    Case("no name", BASE.replace("name: a\n", ""), 1, "name", "the key name is missing", "add name"),
    # sources
    Case("no source", BASE.replace("dataset: earthsearch/sentinel-2-l2a\n", ""), 1, "", "no source is given", "dataset: earthsearch/"),
    on_base("two sources", "table: {uri: a.parquet}", "table", "dataset, table stand together", "keep dataset or table"),
    Case(
        "unknown dataset", BASE.replace("l2a", "l2b"), 3, "dataset", "earthsearch/sentinel-2-l2b is not", "write earthsearch/sentinel-2-l2a"
    ),
    Case("dataset without provider", BASE.replace("earthsearch/", ""), 3, "dataset", "sentinel-2-l2a is not", "/sentinel-2-l2a"),
    Case("scheme", OTHER.replace("https", "ftp") + "bands: [a]", 3, "stac.url", "has the scheme ftp", "https://"),
    Case("no scheme", OTHER.replace("https://", "") + "bands: [a]", 3, "stac.url", "has no scheme", "https://"),
    Case(
        "search endpoint",
        OTHER.replace("/v1", "/v1/search") + "bands: [a]",
        3,
        "stac.url",
        "is the search endpoint",
        "https://stac.example.com/v1",
    ),
    Case("no band map", OTHER, 3, "stac", "nothing says which assets are the bands", "band_map"),
    Case(
        "uri and object", "name: a\ntable: {uri: a.parquet, object: 'm:f'}", 2, "table", "uri, object stand together", "exactly one of uri"
    ),
    Case(
        "not importable",
        "name: a\ntable: {object: os.system}",
        2,
        "table.object",
        "os.system names no importable object",
        "pkg.module:callable",
    ),
    # area
    Case("inverted box", BASE.replace("37.7, -122.3, 37.9", "37.9, -122.3, 37.7"), 4, "bbox", "south (37.9) lies north", "[-122.5, 37.7,"),
    Case("no area", BASE.replace("37.9", "37.7"), 4, "bbox", "[-122.5, 37.7, -122.3, 37.7] has no area", "south from north"),
    Case(
        "latitude first",
        BASE.replace("[-122.5, 37.7, -122.3, 37.9]", "[37.7, -122.5, 37.9, -122.3]"),
        4,
        "bbox",
        "-122.5, outside",
        "longitude",
    ),
    Case("projected box", BASE.replace("-122.5", "545000"), 4, "bbox", "west is 545000, outside of -180..180", "degrees"),
    Case("three numbers", BASE.replace(", 37.9]", "]"), 4, "bbox", "has 3 numbers", "[west, south, east, north]"),
    Case("six numbers", BASE.replace("37.9]", "37.9, 0, 9]"), 4, "bbox", "has 6 numbers", "heights"),
    Case("text in a box", BASE.replace("37.9]", "north]"), 4, "bbox", "north is not a finite number", "degrees"),
    Case("infinite", BASE.replace("37.9]", ".inf]"), 4, "bbox[3]", ".inf is not a number", "smaller number"),
    Case("huge number", BASE.replace("37.9]", "1e999]"), 4, "bbox[3]", "1e999 is beyond", "smaller number"),
    Case("not a number", BASE.replace("37.9]", ".nan]"), 4, "bbox[3]", ".nan is not a number", "smaller number"),
    on_base("two areas", "intersects: {type: Point, coordinates: [1, 2]}", "intersects", "stand together", "remove one"),
    Case(
        "file that is not there", OTHER + "bands: [a]\nintersects: a.geojson", 5, "intersects", "there is no file a.geojson", "GeoJSON file"
    ),
    Case("number as a length of time", BASE + "build: {timeout: 30}", 5, "build.timeout", "30 is a number, wanted is a length", "30s"),
    Case("version as text", BASE.replace("version: 1", 'version: "1"'), 1, "version", '"1" is text', "without quotes"),
    Case("file elsewhere", OTHER + "bands: [a]\nintersects: ../../a.geojson", 5, "intersects", "leaves the directory", "beside the spec"),
    Case("absolute file", OTHER + "bands: [a]\nintersects: /etc/passwd", 5, "intersects", "leaves the directory", "beside the spec"),
    Case(
        "no geometry type",
        OTHER + "bands: [a]\nintersects: {type: Circle}",
        5,
        "intersects",
        "Circle is no GeoJSON geometry type",
        "Polygon",
    ),
    Case(
        "open ring",
        OTHER + "bands: [a]\nintersects: {type: Polygon, coordinates: [[[0, 0], [1, 0], [1, 1], [0, 1]]]}",
        5,
        "intersects",
        "a ring of 4 positions",
        "repeat the first",
    ),
    # dates
    on_base(
        "inverted dates",
        "dates: [2024-07-15, 2024-06-01]",
        "dates",
        "the start 2024-07-15 lies behind the end 2024-06-01",
        "earlier date first",
    ),
    on_base("impossible date", "dates: 2023-02-30", "dates", "2023-02-30 is not in the calendar", "correct"),
    on_base("one date", "dates: [2024-06-01]", "dates", "has 1 dates, wanted are 2", "[2024-06-01, 2024-07-15]"),
    on_base("three dates", "dates: 2024/2025/2026", "dates", "has 3 parts", "2024-06"),
    on_base("no zone", "dates: 2024-06-01T00:00:00", "dates", "not a date with a time zone", "2024-06-01T00:00:00Z"),
    on_base("words", "dates: [yesterday, today]", "dates", "yesterday is not a date", "2024-06"),
    on_base("null date", "dates: [2024-06-01, null]", "dates", "null is not a date", "an open end is `..`"),
    on_base("year", "dates: 20240", "dates", "20240 is not a date", "2024"),
    # bands
    on_base("band not in the map", "bands: [B04, B88]", "bands[1]", "the band B88 is not in the band map", "write B8A"),
    on_base("asset for a band", "bands: [red]", "bands[0]", "the band red is not in the band map", "write B04"),
    on_base("band twice", "bands: [B04, B04]", "bands[1]", "the band B04 stands twice", "keep one"),
    Case("odd band code", OTHER + "band_map: {a/b: x}", 4, "band_map.a/b", "a/b is not a band code", "B04"),
    Case("shared asset", OTHER + "band_map: {R: image, G: image}", 4, "band_map.R", "R, G has no index", "band_index_map: {R: 0, G: 1}"),
    Case(
        "shared sample",
        OTHER + "band_map: {R: image, G: image}\nband_index_map: {R: 0, G: 0}",
        5,
        "band_index_map.G",
        "both sample 0",
        "of its own",
    ),
    Case(
        "index of no band",
        OTHER + "band_map: {R: image}\nband_index_map: {Q: 0}",
        5,
        "band_index_map.Q",
        "the band Q is not",
        "use some of R",
    ),
    Case(
        "negative index",
        OTHER + "band_map: {R: image}\nband_index_map: {R: -1}",
        5,
        "band_index_map.R",
        "-1 is below the limit 0",
        "0 or more",
    ),
    # query and filter
    on_base("operator", 'query: {"eo:cloud_cover": {lessThan: 20}}', "query.eo:cloud_cover", "lessThan is not an operator", "write lt"),
    on_base("operator sign", 'query: {"eo:cloud_cover": {"<": 20}}', "query.eo:cloud_cover", "< is not an operator", "write lt"),
    on_base("no operator", 'query: {"eo:cloud_cover": 20}', "query.eo:cloud_cover", "20 is not a condition", "{eq: 20}"),
    on_base("operand of in", "query: {platform: {in: sentinel-2a}}", "query.platform", "in wants a list", "in: [a, b]"),
    on_base("operand of lt", "query: {a: {lt: [1]}}", "query.a", "lt wants a number or text, not [1]", "a number or text"),
    on_base("operand of contains", "query: {a: {contains: 1}}", "query.a", "contains wants text", "text"),
    on_base(
        "second property", "query:\n  a: {lt: 1}\n  b: {lt: true}", "query.b", "lt wants a number or text, not true", "a number", line=7
    ),
    on_base("text as query", "query: a < 1", "query", "a < 1 is text, wanted is a mapping", "{key: value}"),
    on_base("empty query", "query: {}", "query", "{} has 0 members", "leave the key out"),
    on_base("deep filter", f"filter: '{'(' * 40}a = 1{')' * 40}'", "filter", "deeper than 32 parentheses", "flatter"),
    on_base("filter of numbers", "filter: 3", "filter", "3 is not a filter", "CQL2-JSON"),
    on_base("empty filter", "filter: ' '", "filter", "is not a filter", "CQL2-JSON"),
    on_base("operator of a filter", "filter: 'a < 1 AND b == 2'", "filter", "character 13 (==): is no operator", "write ="),
    on_base(
        "place in a filter",
        "filter:\n  op: and\n  args:\n  - {op: '<', args: [{property: a}, 1]}\n  - {op: '=', args: [{property: b}, null]}",
        "filter.args[1].args[1]",
        "nothing is equal to null",
        "isNull",
        line=9,
    ),
    # durations, schedule
    on_base("long timeout", "build: {timeout: 2h}", "build.timeout", "2h is not in the limits", "30s"),
    on_base("no duration", "split: {time: month}", "split.time", "month is not a length of time", "P1M"),
    on_base("no time at all", "split: {time: P0D}", "split.time", "P0D is no time at all", "P1D"),
    on_base("two schedules", "schedule: {cron: '0 6 * * *', interval: P1D}", "schedule", "cron, interval stand together", "exactly one"),
    on_base("no schedule", "schedule: {timezone: UTC}", "schedule", "none of cron, interval, rrule is given", "exactly one"),
    on_base("cron fields", "schedule: {cron: '0 6 * *'}", "schedule.cron", "has 4 fields, cron has 5", "0 6 * * *"),
    on_base("cron range", "schedule: {cron: '0 25 * * *'}", "schedule.cron", "25 is not a hour (0 to 23)", "weekdays"),
    on_base("rrule", "schedule: {rrule: 'BYHOUR=6'}", "schedule.rrule", "BYHOUR=6 has no FREQ", "FREQ=DAILY"),
    on_base(
        "time zone",
        "schedule: {cron: '0 6 * * *', timezone: Europe/Berln}",
        "schedule.timezone",
        "Europe/Berln is not",
        "write Europe/Berlin",
    ),
    on_base("two checks in one", "checks: [{rows: {min: 1}, failed: {max: 0}}]", "checks[0]", "rows, failed stand together", "exactly one"),
    on_base("partition", "storage: {partition_by: [month]}", "storage", "partition_by [month] is none of", "[year, month]"),
    on_base("custom without object", "auth: {provider: custom}", "auth", "custom is not given", "pkg.module:factory"),
    # YAML
    on_base("duplicate key", "name: b", "name", "the key name stands twice: in line 2 and in line 5", "keep one"),
    on_base(
        "duplicate nested key", "build: {force: false, force: true}", "build.force", "stands twice: in line 5 and in line 5", "keep one"
    ),
    on_base("anchor", "build: &b {force: false}", "build", "the anchor &b is not allowed", "write the value out"),
    on_base("alias", "build: *b", "build", "aliases are not allowed", "write the value out"),
    on_base("merge key", "<<: {force: false}", "", "merge keys (<<) are not allowed", "write the keys out"),
    on_base("tag", "build: !!python/object/apply:os.system [ls]", "build", "the tag", "remove it"),
    on_base("tab", "build:\n\tforce: false", "", "a tab stands", "spaces", line=6),
    on_base("open list", "bands: [B04", "", "a flow list or mapping is not closed", "close it", line=5),
    on_base("open quote", "workspace: 'abc", "", "a quoted text is not closed", "close the quote", line=5),
    on_base("two colons", "workspace: a: b", "", "a second ': '", "quotes"),
    on_base("indentation", " build: {}", "", "not valid YAML", "", line=5),
    on_base("control character", "workspace: a\x07b", "", "U+0007", "remove it"),
    on_base("deep nesting", f"query: {'[' * 100_000}", "", "deeper than 32 levels", "flatter"),
    on_base("many values", f"bands: [{'a,' * 20_000}]", "", "more than 10000 values", "split"),
    on_base("list as key", "? [a]\n: b", "", "a list or mapping is used as a key", "text"),
    on_base("empty second document", "---\n", "", "the document is empty", "remove the `---`", line=6),
    on_base("second spec of the name", "---\nname: a\ndataset: pc/naip", "name", "stands in line 2 and in line 6", "its own name", line=6),
    Case("not a mapping", "- a\n- b\n", 1, "", 'holds ["a", "b"], not a mapping', "key: value"),
    Case("empty", "", 1, "", "holds no spec", "rasterloom init"),
    Case("comments alone", "# nothing\n", 1, "", "holds no spec", "rasterloom init"),
    # references
    Case(
        "reference in a url",
        OTHER.replace("stac.example", "${AWS_SECRET_ACCESS_KEY}") + "bands: [a]",
        3,
        "stac.url",
        "not read here",
        "stac.headers",
    ),
    on_base("reference in a query", 'query: {a: {eq: "${HOME}"}}', "query.a.eq", "not read here", "stand only in auth"),
    on_base("no reference", "workspace: ${a-b}", "workspace", "begins no reference", "${ENV_VARIABLE}"),
]
assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_is_told_with_line_value_and_remedy(case: Case, tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(case.text, encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_specs(file)
    problem = one_problem(caught.value)
    assert (problem.file, problem.line, problem.path) == (str(file), case.line, case.path)
    assert problem.column >= 1
    assert case.says in problem.message
    assert problem.remedy
    assert case.remedy in problem.remedy
    assert f"{file}:{case.line}:" in str(caught.value)
    assert "Traceback" not in str(caught.value)


def one_problem(error: SpecError) -> Problem:
    assert len(error.problems) == 1, str(error)
    return error.problems[0]
