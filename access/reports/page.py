"""The report as one HTML file: nothing is loaded from anywhere, no script runs, and whatever a catalog may have written is text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from urllib.parse import urlsplit

from rasterloom.access.reports.mapdrawing import draw_map
from rasterloom.access.reports.style import STYLE
from rasterloom.access.reports.timedrawing import day, draw_timeline
from rasterloom.access.reports.values import Changes, Decision, Failed, Failures, Figure, Report, Timeline
from rasterloom.specs.freshness import Freshness, told

WORDS = {
    "build": "built",
    "reuse": "unchanged",
    "refresh": "refreshed",
    "extend": "extended",
    "derive": "derived",
    "rebuild": "rebuilt",
    "rollback": "brought back",
}
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src 'none'; base-uri 'none'; form-action 'none'"
"""For the browser: even if something foreign got through as markup, it could load and run nothing."""


def page(report: Report) -> str:
    """The whole document."""
    title = f"{report.name}, snapshot {report.snapshot}" if report.snapshot else report.name
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="referrer" content="no-referrer">',
            f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>",
            '<a class="skip" href="#content">Skip to the content</a>',
            _head(report),
            f'<main id="content">\n{chr(10).join(_sections(report))}\n</main>',
            _foot(report),
            "</body>\n</html>\n",
        ]
    )


def _head(report: Report) -> str:
    over = f"Snapshot {report.snapshot}" if report.snapshot else "Collection"
    made = f", {told(report.decision.ended)}" if report.decision else ""
    lines = [f'<header>\n<p class="over">{over}{made}</p>\n<h1>{escape(report.name)}</h1>']
    if report.decision:
        lines.append(_decided(report.decision))
    if report.freshness:
        lines.append(_fresh(report.freshness))
    lines.append(f'<dl class="tiles">{"".join(map(_tile, report.figures))}</dl>\n</header>')
    return "\n".join(lines)


def _decided(decision: Decision) -> str:
    word = WORDS.get(decision.action, decision.action)
    return f'<p class="lead"><span class="tag good">{escape(word)}</span> {escape(decision.reason)}</p>'


def _fresh(freshness: Freshness) -> str:
    word = {"fresh": "Fresh", "warn": "Warning", "error": "Stale"}[freshness.state]
    return f'<p class="note {freshness.state}" role="note"><strong>{word}:</strong> {escape(freshness.message)}.</p>'


def _tile(figure: Figure) -> str:
    note = f'<dd class="small">{escape(figure.note)}</dd>' if figure.note else ""
    return f'<div><dt>{escape(figure.label)}</dt><dd class="big">{escape(figure.text)}</dd>{note}</div>'


def _sections(report: Report) -> Iterator[str]:
    scenes = report.scenes
    if scenes and scenes.map:
        yield _section("Where", _map(report))
    if scenes and scenes.timeline:
        yield _section("When", _when(scenes.timeline))
    if report.changes:
        yield _section(f"What changed since snapshot {report.changes.since}", "\n".join(_changed(report.changes)))
    if report.failures:
        yield _section("What failed", "\n".join(_failed(report.name, report.failures)))
    yield _section("What was asked", _facts(report.asked))
    yield _section("The collection", "\n".join(_collection(report)))


def _section(title: str, body: str) -> str:
    return f"<section>\n<h2>{escape(title)}</h2>\n{body}\n</section>"


def _facts(figures: Iterable[Figure]) -> str:
    pairs = "".join(f"<dt>{escape(each.label)}</dt><dd>{escape(each.text)}</dd>" for each in figures)
    return f'<dl class="facts">{pairs}</dl>'


# --- where and when ----------------------------------------------------------------------------------------------------------------


def _map(report: Report) -> str:
    scenes = report.scenes
    if scenes is None or scenes.map is None:
        return ""
    drawing = draw_map(scenes.map, scenes.rows)
    kind = "cells, stronger where more scenes meet one" if scenes.map.is_grid else "footprints, stronger where more scenes share one"
    keys = [f'<span class="key"></span>{kind}', *(['<span class="key dashed"></span>the asked area'] if scenes.map.area else [])]
    return f"<figure>{drawing.inline('map')}<figcaption>{''.join(keys)}</figcaption></figure>"


def _when(timeline: Timeline) -> str:
    return f"<figure>{draw_timeline(timeline).inline('timeline')}</figure>\n{_numbers(timeline)}"


def _numbers(timeline: Timeline) -> str:
    rows = [
        (
            day(timeline, each.start),
            f"{each.scenes:,}",
            f"{each.cloud.median:.0f} %" if each.cloud else "-",
            f"{each.cloud.low:.0f} to {each.cloud.high:.0f} %" if each.cloud else "-",
        )
        for each in timeline.periods
        if each.scenes
    ]
    head = (timeline.unit, "scenes", "median cloud cover", "eight scenes of ten")
    numbers = _table(head, rows, f"Scenes by {timeline.unit}", numeric=(1, 2, 3))
    return f'<details class="quiet"><summary>The numbers</summary>\n{numbers}\n</details>'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str, *, numeric: Sequence[int] = ()) -> str:
    """Texts are escaped; the first cell of a row is its header."""
    return _raw_table(head, ([escape(cell) for cell in row] for row in rows), caption, numeric=numeric)


def _raw_table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str, *, numeric: Sequence[int] = ()) -> str:
    """Cells are markup."""
    kinds = [' class="number"' if at in numeric else "" for at in range(len(head))]
    first = "".join(f'<th scope="col"{kind}>{escape(cell)}</th>' for cell, kind in zip(head, kinds, strict=True))
    body = "\n".join(_row(row, kinds) for row in rows)
    top = f"<caption>{escape(caption)}</caption>\n<thead><tr>{first}</tr></thead>"
    kind = "scroll narrow" if len(numeric) == len(head) - 1 else "scroll"
    return f'<div class="{kind}"><table>{top}\n<tbody>\n{body}\n</tbody></table></div>'


def _row(cells: Sequence[str], kinds: Sequence[str]) -> str:
    rest = "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(cells[1:], kinds[1:], strict=True))
    return f'<tr><th scope="row"{kinds[0]}>{cells[0]}</th>{rest}</tr>'


# --- changes and failures ----------------------------------------------------------------------------------------------------------


def _changed(changes: Changes) -> Iterator[str]:
    told_items = ", ".join(f"{each.text} {each.label}{f' ({each.note})' if each.note else ''}" for each in changes.items)
    yield f"<p>{escape(f'Items: {told_items}.' if told_items else 'No item is new, changed or gone.')}</p>"
    rows = [(each.label, each.before, each.now) for each in changes.counts]
    yield _table(("", f"snapshot {changes.since}", "this one"), rows, f"Against the snapshot of {told(changes.committed)}", numeric=(1, 2))
    for title, lines in (("The question", changes.question), ("Drift", changes.drift)):
        if lines:
            yield f"<h3>{title}</h3>\n<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def _failed(name: str, failures: Failures) -> Iterator[str]:
    reasons = [(reason, f"{count:,}") for reason, count in failures.by_reason]
    yield _table(("reason", "how many"), reasons, f"{failures.total:,} in all, by reason", numeric=(1,))
    if failures.shown:
        head = ("item", "band", "reason", "status", "message", "file")
        rows = [[*map(escape, (each.item, each.band, each.reason, each.status, each.message)), _file(each)] for each in failures.shown]
        yield _raw_table(head, rows, f"The first {len(rows):,}" if len(rows) < failures.total else "All of them", numeric=(3,))
    yield f"<p>Ask for them once more: <code>rasterloom failures {escape(name)} --retry</code></p>"


def _file(failed: Failed) -> str:
    """A link only where a browser can follow it; its words are the end of the path, which tells files apart."""
    words = escape(failed.href.rpartition("/")[2].partition("?")[0] or failed.href)
    if is_web(failed.href):
        return f'<a href="{escape(failed.href)}" rel="noreferrer noopener nofollow" title="{escape(failed.href)}">{words}</a>'
    return f"<code>{escape(failed.href)}</code>" if failed.href else "-"


def is_web(href: str) -> bool:
    """Whether it is an ordinary web address, and so neither script nor data."""
    try:
        parts = urlsplit(href)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


# --- the rest ----------------------------------------------------------------------------------------------------------------------


def _collection(report: Report) -> Iterator[str]:
    place = f'<a href="{escape(report.link)}">{escape(report.uri)}</a>' if report.link else f"<code>{escape(report.uri)}</code>"
    yield f"<p>Its files are a plain collection, for any Parquet reader: {place}</p>"
    yield f"<p>In Python: <code>rasterloom.load({escape(repr(report.home))}{_snapshot(report)})</code></p>"
    decision = report.decision
    if decision:
        took = (
            Figure(label="run", text=decision.run_id),
            Figure(label="started", text=told(decision.started)),
            Figure(label="committed", text=told(decision.ended)),
        )
        yield _facts((*took, *report.made_by))
    elif report.made_by:
        yield _facts(report.made_by)


def _snapshot(report: Report) -> str:
    return f", snapshot={report.snapshot}" if report.snapshot else ""


def _foot(report: Report) -> str:
    judged = " Freshness is that of the moment when this page was written." if report.freshness else ""
    return f"<footer><p>A report of Rasterloom. It loads nothing and holds no secrets.{judged}</p></footer>"
