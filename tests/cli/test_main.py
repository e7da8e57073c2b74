"""Words, help, exit codes and how errors look."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rasterloom.cli import main as entry
from rasterloom.cli.commands import COMMANDS
from rasterloom.cli.main import main
from rasterloom.cli.parser import overview
from rasterloom.errors import AccessDenied, Refused, SpecError, Unavailable, Unreadable
from tests.cli.conftest import SPEC, spec_file

HEAVY = ("prefect", "pyarrow", "obstore", "pystac_client", "matplotlib", "rich", "numpy")


def program(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "rasterloom.cli.main", *words], capture_output=True, text=True, timeout=60, **options)


@pytest.mark.parametrize("words", [["--help"], ["-h"]])
def test_help_names_every_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    text = capsys.readouterr().out
    assert ended.value.code == 0
    assert all(f"\n  {name} " in text for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_examples_and_the_shared_options(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([name, "--help"])
    text = capsys.readouterr().out
    assert f"examples:\n  rasterloom {name}" in text
    assert all(option in text for option in ("--workspace", "--json", "--debug"))


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["validate", "SPEC"], ["init", "-"], ["datasets"], ["schema"], ["runn"]])
def test_light_commands_import_nothing_heavy(words: list[str], tmp_path: Path) -> None:
    words = [spec_file(tmp_path, "a") if word == "SPEC" else word for word in words]
    run = f"try: main({words!r})\nexcept SystemExit: pass"
    code = f"import sys\nfrom rasterloom.cli.main import main\n{run}\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert loaded & set(HEAVY) == set()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "usage: rasterloom"),
        (["runn"], "did you mean `rasterloom run`?"),
        (["colour", "x"], "the commands are init, validate"),
        (["snapshots", "x"], "no collection named 'x'"),
        (["rollback", "x", "one"], "invalid int value"),
        (["gc"], "gc needs the NAME of a collection, or --all"),
        (["gc", "x", "--all"], "gc needs the NAME of a collection, or --all"),
        (["verify", "x"], "no collection named 'x'"),
        (["run"], "the following arguments are required: SPEC"),
        (["list", "--jsn"], "unrecognized arguments: --jsn"),
        (["datasets", "drop"], "invalid choice: 'drop'"),
        (["datasets", "list", "x"], "`datasets list` takes no ID"),
        (["datasets", "info"], "needs the ID of a dataset"),
        (["demo", "--workspace", "x"], "--output DIR"),
        (["validate", "no-such.yaml"], "no-such.yaml: cannot be read"),
        (["validate", "."], "cannot be read: Is a directory"),
    ],
)
def test_wrong_words_end_with_2_and_a_remedy(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    seen = capsys.readouterr()
    assert said in seen.err
    assert seen.out == ""
    assert "Traceback" not in seen.err


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Makes the command `schema` raise."""

    def fail(error: BaseException) -> None:
        def command(_: object) -> int:
            raise error

        monkeypatch.setattr(entry, "_loaded", lambda _: command)

    return fail


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SpecError("m", remedy="r"), 2),
        (AccessDenied("m", remedy="r"), 3),
        (Unavailable("m", remedy="r"), 4),
        (Unreadable("m", reason="x", remedy="r"), 4),
        (Refused("m", remedy="r"), 5),
        (ZeroDivisionError("m"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_each_error_has_its_exit_code(
    error: BaseException, code: int, failing: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    failing(error)
    assert main(["schema"]) == code
    seen = capsys.readouterr()
    assert seen.err.startswith("rasterloom: ")
    assert "Traceback" not in seen.err
    assert code == 130 or "remedy: " in seen.err


def test_debug_shows_the_traceback(failing: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]) -> None:
    failing(ZeroDivisionError("m"))
    assert main(["schema", "--debug"]) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_an_error_under_json_is_one_document(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(SPEC.format(name="Not A Name"))
    assert main(["plan", str(path), "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["kind"], error["exit_code"]) == ("SpecError", 2)
    (problem,) = error["problems"]
    assert (problem["file"], problem["line"], problem["path"]) == (str(path), 2, "name")
    assert problem["remedy"]


@pytest.mark.skipif(os.name != "posix", reason="signals and pipes of POSIX")
def test_a_closed_pipe_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-m", "rasterloom.cli.main", "schema"], stdout=write, stderr=subprocess.PIPE, timeout=60)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(os.name != "posix", reason="signals and pipes of POSIX")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
@pytest.mark.parametrize(("words", "told"), [(["--version"], 1), (["schema"], 1), (["datasets", "info", "nope", "--json"], 2)])
def test_an_answer_that_cannot_be_written_is_told(words: list[str], told: int) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, "-m", "rasterloom.cli.main", *words], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == Unavailable.exit_code
    assert "the answer cannot be written to stdout" in done.stderr
    assert done.stderr.count("rasterloom:") == told
    assert "Traceback" not in done.stderr
    assert "bug" not in done.stderr


def test_without_a_stderr_nothing_but_the_document_is_on_stdout() -> None:
    words = [sys.executable, "-m", "rasterloom.cli.main", "datasets", "info", "nope", "--json"]
    done = subprocess.run(["sh", "-c", 'exec "$@" 2>&-', "sh", *words], stdout=subprocess.PIPE, text=True)
    assert json.loads(done.stdout)["error"]["kind"] == "SpecError"
    assert subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *words], stderr=subprocess.DEVNULL).returncode == SpecError.exit_code


def test_the_help_keeps_what_a_command_takes_from_what_it_does() -> None:
    for each in COMMANDS.values():
        assert f" {each.summary}" in overview()


def test_ctrl_c_ends_with_130(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.yaml"
    os.mkfifo(pipe)
    with (
        subprocess.Popen(
            [sys.executable, "-m", "rasterloom.cli.main", "validate", str(pipe)], stderr=subprocess.PIPE, text=True
        ) as running,
        pipe.open("w"),
    ):  # opens when the program has begun to read
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert said == "rasterloom: interrupted; what was committed before stands\n"


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    import rasterloom

    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == rasterloom.__version__


def test_what_a_terminal_cannot_show_is_no_bug(tmp_path: Path) -> None:
    words = ["list", "--workspace", str(tmp_path / "ünï 日本")]
    ascii_alone = os.environ | {"PYTHONIOENCODING": "ascii"}
    plain, document = program(*words, env=ascii_alone), program(*words, "--json", env=ascii_alone)
    assert (plain.returncode, document.returncode) == (0, 0)
    assert r"\xfcn\xef \u65e5\u672c" in plain.stdout
    assert json.loads(document.stdout)["workspace"] == words[2]
