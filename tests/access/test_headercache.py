"""The header cache answers what the item says exactly, and anything that is wrong with a pack is a miss."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rasterloom.access.cache.headers import HOME, PACKS, find_headers, header_key, tidy, write_pack
from rasterloom.access.cache.records import HeaderRows, header_rows
from rasterloom.access.values import Asset
from rasterloom.access.workspace.disk import LocalWorkspace
from rasterloom.access.workspace.files import Workspace
from tests.access.building import header


def key(number: int) -> bytes:
    return header_key(Asset(band="B", key="b", href=f"https://h/{number}.tif", band_index=0), "2024-07-01T00:00:00Z")


def rows(numbers: Sequence[int]) -> HeaderRows:
    return header_rows([header(number, width=1024, tile=256) for number in numbers], [0] * len(numbers))


def remember(workspace: Workspace, numbers: Sequence[int]) -> str:
    return write_pack(workspace, [key(number) for number in numbers], rows(numbers))


def known(workspace: Workspace, numbers: Sequence[int]) -> dict[int, str]:
    """Number -> etag of what is found, each checked against what was written."""
    found = find_headers(workspace, [key(number) for number in numbers])
    etags = found.rows.ext.field("etag").to_pylist()
    sizes = found.rows.metadata.field("tile_offsets").to_pylist()
    assert all(len(offsets) == 16 for offsets in sizes)
    return {numbers[position]: etag for position, etag in zip(found.positions, etags, strict=True)}


def right(numbers: Sequence[int]) -> dict[int, str | None]:
    return {number: header(number).etag for number in numbers}


def test_what_was_remembered_is_found_in_any_order_and_mixture(tmp_path: Path) -> None:
    workspace = LocalWorkspace(tmp_path)
    for start in range(0, 60, 20):
        remember(workspace, range(start, start + 20))
    asked = [55, 3, 99, 21, 3, 40, 100]
    assert known(workspace, asked) == right([55, 3, 21, 40])
    assert known(workspace, []) == {}
    assert known(LocalWorkspace(tmp_path / "empty"), asked) == {}


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    workspace = LocalWorkspace(tmp_path)
    written = rows(range(5))
    remember(workspace, range(5))
    found = find_headers(workspace, [key(number) for number in range(5)])
    assert found.rows.metadata.to_pylist() == written.metadata.to_pylist()
    assert found.rows.ext.to_pylist() == written.ext.to_pylist()


@pytest.mark.parametrize(
    "changes", [{"href": "https://h/other.tif"}, {"band_index": 1}, {"size": 7}, {"updated": "2024-07-02T00:00:00Z"}, {"updated": None}]
)
def test_an_item_that_says_anything_else_is_not_answered(changes: dict[str, object]) -> None:
    asset = Asset(band="B", key="b", href="https://h/1.tif", band_index=0)
    updated = changes.pop("updated", "2024-07-01T00:00:00Z")
    assert header_key(replace(asset, **changes), updated) != header_key(asset, "2024-07-01T00:00:00Z")  # type: ignore[arg-type]


def test_the_band_code_and_the_asset_key_do_not_matter() -> None:
    one = Asset(band="B04", key="red", href="https://h/1.tif", band_index=0)
    assert header_key(replace(one, band="rot", key="r"), None) == header_key(one, None)


@pytest.mark.parametrize("ending", ["parquet", "keys"])
@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "empty"])
def test_a_damaged_pack_is_a_miss_and_the_others_are_not(tmp_path: Path, ending: str, damage: str) -> None:
    workspace = LocalWorkspace(tmp_path)
    name = remember(workspace, range(5))
    remember(workspace, range(5, 10))
    path = tmp_path / PACKS / f"{name}.{ending}"
    data = path.read_bytes()
    middle = len(data) // 2
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(
            {"flip": data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :], "cut": data[:middle], "empty": b""}[damage]
        )
    assert known(workspace, range(10)) == right(range(5, 10))
    remember(workspace, range(5))
    assert known(workspace, range(10)) == right(range(10)), "and is healed by the next that reads the headers"


@given(at=st.integers(0, 10**9), bit=st.integers(0, 7))
def test_any_flipped_bit_is_a_miss(tmp_path_factory: pytest.TempPathFactory, at: int, bit: int) -> None:
    root = tmp_path_factory.mktemp("ws")
    workspace = LocalWorkspace(root)
    files = [root / PACKS / f"{remember(workspace, range(3))}.{ending}" for ending in ("parquet", "keys")]
    whole = [path.read_bytes() for path in files]
    at %= sum(map(len, whole))
    path = files[0] if at < len(whole[0]) else files[1]
    data = bytearray(path.read_bytes())
    data[at if path is files[0] else at - len(whole[0])] ^= 1 << bit
    path.write_bytes(data)
    assert known(workspace, range(3)) == {}


def test_a_pack_of_a_second_process_is_seen(tmp_path: Path) -> None:
    workspace = LocalWorkspace(tmp_path)
    assert known(workspace, [1]) == {}
    code = "import sys; from pathlib import Path; from rasterloom.access.workspace.disk import LocalWorkspace; "
    code += "from tests.access.test_headercache import remember; remember(LocalWorkspace(Path(sys.argv[1])), range(3))"
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=root, env={**os.environ, "PYTHONPATH": str(root)})
    assert known(workspace, range(4)) == right(range(3))


@pytest.mark.slow
def test_writers_at_once_never_get_a_wrong_answer(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from rasterloom.access.workspace.disk import LocalWorkspace
from rasterloom.access.cache.headers import tidy
from tests.access.test_headercache import known, remember, right
workspace, first = LocalWorkspace(Path(sys.argv[1])), int(sys.argv[2])
for start in range(first, first + 100, 10):
    remember(workspace, range(start, start + 10))
    tidy(workspace, most_packs=3)
    found = known(workspace, range(first, start + 10))
    assert found.items() <= right(range(first, start + 10)).items()
"""
    root = Path(__file__).resolve().parents[2]
    env = {**os.environ, "PYTHONPATH": str(root)}
    builders = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(first)], cwd=root, env=env) for first in (0, 100, 200)]
    assert [builder.wait() for builder in builders] == [0, 0, 0]
    found = known(LocalWorkspace(tmp_path), range(300))
    assert found == right(range(300))


class Slow(LocalWorkspace):
    """Another process does something before the first delete of this one."""

    def __init__(self, root: Path, meanwhile: Callable[[], None]) -> None:
        super().__init__(root)
        self._meanwhile: list[Callable[[], None]] = [meanwhile]

    def delete(self, prefix: str) -> int:
        while self._meanwhile:
            self._meanwhile.pop()()
        return super().delete(prefix)


def test_two_that_put_the_same_packs_together_lose_nothing(tmp_path: Path) -> None:
    """What the one makes must not have a name that the other is about to delete."""
    other = LocalWorkspace(tmp_path)
    single, both = remember(other, [2]), remember(other, [1, 2])
    for age, name in enumerate((single, both)):
        os.utime(tmp_path / PACKS / f"{name}.parquet", (age, age))

    def tidy_first() -> None:
        for ending in ("keys", "parquet"):
            other.delete(f"{PACKS}/{single}.{ending}")
        tidy(other, most_packs=1)

    tidy(Slow(tmp_path, tidy_first), most_packs=1)
    assert known(other, [1, 2]) == right([1, 2])


def test_many_packs_are_put_together_and_old_ones_go(tmp_path: Path) -> None:
    workspace = LocalWorkspace(tmp_path)
    for number in range(30):
        remember(workspace, [number])
    tidy(workspace, most_packs=10)
    assert len(list(workspace.list(PACKS))) == 2, "one pack and its keys"
    assert known(workspace, range(31)) == right(range(30))
    for age, number in enumerate((100, 101, 102)):
        name = remember(workspace, [number])
        for ending in ("parquet", "keys"):
            os.utime(tmp_path / PACKS / f"{name}.{ending}", (age, age))
    sizes = [entry.size for entry in workspace.list(PACKS) if entry.key.endswith(".parquet")]
    tidy(workspace, most_bytes=sum(sizes) - 1)
    assert known(workspace, [0, 100, 101, 102]) == right([0, 101, 102]), "the oldest went, no more"
    tidy(workspace, most_bytes=0)
    assert list(workspace.list(HOME)) == []
    assert known(workspace, range(31)) == {}


def test_what_another_parser_wrote_and_what_a_kill_left_goes(tmp_path: Path) -> None:
    workspace = LocalWorkspace(tmp_path)
    workspace.write(f"{HOME}/v0/{'a' * 64}.parquet", b"old")
    for name, age in (("old", 1), ("new", None)):
        path = tmp_path / PACKS / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
        if age:
            os.utime(path, (age, age))
    tidy(workspace)
    assert [entry.key for entry in workspace.list(HOME)] == [f"{PACKS}/new.parquet"]
