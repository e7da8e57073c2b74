"""The report as Markdown for Prefect's pages: the same words, tables and drawings, shorter."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Sequence

from rasterloom.access.reports.drawing import Drawing
from rasterloom.access.reports.mapdrawing import draw_map
from rasterloom.access.reports.page import WORDS, is_web
from rasterloom.access.reports.timedrawing import draw_timeline
from rasterloom.access.reports.values import Changes, Failed, Failures, Report

MOST_FAILURES = 20
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~$&])")


def markdown(report: Report) -> str:
    """GitHub-flavoured; foreign text is escaped, so that it is neither markup nor HTML."""
    return "\n\n".join(_parts(report))


def headline(report: Report) -> str:
    """The report in one line of plain text, e.g. `refreshed: snapshot 3, scenes 412, failed 0, warn`."""
    word = WORDS.get(report.decision.action, report.decision.action) if report.decision else report.name
    counts = [f"{each.label} {each.text}" for each in report.figures if each.label in ("scenes", "failed")]
    state = [report.freshness.state] if report.freshness else []
    return f"{word}: {', '.join([f'snapshot {report.snapshot}', *counts, *state])}"


def _parts(report: Report) -> Iterator[str]:
    yield f"# {escaped(report.name)}{f', snapshot {report.snapshot}' if report.snapshot else ''}"
    if report.decision:
        yield f"**{WORDS.get(report.decision.action, report.decision.action)}**: {escaped(report.decision.reason)}"
    if report.freshness:
        yield f"**{report.freshness.state}**: {escaped(report.freshness.message)}"
    yield _table(("", "", ""), [(each.label, each.text, each.note) for each in report.figures])
    scenes = report.scenes
    if scenes and scenes.map:
        yield f"## Where\n\n{_image(draw_map(scenes.map, scenes.rows))}"
    if scenes and scenes.timeline:
        yield f"## When\n\n{_image(draw_timeline(scenes.timeline))}"
    if report.changes:
        yield from _changed(report.changes)
    if report.failures:
        yield from _failed(report.name, report.failures)
    yield "## The collection"
    yield _table(("", ""), [(each.label, each.text) for each in report.asked])
    yield f"Files: {_code(report.uri)}"


def _changed(changes: Changes) -> Iterator[str]:
    yield f"## Since snapshot {changes.since}"
    yield _table(("", f"snapshot {changes.since}", "this one"), [(each.label, each.before, each.now) for each in changes.counts])
    items = ", ".join(f"{each.text} {each.label}" for each in changes.items)
    yield f"Items: {items}." if items else "No item is new, changed or gone."
    lines = [f"- {escaped(line)}" for line in (*changes.question, *changes.drift)]
    if lines:
        yield "\n".join(lines)


def _failed(name: str, failures: Failures) -> Iterator[str]:
    yield "## What failed"
    yield _table(("reason", "how many"), [(reason, f"{count:,}") for reason, count in failures.by_reason])
    shown = failures.shown[:MOST_FAILURES]
    rows = [[*map(escaped, (each.item, each.band, each.reason, each.message[:120])), _file(each)] for each in shown]
    if rows:
        yield _raw_table(("item", "band", "reason", "message", "file"), rows)
    yield f"{len(shown):,} of {failures.total:,}; all of them: {_code(f'rasterloom failures {name}')}"


def _file(failed: Failed) -> str:
    words = escaped(failed.href.rpartition("/")[2].partition("?")[0] or failed.href)
    if not is_web(failed.href):
        return _code(failed.href) if failed.href else ""
    href = failed.href.translate({ord(each): f"%{ord(each):02X}" for each in ' <>()|\\`"\n\r\t'})
    return f"[{words}](<{href}>)"


def _image(drawing: Drawing) -> str:
    data = base64.b64encode(drawing.alone().encode()).decode()
    return f"![{escaped(drawing.alt)}](data:image/svg+xml;base64,{data})"


def escaped(text: str) -> str:
    """One line of plain words."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    plain = " ".join(text.split()).replace("`", "'")
    return f"`{plain}`"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return _raw_table(head, ([escaped(cell) for cell in row] for row in rows))


def _raw_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
