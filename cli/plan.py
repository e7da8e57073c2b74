"""`rasterloom plan`: what a run would do, and why. Reads the workspace and writes nothing; no network where the workspace is local."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from rasterloom.access.build import Decision, decide
from rasterloom.access.refs import to_json
from rasterloom.access.workspace import open_workspace
from rasterloom.cli.output import answer, pairs, table
from rasterloom.cli.specs import specs_of
from rasterloom.specs.identity import question_to_json
from rasterloom.specs.model import CollectionSpec
from rasterloom.specs.plan import make_plan, stac_datetime
from rasterloom.specs.question import Box, Interval, Plan
from rasterloom.specs.resolve import effort

SHARDS_SHOWN = 24
"""Of a plan with more, the first ones."""


def plan(args: Namespace) -> int:
    found = [_planned(args, spec) for spec in specs_of(args)]
    answer(args, {"plans": [document for document, _ in found]}, "\n\n".join(text for _, text in found))
    return 0


def _planned(args: Namespace, spec: CollectionSpec) -> tuple[dict[str, Any], str]:
    made = make_plan(spec, now=datetime.now(UTC))
    workspace = open_workspace(args.workspace or spec.workspace)
    decision = decide(made, workspace, force=effort(spec).force)
    document = {
        "name": made.name,
        "fingerprint": made.fingerprint,
        "workspace": workspace.uri,
        "question": question_to_json(made.question),
        "decision": to_json(decision),
    }
    return document, _text(made, decision, workspace.uri)


def _text(made: Plan, decision: Decision, workspace: str) -> str:
    states = Counter(state.state for state in decision.shards)
    facts = {
        "differs in": "\n".join(decision.differences),
        "workspace": workspace,
        "committed": f"version {decision.ref.version}, {decision.ref.rows:,} scenes, {decision.ref.uri}" if decision.ref else "",
        "source": f"{made.question.source.collection} of {made.question.source.url}",
        "bands": ", ".join(band.code for band in made.question.bands),
        "searches": f"{len(decision.shards):,}: " + ", ".join(f"{count:,} {_STATES[state]}" for state, count in sorted(states.items())),
        "requests": f"{_count(decision.pages)} search pages, {_count(decision.headers)} headers",
        "fingerprint": made.fingerprint[:16],
    }
    return f"{made.name}: {decision.action}: {decision.reason}\n{pairs(facts)}\n\n{_shards(decision)}"


_STATES = {"cached": "remembered", "closed": "closed, not searched yet", "open": "open, searched by every run"}


def _shards(decision: Decision) -> str:
    rows = [
        (
            state.shard.index,
            _dates(state.shard.dates),
            _cell(state.shard.cell),
            state.state,
            _count(state.scenes),
            _count(state.headers),
        )
        for state in decision.shards[:SHARDS_SHOWN]
    ]
    more = len(decision.shards) - len(rows)
    return table(rows, ("SEARCH", "FROM/BEFORE", "CELL", "STATE", "SCENES", "HEADERS")) + (
        f"\n... and {more:,} more (see --json)" if more else ""
    )


def _dates(dates: Interval) -> str:
    """From the first instant to the first one after, days where they are whole."""
    return stac_datetime(dates).replace("T00:00:00Z", "")


def _cell(cell: Box | None) -> str:
    return f"{cell.west:g},{cell.south:g},{cell.east:g},{cell.north:g}" if cell else "whole area"


def _count(number: int | None) -> str:
    """A number, or a question mark where only the server knows."""
    return "?" if number is None else f"{number:,}"
