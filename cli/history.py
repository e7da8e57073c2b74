"""Commands about the snapshots of a collection: `snapshots`, `rollback`, `verify`, `gc`."""

from __future__ import annotations

from argparse import Namespace
from datetime import timedelta

from rasterloom.access.reads.keeping import collect_outputs, prune_units, verify_outputs
from rasterloom.access.refs import to_json
from rasterloom.access.versions.gc import Collected, collect, collections_to_collect
from rasterloom.access.versions.memory import prune
from rasterloom.access.versions.opening import summary_of
from rasterloom.access.versions.snapshots import Snapshot, rollback, snapshots
from rasterloom.access.versions.verify import Report, repair, verify
from rasterloom.access.workspace.place import open_workspace
from rasterloom.cli.output import answer, size_text, table
from rasterloom.errors import Refused, SpecError

_COLUMNS = ("SNAPSHOT", "COMMITTED (UTC)", "SCENES", "FAILED", "SIZE", "BY", "")


def list_snapshots(args: Namespace) -> int:
    summary_of(args.name, args.workspace)
    found = snapshots(open_workspace(args.workspace), args.name)
    answer(args, {"name": args.name, "snapshots": [to_json(each) for each in found]}, table([_row(each) for each in found], _COLUMNS))
    return 0


def _row(each: Snapshot) -> tuple[object, ...]:
    did = f"rollback to {each.rollback_of}" if each.rollback_of else each.action
    state = "current" if each.is_current else "" if each.is_kept else "no longer kept"
    return each.number, f"{each.committed:%Y-%m-%d %H:%M}", each.rows, each.failed, size_text(each.bytes), did, state


def roll_back(args: Namespace) -> int:
    workspace = open_workspace(args.workspace)
    made = rollback(workspace, args.name, args.snapshot)
    document = {"name": args.name, "snapshot": made.version, "rollback_of": made.rollback_of, "rows": made.rows, "directory": made.dir}
    text = f"{args.name}: snapshot {made.version} holds what {args.snapshot} held, {made.rows:,} scenes; nothing was deleted"
    answer(args, document, text)
    return 0


def verify_collection(args: Namespace) -> int:
    """Ends with 5 where something is damaged."""
    workspace = open_workspace(args.workspace)
    report = verify(workspace, args.name)
    if args.repair:
        repair(workspace, args.name)
        report = verify(workspace, args.name)
    report.findings += verify_outputs(workspace, args.name)
    answer(args, {**to_json(report), "damaged": report.is_damaged}, _told(report))
    return Refused.exit_code if report.is_damaged else 0


def _told(report: Report) -> str:
    verdict = "damaged" if report.is_damaged else "whole"
    numbers = ", ".join(map(str, sorted(report.snapshots)))
    head = f"{report.name}: {verdict}; read {report.files:,} files, {size_text(report.bytes)}, of snapshots {numbers or 'none'}"
    rows = [("harmless" if each.harmless else "DAMAGE", each.kind, each.path, each.message) for each in report.findings]
    return "\n".join([head, *([table(rows, ("", "KIND", "FILE", "WHAT"))] if rows else [])])


def collect_garbage(args: Namespace) -> int:
    if bool(args.name) == args.all:
        raise SpecError("gc needs the NAME of a collection, or --all", remedy="see `rasterloom list`")
    workspace, grace = open_workspace(args.workspace), timedelta(hours=args.grace)
    names = collections_to_collect(workspace) if args.all else [args.name]
    if not args.all:
        summary_of(args.name, args.workspace)
    taken = [collect(workspace, name, grace=grace, dry_run=args.dry_run) for name in names]
    taken += [each for name in names for each in collect_outputs(workspace, name, grace=grace, dry_run=args.dry_run)]
    forgotten = [*prune(workspace, dry_run=args.dry_run), *prune_units(workspace, dry_run=args.dry_run)] if args.all else []
    remembered = Collected(
        name="_cache",
        others=tuple(entry.key for entry in forgotten),
        files=len(forgotten),
        bytes=sum(entry.size for entry in forgotten),
    )
    parts = [*taken, *([remembered] if args.all else [])]
    rows = [(part.name, len(part.versions), part.files, size_text(part.bytes)) for part in parts]
    text = table(rows, ("WOULD TAKE FROM" if args.dry_run else "TAKEN FROM", "VERSIONS", "FILES", "SIZE"))
    answer(args, {"dry_run": args.dry_run, "collected": [to_json(part) for part in parts]}, text)
    return 0
