"""What a read leaves in Prefect's pages: a bar while it runs long, and a page with its picture. Neither can change how it ends."""

from __future__ import annotations

import base64
import logging

from prefect.artifacts import create_markdown_artifact

from rasterloom.access.network.redact import redact
from rasterloom.access.reads.outputs import OutputRef
from rasterloom.access.workspace.files import Workspace
from rasterloom.flows.readprogress import ReadProgress
from rasterloom.flows.runpage import Bar

LARGEST_PICTURE = 400_000
"""Bytes of a PNG that still goes into a page: Prefect's server takes 512 KB of text in one request by default."""
_LOG = logging.getLogger("rasterloom.report")


class ReadBar(Bar):
    """A listener: the bar of a read."""

    def __call__(self, progress: ReadProgress) -> None:
        is_done = progress.stage == "done"
        percent = 100.0 if is_done else round(100 * progress.made / (progress.to_make + 1), 1)
        words = f"{progress.made:,} of {progress.to_make:,} units, {progress.traffic.requests:,} requests, {progress.failures:,} failures"
        self.move(f"{progress.collection}.{progress.read}", percent, words, is_done=is_done)


def leave_read_artifact(workspace: Workspace, output: OutputRef, *, reason: str) -> None:
    """The page of an output."""
    try:
        create_markdown_artifact(
            markdown=page(output, reason=reason, picture=_picture(workspace, output)),
            key=f"{output.name}-{output.read}",
            description=f"{output.kind} {output.read} of {output.name}",
        )
    except Exception as error:  # noqa: BLE001 - a page is never worth a read
        _LOG.warning("%s.%s: its page is not complete: %s: %s", output.name, output.read, type(error).__name__, redact(str(error))[:300])


def _picture(workspace: Workspace, output: OutputRef) -> bytes | None:
    data = workspace.read(workspace.key_of(output.picture)) if output.picture else None
    return data if data is not None and len(data) <= LARGEST_PICTURE else None


def page(output: OutputRef, *, reason: str, picture: bytes | None) -> str:
    """Markdown, the picture inside of it as a data URI: the browser that shows the page need not reach the workspace."""
    rows = {
        "output": f"{output.version} ({'made now' if output.changed else 'unchanged'}: {redact(reason)})",
        "snapshot": str(output.snapshot or "of a collection outside of the workspace"),
        "data": f"`{redact(output.data)}`",
        **({"copy": f"`{redact(output.copied_to)}`"} if output.copied_to else {}),
        "units": f"{output.units:,}, of which {output.made:,} made now",
        "requests": f"{output.requests:,}, {output.bytes:,} bytes",
        "failures": f"{output.failed:,}",
        **{key: str(value) for key, value in output.meta.items()},
    }
    shown = [f"![{output.read}](data:image/png;base64,{base64.b64encode(picture).decode()})"] if picture else []
    table = ["| | |", "| --- | --- |", *(f"| {key} | {value.replace('|', ' ')} |" for key, value in rows.items())]
    return "\n\n".join([f"# {output.name}: {output.read} ({output.kind})", *shown, "\n".join(table)])
