"""Rasterloom: the header stage alone, the whole build as plain functions and as the Prefect flow, and reads."""

from __future__ import annotations

import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from measure import cpu_seconds, run_side, timed
from reading import digests, measured

SEARCHES_AT_ONCE, BATCHES_AT_ONCE = 4, 2
"""As in `rasterloom.flows.gather`."""


def headers(order: dict[str, Any]) -> dict[str, Any]:
    from rasterloom import __version__
    from rasterloom.access.archive.headers import fetch_headers
    from rasterloom.access.archive.stores import Stores
    from rasterloom.access.credentials.secrets import environment_secrets
    from rasterloom.access.values import Asset
    from rasterloom.raster.header import Header
    from rasterloom.specs.effort import AuthRef, Effort

    assets = [Asset(band="B", key=order.get("key", "data"), href=url, band_index=0) for url in order["urls"]]
    effort = Effort(max_concurrent=order["concurrency"], allow_private_hosts=True)
    result: dict[str, Any] = {"version": f"rasterloom {__version__}"}
    with timed(result):
        stores = Stores(AuthRef(), effort=effort, secrets=environment_secrets)
        found = fetch_headers(assets, stores, effort=effort, first_range={})
    good = [header for header in found.results if isinstance(header, Header)]
    failures = sorted({str(failure.reason) for failure in found.results if not isinstance(failure, Header)})
    return result | {"headers": len(good), "requests": found.traffic.requests, "failures": failures}


def question_spec(order: dict[str, Any]) -> dict[str, Any]:
    return {
        "version": 1,
        "name": order.get("name", "bench"),
        "stac": {"url": order["stac"], "collection": order["collection"], "page_size": 250},
        "bbox": order["bbox"],
        "dates": order["dates"],
        "band_map": order["bands"],
        "workspace": order["workspace"],
        "build": {"max_concurrent": order["concurrency"]},
        "storage": {"partition_by": order.get("partition_by", ["year", "month"])},
    }


def build_plain(order: dict[str, Any]) -> dict[str, Any]:
    """What the flow does, in its order, on two plain pools as wide as the flow's: all of the product, and nothing of Prefect.

    The page of the snapshot is the product's, and so is the collection that is handed back. Of the flow alone are the run and its
    tasks, the check and the record of their parameters, the bar and the report on the page of the run, logs and events.
    """
    from rasterloom.access.build import Job, decide, index_batch, publish, recall, search_shard
    from rasterloom.access.collection import load
    from rasterloom.access.reports.gather import report_of
    from rasterloom.access.reports.store import keep
    from rasterloom.access.values import BatchRef, ItemsRef
    from rasterloom.access.versions.commits import read_commit
    from rasterloom.access.versions.heartbeat import Heartbeat
    from rasterloom.access.versions.opening import open_version
    from rasterloom.access.workspace.place import open_workspace
    from rasterloom.flows.garbage import set_apart
    from rasterloom.specs.loader import spec_from
    from rasterloom.specs.plan import make_plan
    from rasterloom.specs.resolve import effort

    result: dict[str, Any] = {}
    with timed(result):
        spec = spec_from(question_spec(order))
        place, plan, how = open_workspace(spec.workspace), make_plan(spec, now=datetime.now(UTC)), effort(spec)
        decide(plan, place)
        job = Job(workspace=place.uri, plan=plan, effort=how, spec=spec.model_dump(mode="json", exclude_none=True), run_id="bench-run")
        half = replace(job, effort=replace(how, max_concurrent=how.max_concurrent // BATCHES_AT_ONCE))
        learned: dict[str, int] = {}

        def index(items: ItemsRef) -> BatchRef:
            batch = index_batch(half, items, first_range=dict(learned))
            learned.update({key: max(needed, learned.get(key, 0)) for key, needed in batch.first_range.items()})
            return batch

        with set_apart(), Heartbeat(place, spec.name, job.run_id):
            with ThreadPoolExecutor(SEARCHES_AT_ONCE) as searching, ThreadPoolExecutor(BATCHES_AT_ONCE) as indexing:
                list(searching.map(lambda shard: recall(job, shard), plan.shards))
                searches, pending = [], []
                for search in searching.map(lambda shard: search_shard(job, shard), plan.shards):
                    searches.append(search)
                    pending += [indexing.submit(index, items) for items in search.batches]
                batches = [future.result() for future in pending]
            ref = publish(job, searches, batches)
        entry = read_commit(place, spec.name, ref.version)
        assert entry is not None, "it was committed just now"
        keep(place, report_of(open_version(place, spec.name, entry)))
        load(ref.uri, effort=how)
    return result | {"rows": ref.rows, "failed": ref.failed, "uri": ref.uri, "tasks": len(searches) + len(batches) + 1}


def one_file(order: dict[str, Any]) -> dict[str, Any]:
    """The same collection once more, not by months: its headers are remembered."""
    return build_plain(order | {"name": "one", "partition_by": []})


def build_flow(order: dict[str, Any]) -> dict[str, Any]:
    """`rasterloom.run`; Prefect's import and the start of its temporary server are timed apart, and RSS is of this process."""
    started = time.perf_counter()
    from rasterloom.flows.run import run
    from rasterloom.tasks.settings import local_settings, reach_server

    result: dict[str, Any] = {}
    with local_settings():
        reach_server()
    result["server_start_s"] = time.perf_counter() - started
    asked = _counted() if order.get("count_api") else []
    with timed(result):
        collection = run(question_spec(order))
    logs = asked.count("/api/logs/")
    return result | {"rows": len(collection), "uri": collection.uri, "api_requests": len(asked) - logs, "api_logs": logs}


def _counted() -> list[str]:
    """Paths that this process asks Prefect's API for, from now on."""
    import httpx

    asked: list[str] = []
    sync, later = httpx.Client.send, httpx.AsyncClient.send

    def send(self: Any, request: Any, **more: Any) -> Any:
        asked.append(request.url.path)
        return sync(self, request, **more)

    async def send_later(self: Any, request: Any, **more: Any) -> Any:
        asked.append(request.url.path)
        return await later(self, request, **more)

    httpx.Client.send, httpx.AsyncClient.send = send, send_later
    return asked


@contextmanager
def _lap(into: dict[str, Any], name: str) -> Generator[None]:
    wall, cpu = time.perf_counter(), cpu_seconds()
    yield
    into[f"{name}_s"], into[f"{name}_cpu_s"] = time.perf_counter() - wall, cpu_seconds() - cpu


def window(order: dict[str, Any]) -> dict[str, Any]:
    import numpy as np
    import pyarrow.compute as pc

    from rasterloom.access.collection import load

    result: dict[str, Any] = {}
    with _lap(result, "open"):
        collection = load(order["uri"])
        result["rows"] = len(collection)
    views = [collection.where(pc.field("id") == name) for name in order["ids"]]  # two UTM zones: no common grid
    with timed(result):
        pixels = [view.get_numpy(geometries=tuple(order["bbox"]), bands=list(order["bands"])) for view in views]
    totals = [int(np.asarray(array).sum(dtype=np.int64)) for array in pixels]
    return result | {"checksum": sum(totals), "arrays": len(totals)}


def windows(order: dict[str, Any]) -> dict[str, Any]:
    """The same window of every file, all bands; the headers are known, as they are in a collection."""
    import numpy as np

    from rasterloom import __version__
    from rasterloom.access.archive.headers import fetch_headers
    from rasterloom.access.archive.stores import Stores
    from rasterloom.access.credentials.secrets import environment_secrets
    from rasterloom.access.pixels.engine import Engine
    from rasterloom.access.pixels.values import BandFile, WindowRead
    from rasterloom.access.values import Asset
    from rasterloom.raster.tiles import Window, spans_of, tiles_of
    from rasterloom.specs.effort import AuthRef, Effort

    effort = Effort(max_concurrent=order["concurrency"], allow_private_hosts=True)
    assets = [Asset(band="B", key="data", href=url, band_index=0) for url in order["urls"]]
    known = fetch_headers(assets, Stores(AuthRef(), effort=effort, secrets=environment_secrets), effort=effort, first_range={}).results
    window = Window(col=order["col"], row=order["row"], width=order["side"], height=order["side"])
    files = [
        BandFile(scene=url, band=f"B{band}", href=url, band_index=band, header=header, crs=header.crs)
        for url, header in zip(order["urls"], known, strict=True)
        for band in range(order["bands"])
    ]
    planned = len(spans_of(tiles_of(known[0], 0, known[0].full, window)))
    result: dict[str, Any] = {"version": f"rasterloom {__version__}", "planned": planned}
    with measured(order, result):
        engine = Engine(Stores(AuthRef(), effort=effort, secrets=environment_secrets), effort=effort)
        found = engine.read_all(WindowRead(file=file, window=window) for file in files)
    each = order["bands"]
    return result | {"digests": digests(np.stack([p.data for p in found[at : at + each]]) for at in range(0, len(found), each))}


def crossing(order: dict[str, Any]) -> dict[str, Any]:
    """Every file on the grid; the headers are known, as they are in a collection."""
    import numpy as np

    from rasterloom.access.archive.headers import fetch_headers
    from rasterloom.access.archive.stores import Stores
    from rasterloom.access.credentials.secrets import environment_secrets
    from rasterloom.access.pixels.engine import Engine
    from rasterloom.access.pixels.gridded import on_grid
    from rasterloom.access.pixels.values import BandFile
    from rasterloom.access.values import Asset
    from rasterloom.raster.grid import Grid
    from rasterloom.specs.effort import AuthRef, Effort

    effort = Effort(max_concurrent=order["concurrency"], allow_private_hosts=True)
    assets = [Asset(band="B", key="data", href=url, band_index=0) for url in order["urls"]]
    known = fetch_headers(assets, Stores(AuthRef(), effort=effort, secrets=environment_secrets), effort=effort, first_range={}).results
    files = [
        BandFile(scene=url, band="B", href=url, band_index=0, header=header, crs=header.crs)
        for url, header in zip(order["urls"], known, strict=True)
    ]
    grid = Grid(**order["grid"] | {"affine": tuple(order["grid"]["affine"])})
    result: dict[str, Any] = {}
    with measured(order, result):
        engine = Engine(Stores(AuthRef(), effort=effort, secrets=environment_secrets), effort=effort)
        found = {answer.index: answer.pixels for answer in on_grid(engine, files, grid, resampling=order["resampling"])}
    np.save(order["to"], np.where(found[0].valid, found[0].data, 0))
    return result


def collect(order: dict[str, Any]) -> dict[str, Any]:
    """A collection of files that stand at URLs, one scene each, out of a table of them."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import shapely
    from composites import days

    from rasterloom.flows.run import run

    instants = days(order)
    footprint = shapely.to_wkb(shapely.box(*order["bbox"]))
    columns = {"id": [f"s{number}" for number in range(len(instants))], "geometry": [footprint] * len(instants), "datetime": instants}
    pq.write_table(pa.table({**columns, "href": order["urls"]}), f"{order['workspace']}/index.parquet")
    table = {"uri": f"{order['workspace']}/index.parquet", "href_column": "href"}
    spec = {"version": 1, "name": "series", "table": table, "band_index_map": {"B": 0}, "build": {"allow_private_hosts": True}}
    return {"uri": run(spec | {"workspace": f"{order['workspace']}/ws"}).uri}


def points(order: dict[str, Any]) -> dict[str, Any]:
    import numpy as np
    import pyarrow.compute as pc

    from rasterloom.access.collection import load
    from rasterloom.specs.effort import Effort

    collection = load(order["uri"])
    effort = Effort(max_concurrent=order["concurrency"], allow_private_hosts=True)
    result: dict[str, Any] = {}
    with measured(order, result):
        table = collection.sample_points((np.array(order["x"]), np.array(order["y"])), ["B"], geometry_crs=32632, effort=effort)
    return result | {"checksum": pc.sum(table["value"]).as_py(), "rows": table.num_rows}


def zones(order: dict[str, Any]) -> dict[str, Any]:
    """The read job, without Prefect."""
    import pyarrow.parquet as pq
    from series import parquet

    from rasterloom.access.reads.job import ReadJob
    from rasterloom.access.reads.run import finish_read, make_units, plan_read
    from rasterloom.specs.effort import Effort

    spec = {"kind": "zonal", "zones": str(parquet(order)), "bands": ["B"], "statistics": ["valid", "mean", "median"]}
    where = {"workspace": str(Path(order["uri"]).parents[2]), "name": "series", "collection": order["uri"], "snapshot": "x"}
    effort = Effort(max_concurrent=order["concurrency"], allow_private_hosts=True, force=True)
    job = ReadJob(**where, read="bench", spec=spec, effort=effort, run_id=f"r{time.time_ns()}")
    result: dict[str, Any] = {}
    with measured(order, result):
        planned = plan_read(job)
        make_units(job, planned.units)
        done = finish_read(job, planned.units)
    table = pq.read_table(f"{done.uri}/zonal.parquet").to_pandas()
    return result | {"checksum": round(float((table["mean"] + table["median"]).sum()), 3), "rows": len(table)}


def composite(order: dict[str, Any]) -> dict[str, Any]:
    """The read job, without Prefect: scenes that are remembered, COGs, a STAC catalog and a picture."""
    import rasterio
    from composites import digest

    from rasterloom.access.reads.job import ReadJob
    from rasterloom.access.reads.run import finish_read, make_units, plan_read
    from rasterloom.access.reads.units import grouped
    from rasterloom.specs.effort import Effort

    spec = {"kind": "composite", "bands": ["B"], "period": "P1M", "area": order["area"], "crs": "EPSG:32632", "resolution": 10.0}
    where = {"workspace": str(Path(order["uri"]).parents[2]), "name": "series", "collection": order["uri"], "snapshot": "x"}
    effort = Effort(max_concurrent=order["concurrency"], allow_private_hosts=True)
    job = ReadJob(**where, read="bench", spec=spec, effort=effort, run_id=f"r{time.time_ns()}")
    result: dict[str, Any] = {}
    with measured(order, result):
        planned = plan_read(job)
        for group in grouped(planned.units):
            make_units(job, group)
        done = finish_read(job, planned.units)
    images = list(Path(done.uri).rglob("B.tif"))
    with rasterio.open(images[0]) as image:
        grid = {"affine": list(image.transform)[:6], "width": image.width, "height": image.height}
    return result | {"digest": digest(images), "grid": grid}


if __name__ == "__main__":
    run_side(
        {
            "headers": headers,
            "build_plain": build_plain,
            "build_flow": build_flow,
            "one_file": one_file,
            "window": window,
            "windows": windows,
            "crossing": crossing,
            "collect": collect,
            "points": points,
            "zones": zones,
            "composite": composite,
        }
    )
