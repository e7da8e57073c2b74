"""Where the pages lie: `<name>/_reports/<number>.html`, beside the version directories and never in one."""

from __future__ import annotations

import logging

from rasterloom.access.commits import Commit, report_path
from rasterloom.access.files import Workspace
from rasterloom.access.opening import Opened
from rasterloom.access.reports.gather import report_of
from rasterloom.access.reports.page import page
from rasterloom.access.reports.values import Report
from rasterloom.errors import RasterloomError

_LOG = logging.getLogger("rasterloom.reports")


def report_key(name: str, version: int) -> str:
    return f"{name}/{report_path(version)}"


def keep(workspace: Workspace, report: Report) -> str:
    """Write the page of a snapshot beside it; its URI. Raises Unavailable, AccessDenied."""
    key = report_key(report.name, report.snapshot)
    workspace.write(key, page(report).encode())
    return workspace.uri_of(key)


def kept(workspace: Workspace, name: str, entry: Commit) -> bool:
    """Whether the page of this commit is there."""
    return workspace.size(report_key(name, entry.version)) is not None


def page_of(opened: Opened) -> str:
    """The page of an open collection: the one that was kept, else one made anew, and kept where it can be.

    Raises Unavailable, AccessDenied, Unreadable.
    """
    workspace, entry = opened.workspace, opened.commit
    if workspace is None or entry is None:
        return page(report_of(opened))
    found = workspace.read(report_key(opened.name, entry.version))
    if found is not None:
        return found.decode("utf-8", "replace")
    made = report_of(opened)
    try:
        keep(workspace, made)
    except RasterloomError as error:
        _LOG.warning("%s: the report was not kept: %s", opened.name, error)
    return page(made)
