"""`rasterloom plan`: what a run would do, and why. Reads the workspace and writes nothing; with --search it also asks the source."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from rasterloom.access.build import Decision, Job, ShardState, decide
from rasterloom.access.credentials.secrets import environment_secrets
from rasterloom.access.forecast import Forecast, forecast
from rasterloom.access.items.pushdown import Pushdown, expected
from rasterloom.access.refs import to_json
from rasterloom.access.sources.copies import settled
from rasterloom.access.sources.stac import asked_of
from rasterloom.access.workspace.place import open_workspace
from rasterloom.cli.output import answer, pairs, table
from rasterloom.cli.specs import specs_of
from rasterloom.specs.cql2tokens import to_text
from rasterloom.specs.effort import Effort
from rasterloom.specs.filters import filter_of
from rasterloom.specs.identity import canonical_json, question_to_json
from rasterloom.specs.model import CollectionSpec
from rasterloom.specs.plan import make_plan, stac_datetime
from rasterloom.specs.question import Box, Interval, Plan, StacSource
from rasterloom.specs.resolve import effort

SHARDS_SHOWN = 24
"""Of a plan with more, the first ones."""


def plan(args: Namespace) -> int:
    found = [_planned(args, spec) for spec in specs_of(args)]
    answer(args, {"plans": [document for document, _ in found]}, "\n\n".join(text for _, text in found))
    return 0


def _planned(args: Namespace, spec: CollectionSpec) -> tuple[dict[str, Any], str]:
    workspace, how = open_workspace(args.workspace or spec.workspace), effort(spec)
    made = settled(make_plan(spec, now=datetime.now(UTC)), workspace)
    decision = decide(made, workspace, force=how.force)
    found = None
    if args.search:
        found = forecast(Job(workspace=workspace.uri, plan=made, effort=how, spec={}, run_id="", action=decision.action), decision)
    shared = _shared_out(made, how, asks=bool(found and found.shards))
    document = {
        "name": made.name,
        "fingerprint": made.fingerprint,
        "workspace": workspace.uri,
        "question": question_to_json(made.question),
        "decision": to_json(decision),
        "forecast": None if found is None else to_json(found),
        "pushdown": None if shared is None else {**shared.to_json(), "asked": bool(found and found.shards)},
    }
    return document, _text(made, decision, workspace.uri, found, shared)


def _shared_out(made: Plan, how: Effort, *, asks: bool) -> Pushdown | None:
    """What of a filter is asked of the source, and what is judged here alone; by the API's own word where it is asked anyway."""
    question = made.question
    if question.filter is None:
        return None
    is_api = isinstance(question.source, StacSource)
    return asked_of(question, effort=how, secrets=environment_secrets) if asks and is_api else expected(question, how)


def _conditions(made: Plan, shared: Pushdown | None, *, asked: bool) -> dict[str, str]:
    if shared is None or made.question.filter is None:
        return {}
    document = shared.to_json()
    server = [f"filter {document['filter']}"] if document["filter"] else []
    server += [f"query {canonical_json(document['query'])}"] if document["query"] else []
    is_api = isinstance(made.question.source, StacSource)
    sure = "" if asked or not is_api or not server else "\nif the API says that it can: --search asks it"
    return {
        "filter": to_text(filter_of(made.question.filter)),
        "asked of the source": "\n".join(server or ["nothing of it"] if is_api else ["what its columns can judge"]) + sure,
        "judged here alone": "\n".join(document["local"]) if is_api else "",
    }


def _text(made: Plan, decision: Decision, workspace: str, found: Forecast | None, shared: Pushdown | None) -> str:
    states = Counter(state.state for state in decision.shards)
    facts = {
        "differs in": "\n".join(decision.differences),
        "workspace": workspace,
        "committed": f"version {decision.ref.version}, {decision.ref.rows:,} scenes, {decision.ref.uri}" if decision.ref else "",
        "source": " of ".join(filter(None, (made.question.source.collection, made.question.source.address))),
        "bands": ", ".join(band.code for band in made.question.bands),
        "searches": f"{len(decision.shards):,}: " + ", ".join(f"{count:,} {_STATES[state]}" for state, count in sorted(states.items())),
        **_conditions(made, shared, asked=bool(found and found.shards)),
        "found": _found(found) if found and found.shards else "",
        "requests": f"{_count((found or decision).pages)} search pages, {_count((found or decision).headers)} headers",
        "fingerprint": made.fingerprint[:16],
    }
    shards = _searched(found, decision) if found and found.shards else _shards(decision)
    return f"{made.name}: {decision.action}: {decision.reason}\n{pairs(facts)}\n\n{shards}"


def _found(found: Forecast) -> str:
    return f"{found.total('scenes'):,} scenes: {found.total('new'):,} new, {found.total('changed'):,} changed; {found.gone:,} gone"


_STATES = {"cached": "remembered", "closed": "closed, not searched yet", "open": "open, searched by every run"}


def _shards(decision: Decision) -> str:
    rows = [(*_named(state), _count(state.scenes), _count(state.headers)) for state in decision.shards[:SHARDS_SHOWN]]
    return table(rows, (*_NAMES, "SCENES", "HEADERS")) + _more(len(decision.shards) - len(rows))


def _searched(found: Forecast, decision: Decision) -> str:
    rows = [
        (*_named(state), shard.scenes, shard.new, shard.changed, shard.pages, shard.headers)
        for state, shard in zip(decision.shards[:SHARDS_SHOWN], found.shards, strict=False)
    ]
    return table(rows, (*_NAMES, "SCENES", "NEW", "CHANGED", "PAGES", "HEADERS")) + _more(len(found.shards) - len(rows))


_NAMES = ("SEARCH", "FROM/BEFORE", "CELL", "STATE")


def _named(state: ShardState) -> tuple[object, ...]:
    return state.shard.index, _dates(state.shard.dates), _cell(state.shard.cell), state.state


def _more(count: int) -> str:
    return f"\n... and {count:,} more (see --json)" if count else ""


def _dates(dates: Interval) -> str:
    """From the first instant to the first one after, days where they are whole."""
    return stac_datetime(dates).replace("T00:00:00Z", "")


def _cell(cell: Box | None) -> str:
    return f"{cell.west:g},{cell.south:g},{cell.east:g},{cell.north:g}" if cell else "whole area"


def _count(number: int | None) -> str:
    """A number, or a question mark where only the server knows."""
    return "?" if number is None else f"{number:,}"
