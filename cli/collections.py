"""Commands about what stands in a workspace: `list`, `info`, `failures`, `export`, `delete`."""

from __future__ import annotations

import sys
from argparse import Namespace
from datetime import UTC, datetime

from rasterloom.access.collection import Collection, load
from rasterloom.access.describe import Description
from rasterloom.access.reads.outputs import newest_outputs, ref_of
from rasterloom.access.refs import to_json
from rasterloom.access.versions.looks import freshness_of
from rasterloom.access.versions.opening import Summary, delete_collection, failures_of, open_collection, summary_of
from rasterloom.access.versions.provenance import lines_of, row_of
from rasterloom.access.workspace.place import open_workspace
from rasterloom.cli.output import answer, size_text, table
from rasterloom.cli.report import show_report
from rasterloom.errors import SpecError

_COLUMNS = ("NAME", "SCENES", "FAILED", "VERSION", "SIZE", "COMMITTED (UTC)", "FRESH")
FAILURE_COLUMNS = ("item_id", "band", "stage", "reason", "http_status", "attempts", "href")


def list_all(args: Namespace) -> int:
    place = open_workspace(args.workspace).uri
    found = Collection.list_collections(args.workspace)
    text = table([_line(each) for each in found], _COLUMNS) if found else f"no collections in {place}"
    answer(args, {"workspace": place, "collections": [to_json(each) for each in found]}, text)
    return 0


def _line(each: Summary) -> tuple[object, ...]:
    state = each.freshness.state if each.freshness else "-"
    cause = f" ({each.freshness.cause})" if each.freshness and each.freshness.cause else ""
    return each.name, each.rows, each.failed, each.version, size_text(each.bytes), f"{each.committed:%Y-%m-%d %H:%M}", state + cause


def info(args: Namespace) -> int:
    opened = open_collection(args.collection, args.workspace, snapshot=args.snapshot)
    if args.path:
        answer(args, {"path": opened.uri}, opened.uri)
        return 0
    if args.html is not None:
        return show_report(args, opened)
    facts, commit = Collection(opened).describe(), opened.commit
    if commit is None or opened.workspace is None:
        answer(args, dict(facts), str(facts))
        return 0
    fresh = None if args.snapshot else freshness_of(opened.workspace, opened.name, commit, now=datetime.now(UTC))
    told: dict[str, object] = {"freshness": f"{fresh.state}: {fresh.message}"} if fresh else {}
    outputs = [(each, ref_of(opened.workspace, each, changed=False)) for each in newest_outputs(opened.workspace, opened.name)]
    told |= {
        f"read {ref.read}": f"{ref.kind}, output {ref.version} of {each.ended:%Y-%m-%d %H:%M} UTC, {ref.data}" for each, ref in outputs
    }
    document = {**facts, "freshness": to_json(fresh) if fresh else None, "provenance": row_of(commit)}
    document["reads"] = [to_json(ref) for _, ref in outputs]
    answer(args, document, str(Description({**facts, **told, **lines_of(commit)})))
    return 0


def failures(args: Namespace) -> int:
    """What the newest version could not read; none is no error."""
    found = failures_of(args.name, args.workspace)
    if args.retry and found is not None:
        # Imports Prefect.
        from rasterloom.cli.run import retry

        retry(args)
        found = failures_of(args.name, args.workspace)
    rows = found.to_pylist() if found is not None else []
    shown = [["" if row[column] is None else row[column] for column in FAILURE_COLUMNS] for row in rows]
    text = table(shown, [column.upper() for column in FAILURE_COLUMNS]) if rows else f"{args.name}: no failures"
    answer(args, {"name": args.name, "failures": rows}, text)
    return 0


def export(args: Namespace) -> int:
    collection = load(args.collection, workspace=args.workspace, snapshot=args.snapshot)
    place = collection.export(args.to, format=args.format)
    answer(args, {"name": collection.name, "uri": place, "rows": len(collection)}, f"exported {len(collection):,} scenes to {place}")
    return 0


def delete(args: Namespace) -> int:
    """Asks on a terminal; elsewhere --yes must say it."""
    workspace = open_workspace(args.workspace)
    if not args.yes:
        found = summary_of(args.name, args.workspace)
        _confirm(f"delete the collection {found.name} ({found.rows:,} scenes) with all its versions from {workspace.uri}?")
    count = delete_collection(workspace, args.name)
    answer(args, {"name": args.name, "files": count}, f"deleted {args.name}: {count:,} files")
    return 0


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise SpecError(f"{question} Nobody is there to answer", remedy="say it with --yes")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise SpecError("nothing was deleted", remedy="answer y to delete")
