"""Rasteret 0.4 in its own virtual environment (Python 3.12 or 3.13), driven through its public names."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from measure import run_side, timed
from reading import digests, measured


def _rasteret() -> Any:
    import rasteret
    from rasteret.fetch import cog

    # Its object-store client refuses plain http; the server of this benchmark has no TLS. Nothing else is changed.
    cog._OBSTORE_CLIENT_OPTIONS["allow_http"] = "true"
    return rasteret


def headers(order: dict[str, Any]) -> dict[str, Any]:
    rasteret = _rasteret()
    from rasteret.fetch.header_parser import AsyncCOGHeaderParser

    async def read() -> list[Any]:
        async with AsyncCOGHeaderParser(max_concurrent=order["concurrency"], batch_size=400) as parser:
            return await parser.process_cog_headers_batch(order["urls"])

    result: dict[str, Any] = {"version": f"rasteret {rasteret.__version__}"}
    with timed(result):
        found = asyncio.run(read())
    return result | {"headers": sum(header is not None for header in found)}


def build(order: dict[str, Any]) -> dict[str, Any]:
    rasteret = _rasteret()
    result: dict[str, Any] = {"version": f"rasteret {rasteret.__version__}"}
    with timed(result):
        collection = rasteret.build_from_stac(
            name="bench",
            stac_api=order["stac"],
            collection=order["collection"],
            bbox=tuple(order["bbox"]),
            date_range=tuple(order["dates"]),
            band_map=order["bands"],
            workspace_dir=order["workspace"],
            max_concurrent=order["concurrency"],
        )
    path = Path(order["workspace"]) / f"{collection.name}_stac"
    return result | {"rows": len(collection), "uri": str(path)}


def one_file(order: dict[str, Any]) -> dict[str, Any]:
    """The same collection once more, not by months."""
    path = Path(order["workspace"]) / "one"
    _rasteret().load(order["uri"]).export(str(path), partition_by=[])
    return {"uri": str(path)}


def window(order: dict[str, Any]) -> dict[str, Any]:
    rasteret = _rasteret()
    result: dict[str, Any] = {}
    started = time.perf_counter()
    collection = rasteret.load(order["uri"])
    result["rows"] = len(collection)
    result["open_s"] = time.perf_counter() - started
    few = collection.where(_ids(order["ids"]))
    with timed(result):
        frame = few.get_gdf(geometries=tuple(order["bbox"]), bands=list(order["bands"]))
    totals = [int(data.sum(dtype="int64")) for data in frame["data"]]
    return result | {"checksum": sum(totals), "arrays": len(totals)}


def _ids(ids: list[str]) -> Any:
    import pyarrow.dataset as ds

    return ds.field("id").isin(ids)


def windows(order: dict[str, Any]) -> dict[str, Any]:
    """The same window of every file, all bands; the headers are known, as they are in a collection."""
    rasteret = _rasteret()
    import numpy as np
    from rasteret.fetch.cog import COGReader, read_cog
    from rasteret.fetch.header_parser import AsyncCOGHeaderParser

    async def known() -> list[Any]:
        async with AsyncCOGHeaderParser(max_concurrent=order["concurrency"], batch_size=400) as parser:
            return await parser.process_cog_headers_batch(order["urls"])

    async def read(headers: list[Any]) -> list[Any]:
        async with COGReader(max_concurrent=order["concurrency"]) as reader:
            tasks = [
                read_cog(url, header, band_index=band, bounds=_bounds(header, order), reader=reader, mode="window")
                for url, header in zip(order["urls"], headers, strict=True)
                for band in range(order["bands"])
            ]
            return await asyncio.gather(*tasks)

    headers = asyncio.run(known())
    result: dict[str, Any] = {"version": f"rasteret {rasteret.__version__}"}
    with measured(order, result):
        found = asyncio.run(read(headers))
    each = order["bands"]
    stacks = (np.stack([read.data for read in found[at : at + each]]) for at in range(0, len(found), each))
    return result | {"digests": digests(stacks)}


def _bounds(header: Any, order: dict[str, Any]) -> tuple[float, float, float, float]:
    """Of the window, a quarter of a pixel smaller: its rule takes all pixels that bounds touch."""
    sx, left, sy, top = header.transform
    col, row, side = order["col"], order["row"], order["side"]
    return left + (col + 0.25) * sx, top + (row + side - 0.25) * sy, left + (col + side - 0.25) * sx, top + (row + 0.25) * sy


def points(order: dict[str, Any]) -> dict[str, Any]:
    """With a `bbox`: without one it makes a filter of a term per point, and the process dies of a segmentation fault at 10,000."""
    collection = _rasteret().load(order["uri"])
    import pyarrow as pa
    import pyarrow.compute as pc

    places = pa.table({"x": order["x"], "y": order["y"]})
    result: dict[str, Any] = {}
    with measured(order, result):
        table = collection.sample_points(places, ["B"], geometry_crs=32632, max_concurrent=order["concurrency"], bbox=tuple(order["bbox"]))
    return result | {"checksum": pc.sum(table["value"]).as_py(), "rows": table.num_rows}


if __name__ == "__main__":
    run_side({"headers": headers, "build": build, "one_file": one_file, "window": window, "windows": windows, "points": points})
