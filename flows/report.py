"""What a build leaves in Prefect's own pages: a summary and, where something failed, a table of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from rasterloom.access.redact import redact
from rasterloom.access.values import CollectionRef, Failure
from rasterloom.flows.progress import Progress

ROWS = 100
"""Rows of the failures artifact at the most: the whole table stands in the workspace."""


def leave_artifacts(ref: CollectionRef, progress: Progress, failures: Sequence[Failure]) -> None:
    create_markdown_artifact(markdown=summary(ref, progress, failures), key=f"{ref.name}-collection", description=f"Collection {ref.name}")
    if failures:
        rows = [failure_row(failure) for failure in failures[:ROWS]]
        create_table_artifact(table=rows, key=f"{ref.name}-failures", description=f"{len(rows)} of {len(failures)} failures")


def summary(ref: CollectionRef, progress: Progress, failures: Sequence[Failure]) -> str:
    """GitHub-flavoured Markdown: where the collection is, what was counted, failures by reason."""
    counts = {
        "scenes": ref.rows,
        "failed assets": ref.failed,
        "shards": progress.shards,
        "header batches": progress.batches,
        "answered from memory": progress.remembered,
        "search pages": progress.search_requests,
        "header requests": progress.header_requests,
        "bytes received": progress.bytes,
    }
    reasons = Counter((failure.stage, failure.reason) for failure in failures)
    return "\n\n".join(
        [
            f"# {ref.name}, version {ref.version}",
            f"{progress.action}: {redact(progress.reason)}",
            f"`{redact(ref.uri)}`",
            _table(("count", ""), [(name, f"{value:,}") for name, value in counts.items()]),
            *([_table(("failed at", "reason", "how many"), [(*key, str(n)) for key, n in reasons.most_common()])] if reasons else []),
        ]
    )


def failure_row(failure: Failure) -> dict[str, str]:
    return {
        "item": failure.item_id,
        "band": failure.band,
        "reason": failure.reason,
        "href": redact(failure.href),
        "message": redact(failure.message)[:200],
    }


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
