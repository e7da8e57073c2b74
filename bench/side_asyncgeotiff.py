"""async-geotiff: the same windows by its own reader, one coroutine per file. It has to open what it reads: it takes no stored header."""

from __future__ import annotations

import asyncio
from typing import Any

from measure import run_side
from reading import digests, measured


def windows(order: dict[str, Any]) -> dict[str, Any]:
    import async_geotiff
    from async_geotiff import GeoTIFF, Window
    from obstore.store import HTTPStore

    window = Window(order["col"], order["row"], order["side"], order["side"])
    base = order["control"]

    async def read() -> list[Any]:
        store = HTTPStore.from_url(base, client_options={"allow_http": True})
        turns = asyncio.Semaphore(order["concurrency"])

        async def one(url: str) -> Any:
            async with turns:
                file = await GeoTIFF.open(url.removeprefix(f"{base}/"), store=store)
                return (await file.read(window=window)).data

        found = await asyncio.gather(*map(one, order["urls"]))
        await asyncio.sleep(0.1)  # obstore's asynchronous interface can abort an interpreter that ends at once
        return found

    result: dict[str, Any] = {"version": f"async-geotiff {async_geotiff.__version__}"}
    with measured(order, result):
        found = asyncio.run(read())
    return result | {"digests": digests(found)}


if __name__ == "__main__":
    run_side({"windows": windows})
