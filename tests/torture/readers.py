"""A reader that polls a collection all the time, in a process of its own, with one engine; each round resolves once and then reads.

    python readers.py ENGINE WORKSPACE      until a line comes in on stdin; then one JSON line with what it saw

Needs the engine and the standard library alone, so that Rasteret's interpreter can run it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import select
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_spec = importlib.util.spec_from_file_location("rows", Path(__file__).with_name("rows.py"))
assert _spec is not None
assert _spec.loader is not None
rows = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rows)

Reader = Callable[[str], dict[str, int]]


def resolved(workspace: str) -> str | None:
    """The version directory behind the link; None before the first version."""
    link = os.path.join(workspace, f"{rows.NAME}_stac")
    return os.path.realpath(link) if os.path.lexists(link) else None


def resolved_by_log(workspace: str) -> str | None:
    """The same by the highest commit, as a reader on an object store does it."""
    commits = Path(workspace, rows.NAME, "_commits")
    names = sorted(path.name for path in commits.glob("[0-9]*.json")) if commits.is_dir() else []
    if not names:
        return None
    directory = json.loads((commits / names[-1]).read_bytes())["dir"]
    return str(Path(workspace, rows.NAME, "_versions", directory))


def pyarrow_reader() -> Reader:
    import pyarrow.dataset as ds

    def read(path: str) -> dict[str, int]:
        table = ds.dataset(path, partitioning="hive").to_table(["id", "generation"])
        return dict(zip(table["id"].to_pylist(), table["generation"].to_pylist(), strict=True))

    return read


def duckdb_reader() -> Reader:
    import duckdb

    def read(path: str) -> dict[str, int]:
        files = f"{path}/**/*.parquet"
        found = duckdb.execute("select id, generation from read_parquet(?, hive_partitioning=true)", [files]).fetchall()
        return dict(found)

    return read


def rasteret_reader() -> Reader:
    import rasteret

    def read(path: str) -> dict[str, int]:
        table = rasteret.load(path).dataset.to_table(columns=["id", "generation"])
        return dict(zip(table["id"].to_pylist(), table["generation"].to_pylist(), strict=True))

    return read


ENGINES: dict[str, Callable[[], Reader]] = {"pyarrow": pyarrow_reader, "duckdb": duckdb_reader, "rasteret": rasteret_reader}


def main(engine: str, workspace: str) -> None:
    read = ENGINES[engine]()
    print("ready", flush=True)
    good, faults = 0, []
    while not select.select([sys.stdin], [], [], 0.1)[0]:
        path = (resolved if good % 2 else resolved_by_log)(workspace)
        if path is None:
            continue
        try:
            seen: Any = read(path)
        except Exception as error:  # noqa: BLE001 -- any error of any engine is a fault to be told
            faults.append(f"{type(error).__name__}: {error}")
            continue
        if rows.generation_of(seen) is None:
            faults.append(f"a mix or a part: {seen}")
        good += 1
    print(json.dumps({"good": good, "faults": faults[:20]}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
