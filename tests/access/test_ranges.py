"""The file system over an object store, as Arrow's threads use it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.servers import RangeServer

LOOK = """
import sys
import pyarrow.dataset as ds
from obstore.store import HTTPStore
from pyarrow import fs
from rasterloom.access.network.ranges import ObjectFiles

store = HTTPStore.from_url(sys.argv[1], client_options={"allow_http": True})
factory = ds.FileSystemDatasetFactory(fs.PyFileSystem(ObjectFiles(store)), sys.argv[2:], ds.ParquetFileFormat())
print(factory.finish().head(5).num_rows)
"""


def test_a_program_ends_although_threads_of_arrow_still_read(tmp_path: Path) -> None:
    """`head` returns while the files behind it are still read ahead: the interpreter used to hang or to abort there."""
    names = [f"{number}.parquet" for number in range(6)]
    for name in names:
        pq.write_table(pa.table({"a": list(range(10_000))}), tmp_path / name, row_group_size=1000)
    with RangeServer(tmp_path, latency=0.1) as server:
        done = subprocess.run([sys.executable, "-c", LOOK, server.url, *names], capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stdout, done.stderr) == (0, "5\n", "")
