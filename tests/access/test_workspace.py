"""Durable, atomic, and never outside of the root: the same tests for a local disk and an object store."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from obstore.store import MemoryStore

from rasterloom.access.export import Copy, export_collection
from rasterloom.access.exports import target_of
from rasterloom.access.versions.opening import open_collection
from rasterloom.access.workspace.bucket import BucketWorkspace
from rasterloom.access.workspace.disk import LocalWorkspace, disk_error, disk_errors
from rasterloom.access.workspace.files import Occupied, Workspace, checked
from rasterloom.access.workspace.place import default_uri, is_remote, local_path, open_workspace
from rasterloom.errors import AccessDenied, SpecError, Unavailable


@pytest.fixture(params=["disk", "bucket"])
def workspace(request: pytest.FixtureRequest, tmp_path: Path) -> Workspace:
    return LocalWorkspace(tmp_path / "ws") if request.param == "disk" else BucketWorkspace(MemoryStore(), "s3://bucket/ws")


def test_what_is_written_is_read(workspace: Workspace) -> None:
    workspace.write("a/b.json", b"one")
    workspace.write("a/b.json", b"two")
    assert workspace.read("a/b.json") == b"two"
    assert workspace.size("a/b.json") == 3
    assert workspace.read("a/none") is None
    assert workspace.size("a/none") is None
    assert workspace.size("a") is None


def test_create_has_one_winner_of_many(workspace: Workspace) -> None:
    def attempt(number: int) -> str:
        try:
            workspace.create("log/1.json", str(number).encode())
        except Occupied:
            return "lost"
        return str(number)

    for _ in range(5):
        workspace.delete("log")
        with ThreadPoolExecutor(16) as pool:
            winners = [result for result in pool.map(attempt, range(16)) if result != "lost"]
        assert len(winners) == 1
        assert workspace.read("log/1.json") == winners[0].encode()


def test_listing_is_sorted_and_stays_below_the_prefix(workspace: Workspace) -> None:
    for key in ("c/x/2", "c/x/1", "c/y", "cx/0"):
        workspace.write(key, b"12")
    assert [(entry.key, entry.size) for entry in workspace.list("c")] == [("c/x/1", 2), ("c/x/2", 2), ("c/y", 2)]
    assert workspace.children() == ["c", "cx"]
    assert workspace.children("c") == ["x"]
    assert list(workspace.list("nothing")) == []
    assert workspace.children("nothing") == []


def test_delete_takes_the_prefix_and_nothing_beside_it(workspace: Workspace) -> None:
    for key in ("c/x/1", "c/y", "cx/0"):
        workspace.write(key, b"1")
    assert workspace.delete("c") == 2
    assert [entry.key for entry in workspace.list("cx")] == ["cx/0"]
    assert workspace.delete("c") == 0
    assert workspace.delete("cx/0") == 1


def test_copy_keeps_the_source(workspace: Workspace) -> None:
    workspace.write("v/1", b"data")
    workspace.copy("v/1", "w/x/1")
    workspace.delete("v")
    assert workspace.read("w/x/1") == b"data"


def test_a_stream_that_breaks_leaves_nothing(workspace: Workspace) -> None:
    with pytest.raises(ValueError, match="broken"), workspace.open_writer("d/part") as file:  # noqa: PT012 -- the block is what breaks
        file.write(b"half")
        raise ValueError("broken")
    assert workspace.read("d/part") is None
    assert list(workspace.list("d")) == []


def test_a_stream_appears_whole_at_its_end(workspace: Workspace) -> None:
    with workspace.open_writer("d/part") as file:
        for _ in range(3):
            file.write(b"x" * 3_000_000)
        assert workspace.size("d/part") is None
    assert workspace.size("d/part") == 9_000_000


def test_uri_and_key_are_inverses(workspace: Workspace) -> None:
    assert workspace.key_of(workspace.uri_of("a/b")) == "a/b"
    with pytest.raises(SpecError, match="not inside"):
        workspace.key_of("/elsewhere/a")


@pytest.mark.parametrize("key", ["../a", "a/../b", "/a", "a//b", "", ".", "a/./b", "a\x00b", "a\nb", "a\\b", "a/"])
def test_no_key_leaves_the_root(workspace: Workspace, key: str) -> None:
    calls: list[Callable[[str], object]] = [workspace.read, workspace.size, lambda bad: workspace.write(bad, b""), workspace.uri_of]
    for call in calls:
        with pytest.raises(SpecError):
            call(key)


@given(st.text(max_size=30))
def test_every_accepted_key_stays_below_any_root(key: str) -> None:
    try:
        accepted = checked(key)
    except SpecError:
        return
    assert os.path.normpath(f"/root/{accepted}").startswith("/root/")


def test_a_link_out_of_the_workspace_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("keep")
    workspace = LocalWorkspace(tmp_path / "ws")
    workspace.write("c/y", b"1")
    (tmp_path / "ws" / "link").symlink_to(outside)
    (tmp_path / "ws" / "c" / "link").symlink_to(outside)
    for attempt in (
        lambda: workspace.delete("link/precious"),
        lambda: workspace.write("link/new", b""),
        lambda: workspace.read("link/precious"),
    ):
        with pytest.raises(SpecError, match="symbolic link"):
            attempt()
    workspace.delete("link")
    workspace.delete("c")
    assert (outside / "precious").read_text() == "keep"


def test_no_link_is_followed_wherever_it_leads(tmp_path: Path) -> None:
    """A link to another collection of the same workspace would let one name change what stands under another."""
    workspace = LocalWorkspace(tmp_path / "ws")
    workspace.write("c/_commits/1", b"keep")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "ws" / "alias").symlink_to("c")
    (tmp_path / "ws" / "c" / "file").symlink_to(tmp_path / "secret")
    attempts: list[Callable[[], object]] = [
        lambda: workspace.read("alias/_commits/1"),
        lambda: workspace.delete("alias/_commits"),
        lambda: list(workspace.list("alias")),
        lambda: workspace.children("alias"),
        lambda: workspace.read("c/file"),
        lambda: workspace.size("c/file"),
        lambda: workspace.copy("c/file", "d/file"),
    ]
    for attempt in attempts:
        with pytest.raises(SpecError, match="symbolic link"):
            attempt()
    assert workspace.delete("alias") == 1
    assert workspace.read("c/_commits/1") == b"keep"


def test_a_workspace_may_be_reached_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    LocalWorkspace(tmp_path / "link").write("c/y", b"1")
    assert (tmp_path / "real" / "c" / "y").read_bytes() == b"1"


def test_a_listing_beside_writers_is_no_error(tmp_path: Path) -> None:
    """Temporary files of others come and go while a directory is listed."""
    workspace, writing = LocalWorkspace(tmp_path), True

    def write() -> None:
        while writing:
            workspace.write("c/_latest.json", b"{}")

    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(write) for _ in range(2)]
        for _ in range(300):
            list(workspace.list("c"))
        writing = False
        assert [writer.result() for writer in writers] == [None, None]


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    workspace = LocalWorkspace(tmp_path)
    workspace.write("a/file.parquet", b"old")
    script = (
        "import os, sys; from pathlib import Path; from rasterloom.access.workspace.disk import LocalWorkspace\n"
        "with LocalWorkspace(Path(sys.argv[1])).open_writer('a/file.parquet') as file:\n"
        "    file.write(b'new' * 1000); file.flush(); os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False).returncode == -9
    assert workspace.read("a/file.parquet") == b"old"
    left = [entry.key for entry in workspace.list("a") if entry.key != "a/file.parquet"]
    assert all(key.startswith("a/.") for key in left), "what is left is hidden from every Parquet reader"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_may_not_be_written_says_so(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(AccessDenied, match="permission denied") as caught:
        LocalWorkspace(tmp_path).write("a/b", b"")
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("number", "kind", "text"),
    [
        (errno.ENOSPC, Unavailable, "disk is full"),
        (errno.EDQUOT, Unavailable, "quota"),
        (errno.EROFS, AccessDenied, "read-only"),
        (errno.EACCES, AccessDenied, "permission"),
        (errno.EIO, Unavailable, "check the disk"),
        (errno.ENOTDIR, SpecError, "directory"),
    ],
)
def test_disk_errors_say_what_to_do(number: int, kind: type[Exception], text: str) -> None:
    error = disk_error(OSError(number, os.strerror(number)), "/ws/file")
    assert isinstance(error, kind)
    assert text in str(error)
    assert error.remedy


def test_a_full_disk_is_told_as_one() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    with pytest.raises(Unavailable, match="disk is full"), disk_errors("/dev/full"), open("/dev/full", "wb", buffering=0) as file:
        file.write(b"x")


def test_a_file_is_no_workspace(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpecError, match="not a directory"):
        open_workspace(str(tmp_path / "file"))


def test_the_default_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RASTERLOOM_WORKSPACE", str(tmp_path / "mine"))
    assert open_workspace().uri == str(tmp_path / "mine")
    assert not (tmp_path / "mine").exists(), "opening makes nothing"
    monkeypatch.delenv("RASTERLOOM_WORKSPACE")
    assert default_uri() == "~/rasterloom_workspace"


def test_what_is_remote() -> None:
    assert [is_remote(uri) for uri in ("s3://b/p", "gs://b", "az://c/p", "/data", "C:/data", "file:///data")] == [True] * 3 + [False] * 3


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("ftp://host/ws", "scheme ftp"),
        ("https://host/ws", "scheme https"),
        ("s3://", "no bucket"),
        ("GS:///prefix", "no bucket"),
        ("file://tmp/ws", "names a host"),
    ],
)
def test_an_address_of_something_else_is_no_path(uri: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RASTERLOOM_WORKSPACE", str(tmp_path / "ws"))
    copy = Copy(schema=pa.schema({"id": pa.string()}), metadata={}, batches=[pa.record_batch({"id": ["a"]})])
    doors = (open_workspace, local_path, lambda uri: export_collection(copy, uri), target_of, open_collection)
    for door in doors:
        with pytest.raises(SpecError, match=said) as told:
            door(uri)
        assert told.value.remedy
    assert list(tmp_path.iterdir()) == [], "nothing is written, in no directory of that name"


def test_an_s3_endpoint_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    workspace = open_workspace("s3://bucket/prefix", options={"region": "eu-west-1"})
    assert isinstance(workspace, BucketWorkspace)
    assert "localhost:9" in str(workspace.store.config)  # type: ignore[attr-defined]
    assert workspace.uri_of("a") == "s3://bucket/prefix/a"


def test_a_store_that_ignores_the_condition_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = BucketWorkspace(MemoryStore(), "s3://bucket/ws")
    monkeypatch.setattr(workspace, "_create", workspace.write)
    with pytest.raises(SpecError, match="ignores 'create only if absent'"):
        workspace.create("c/_commits/1.json", b"1")
    assert list(workspace.list("")) == []


def test_the_probe_is_made_once_and_leaves_nothing() -> None:
    workspace = BucketWorkspace(MemoryStore(), "s3://bucket/ws")
    workspace.create("a", b"1")
    workspace.create("b", b"1")
    assert [entry.key for entry in workspace.list("")] == ["a", "b"]
