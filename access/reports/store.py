"""Where the pages lie: `<name>/_reports/<number>.html`, beside the version directories and never in one."""

from __future__ import annotations

from rasterloom.access.reports.gather import report_of
from rasterloom.access.reports.page import page
from rasterloom.access.reports.values import Report
from rasterloom.access.versions.commits import Commit, report_path
from rasterloom.access.versions.opening import Opened
from rasterloom.access.workspace.files import Workspace
from rasterloom.errors import SpecError


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
    """The page of an open collection: the one that is kept, else one made anew. Raises Unavailable, AccessDenied, Unreadable."""
    workspace, entry = opened.workspace, opened.commit
    found = workspace.read(report_key(opened.name, entry.version)) if workspace and entry else None
    return page(report_of(opened)) if found is None else found.decode("utf-8", "replace")


def place_of(opened: Opened) -> str:
    """URI of the page of a snapshot, which is made where it is missing.

    Raises SpecError for a collection outside of a workspace, where nothing is kept; Unavailable, AccessDenied, Unreadable.
    """
    workspace, entry = opened.workspace, opened.commit
    if workspace is None or entry is None:
        raise SpecError(
            f"{opened.uri} is outside of a workspace, which would keep the report", remedy="give the file to write: --html FILE"
        )
    if kept(workspace, opened.name, entry):
        return workspace.uri_of(report_key(opened.name, entry.version))
    return keep(workspace, report_of(opened))
