"""Headers that any collection of a workspace has read, for all the others: `<workspace>/_cache/headers/v<parser version>/`.

One pack per index batch, named by the sha256 of its bytes and never changed: `<name>.parquet` holds the header rows, `<name>.keys`
their keys in the same order and a sha256 of those. A pack that is made of others has a name that no pack ever had: whoever deletes
one has written, or was outrun by one that has written, what it held. So concurrent writers need no lock, and whatever is gone, cut or
changed is a miss.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rasterloom.access.cache.records import HeaderRows, concatenated
from rasterloom.access.cache.staging import CACHE
from rasterloom.access.values import Asset
from rasterloom.access.workspace.files import Entry, Workspace
from rasterloom.errors import RasterloomError
from rasterloom.raster.arrow import EXT_TYPE, METADATA_TYPE
from rasterloom.raster.header import PARSER_VERSION

_LOG = logging.getLogger("rasterloom.headercache")
HOME = f"{CACHE}/headers"
PACKS = f"{HOME}/v{PARSER_VERSION}"
MOST_BYTES = 2 * 1024**3
"""Packs are pruned to this, the oldest first: about two million headers."""
MOST_PACKS = 256
"""From so many packs on, neighbours in age are put together."""
_LARGE_PACK = 8 * 1024 * 1024
_KEY = 16
_SUM = 32
_MOST_TIERS = 16
_OPEN_PACKS = 8
_ORPHAN = timedelta(hours=24)
"""A pack without keys that is younger may be one that is being written."""

Keys = NDArray[np.bytes_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Rows of the cache: `rows[i]` answers the key at `positions[i]` of those that were asked for."""

    positions: list[int]
    rows: HeaderRows

    @staticmethod
    def nothing() -> Found:
        return Found(positions=[], rows=concatenated([]))

    @staticmethod
    def at(positions: list[int], rows: HeaderRows, places: Sequence[int]) -> Found:
        """`places[i]` of `rows` is the answer to `positions[i]`."""
        return Found(positions=positions, rows=rows.take(pa.array(places, pa.int64())))


def header_key(asset: Asset, updated: str | None) -> bytes:
    """16 bytes of all that an item says about what the header holds: an item that says anything else is not answered from the cache."""
    text = f"{asset.href}\n{asset.band_index}\n{updated or ''}\n{'' if asset.size is None else asset.size}"
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=_KEY).digest()


def write_pack(workspace: Workspace, keys: Sequence[bytes], rows: HeaderRows, *, salt: bytes = b"") -> str:
    """Remember header rows; the name of the pack. Keys come last: a pack that was not written whole is never looked at."""
    sink = pa.BufferOutputStream()
    table = pa.table({"metadata": rows.metadata, "ext": rows.ext})
    pq.write_table(table, sink, compression="zstd", compression_level=1, use_dictionary=False, write_statistics=False)
    data = sink.getvalue().to_pybytes()
    name = hashlib.sha256(data + b"".join(keys) + salt).hexdigest()
    body = b"".join(keys) + hashlib.sha256(data).digest()
    workspace.write(f"{PACKS}/{name}.parquet", data)
    workspace.write(f"{PACKS}/{name}.keys", body + hashlib.sha256(body).digest())
    return name


def find_headers(workspace: Workspace, keys: Sequence[bytes]) -> Found:
    """What is remembered of the headers of `keys`. Raises AccessDenied or Unavailable where the workspace does."""
    return _index_of(workspace.uri).find(workspace, np.array(keys, f"S{_KEY}"))


@lru_cache(maxsize=8)
def _index_of(uri: str) -> _Index:  # noqa: ARG001 -- one index per workspace of the process
    return _Index()


@dataclass(frozen=True, slots=True)
class _Tier:
    """Sorted keys of some packs: `packs[i]` and `rows[i]` say where the header of `keys[i]` is."""

    keys: Keys
    packs: NDArray[np.int64]
    rows: NDArray[np.int64]

    @staticmethod
    def of(pack: int, keys: Keys) -> _Tier:
        return _Tier(keys, np.full(len(keys), pack), np.arange(len(keys))).sorted()

    def sorted(self) -> _Tier:
        order = np.argsort(self.keys, kind="stable")
        return self.only(order)

    def only(self, which: NDArray[Any]) -> _Tier:
        return _Tier(self.keys[which], self.packs[which], self.rows[which])


def _merged(tiers: Sequence[_Tier]) -> _Tier:
    return _Tier(*(np.concatenate([getattr(tier, part) for tier in tiers]) for part in ("keys", "packs", "rows"))).sorted()


@dataclass(slots=True)
class _Index:
    """The keys of all packs of one workspace, in memory. Thread-safe."""

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _names: list[str] = field(default_factory=list[str])
    """Names of packs by number, dead ones included."""
    _numbers: dict[str, int] = field(default_factory=dict[str, int])
    """Numbers of the packs that stand."""
    _sums: dict[int, bytes] = field(default_factory=dict[int, bytes])
    _tiers: list[_Tier] = field(default_factory=list[_Tier])
    _open: dict[int, HeaderRows] = field(default_factory=dict[int, HeaderRows])

    def find(self, workspace: Workspace, wanted: Keys) -> Found:
        with self._lock:
            self._refresh(workspace)
            found: dict[int, list[tuple[int, int]]] = {}
            left = np.arange(len(wanted))
            for tier in reversed(self._tiers):
                left = _look(tier, wanted, left, found)
            parts = [(places, self._rows(workspace, pack)) for pack, places in sorted(found.items())]
        whole = [(places, rows) for places, rows in parts if rows is not None]
        taken = [rows.take(pa.array([row for _, row in places])) for places, rows in whole]
        positions = [position for places, _ in whole for position, _ in places]
        return Found(positions=positions, rows=concatenated(taken))

    def _refresh(self, workspace: Workspace) -> None:
        """Take in packs that came, and let go of those that went, since the last look."""
        there = {entry.key.rpartition("/")[2].removesuffix(".keys") for entry in workspace.list(PACKS) if entry.key.endswith(".keys")}
        gone = [self._numbers.pop(name) for name in set(self._numbers) - there]
        if gone:
            self._tiers = [tier.only(~np.isin(tier.packs, gone)) for tier in self._tiers]
        for name in sorted(there - set(self._numbers)):
            self._load(workspace, name)
        if len(self._tiers) > _MOST_TIERS:
            self._tiers = [_merged(self._tiers)]

    def _load(self, workspace: Workspace, name: str) -> None:
        known = _read_keys(workspace, name)
        if known is None:
            return
        keys, checksum = known
        number = len(self._names)
        self._names.append(name)
        self._numbers[name] = number
        self._sums[number] = checksum
        self._tiers.append(_Tier.of(number, keys))

    def _rows(self, workspace: Workspace, number: int) -> HeaderRows | None:
        rows = self._open.pop(number, None)
        if rows is None:
            rows = _read_pack(workspace, self._names[number], self._sums[number])
        if rows is None:
            _forget(workspace, self._names[number])
            return None
        self._open[number] = rows  # the last of a dict is the one that was used last
        if len(self._open) > _OPEN_PACKS:
            del self._open[next(iter(self._open))]
        return rows


def _look(tier: _Tier, wanted: Keys, left: NDArray[np.int64], found: dict[int, list[tuple[int, int]]]) -> NDArray[np.int64]:
    """Note which of the keys at `left` the tier knows; returns those that it does not."""
    if len(tier.keys) == 0 or len(left) == 0:
        return left
    at = np.minimum(np.searchsorted(tier.keys, wanted[left]), len(tier.keys) - 1)
    hit = tier.keys[at] == wanted[left]
    for position, place in zip(left[hit].tolist(), at[hit].tolist(), strict=True):
        found.setdefault(int(tier.packs[place]), []).append((position, int(tier.rows[place])))
    return left[~hit]


def _read_keys(workspace: Workspace, name: str) -> tuple[Keys, bytes] | None:
    """The keys of a pack and the sha256 that its file must have; None where they are gone, cut or changed."""
    data = workspace.read(f"{PACKS}/{name}.keys")
    if data is None or len(data) < 2 * _SUM or (len(data) - 2 * _SUM) % _KEY or hashlib.sha256(data[:-_SUM]).digest() != data[-_SUM:]:
        return None
    return np.frombuffer(data, f"S{_KEY}", count=(len(data) - 2 * _SUM) // _KEY), data[-2 * _SUM : -_SUM]


def _read_pack(workspace: Workspace, name: str, checksum: bytes) -> HeaderRows | None:
    data = workspace.read(f"{PACKS}/{name}.parquet")
    if data is None or hashlib.sha256(data).digest() != checksum:
        return None
    table = pq.read_table(pa.BufferReader(data))
    if table.schema.types != [METADATA_TYPE, EXT_TYPE]:
        return None
    return HeaderRows(metadata=table["metadata"].combine_chunks(), ext=table["ext"].combine_chunks())


def _forget(workspace: Workspace, name: str) -> None:
    """Remove a pack that cannot be used, keys first; where that is not allowed it stays what it is: a miss."""
    for ending in ("keys", "parquet"):
        try:
            workspace.delete(f"{PACKS}/{name}.{ending}")
        except RasterloomError:
            return


def tidy_after(workspace: Workspace) -> None:
    """`tidy` behind a commit, which stands whatever becomes of the cache."""
    try:
        tidy(workspace)
    except RasterloomError as error:
        _LOG.warning("the header cache of %s was not tidied: %s", workspace.uri, error)


def tidy(workspace: Workspace, *, most_bytes: int = MOST_BYTES, most_packs: int = MOST_PACKS) -> None:
    """Keep the cache small: drop what another parser wrote, put small packs together, prune the oldest."""
    entries = list(workspace.list(HOME))
    for stale in {entry.key.split("/")[2] for entry in entries if not entry.key.startswith(f"{PACKS}/")}:
        workspace.delete(f"{HOME}/{stale}")
    packs = _packs(workspace, [entry for entry in entries if entry.key.startswith(f"{PACKS}/")])
    if len(packs) > most_packs:
        _put_together(workspace, [entry for entry in packs if entry.size < _LARGE_PACK])
        packs = _packs(workspace, list(workspace.list(PACKS)))
    excess = sum(entry.size for entry in packs) - most_bytes
    for entry in packs:
        if excess <= 0:
            return
        _forget(workspace, _name_of(entry))
        excess -= entry.size


def _packs(workspace: Workspace, entries: Sequence[Entry]) -> list[Entry]:
    """The files of header rows that have keys, from the oldest on. What was left by a kill goes."""
    by_name: dict[str, dict[str, Entry]] = {}
    for entry in entries:
        by_name.setdefault(_name_of(entry), {})[entry.key.rpartition(".")[2]] = entry
    whole: list[Entry] = []
    for files in by_name.values():
        if "parquet" in files and "keys" in files:
            whole.append(files["parquet"])
        else:
            _drop_orphans(workspace, files)
    return sorted(whole, key=lambda entry: (entry.modified, entry.key))


def _drop_orphans(workspace: Workspace, files: Mapping[str, Entry]) -> None:
    for entry in files.values():
        if datetime.now(UTC) - entry.modified > _ORPHAN:
            workspace.delete(entry.key)


def _name_of(entry: Entry) -> str:
    return entry.key.rpartition("/")[2].lstrip(".").partition(".")[0]


def _put_together(workspace: Workspace, packs: Sequence[Entry]) -> None:
    """Packs of neighbouring age become one of about `_LARGE_PACK`; written before the old ones go, so that no header is ever missing."""
    group: list[Entry] = []
    for entry in packs:
        group.append(entry)
        if sum(one.size for one in group) >= _LARGE_PACK:
            _merge(workspace, group)
            group = []
    if len(group) > 1:
        _merge(workspace, group)


def _merge(workspace: Workspace, group: Sequence[Entry]) -> None:
    places: dict[bytes, int] = {}
    parts: list[HeaderRows] = []
    for name in map(_name_of, group):
        known = _read_keys(workspace, name)
        rows = _read_pack(workspace, name, known[1]) if known else None
        if known is None or rows is None:
            continue
        raw, start = known[0].tobytes(), sum(map(len, parts))
        places.update({raw[at * _KEY : (at + 1) * _KEY]: start + at for at in range(len(rows))})
        parts.append(rows)
    if places:
        write_pack(workspace, list(places), concatenated(parts).take(pa.array(list(places.values()))), salt=uuid.uuid4().bytes)
    for name in map(_name_of, group):
        _forget(workspace, name)
