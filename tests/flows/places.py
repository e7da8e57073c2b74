"""Where a text has got to: every file of a workspace and of Prefect."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
from prefect.settings import get_current_settings


def places_with(text: str, workspace: str) -> list[str]:
    """Files of the workspace and of Prefect, its database and the logs and results in it among them, that hold the text.

    Parquet is looked at row by row too: its pages are compressed.
    """
    settings = get_current_settings()
    database = Path(settings.server.database.connection_url.get_secret_value().partition(":///")[2])
    folders = [Path(workspace), Path(settings.home), Path(settings.results.local_storage_path), database.parent]
    files = {path for folder in folders for path in folder.rglob("*") if path.is_file()}
    return [str(path) for path in sorted(files) if text.encode() in path.read_bytes() or (path.suffix == ".parquet" and text in rows(path))]


def rows(path: Path) -> str:
    return str(pq.ParquetFile(path).read().to_pylist())
