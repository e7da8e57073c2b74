"""What holds for every test: no state of the user is read or written, and no credentials of the machine are seen.

Prefect reads its settings when it is first imported, so its home is moved here, before any test module is collected.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.waiting import ends_of_logs

ROOT = Path(__file__).resolve().parent.parent
FOREIGN = ("PREFECT_", "RASTERLOOM_", "AWS_", "AZURE_", "GOOGLE_", "EARTHDATA_", "GDAL_", "CPL_")


def _isolate() -> Path:
    home = Path(tempfile.mkdtemp(prefix="rasterloom-tests-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        del os.environ[name]
    os.environ.update(
        PREFECT_HOME=str(home / "prefect"),
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        DO_NOT_TRACK="1",
        RASTERLOOM_WORKSPACE=str(home / "workspace"),
        MPLBACKEND="Agg",
        MPLCONFIGDIR=str(home / "matplotlib"),
        NO_PROXY="localhost,127.0.0.1,::1",
        no_proxy="localhost,127.0.0.1,::1",
        AWS_EC2_METADATA_DISABLED="true",
    )
    return home


HOME = _isolate()
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # of a shell that runs us in the background; programs that we start inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A shared machine stalls: what an example, or making it, costs in time says nothing about the code. A change is judged by the same
# examples each time (CI is set there); elsewhere every run looks for new ones.
SLOW = [HealthCheck.too_slow]
settings.register_profile("house", deadline=None, print_blob=True, derandomize="CI" in os.environ, suppress_health_check=SLOW)
settings.load_profile("house")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    """With a test that fails, what the servers and workers that it uses have written."""
    report = yield
    if report.failed:
        report.sections.extend((f"End of {name}", text) for name, text in ends_of_logs())
    return report


@pytest.fixture(scope="session")
def root() -> Path:
    """The project root, which is the package."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real scenes beside the checkout (`../shared`), which are too large to ship; a test that needs them is skipped without."""
    path = ROOT.parent / "shared"
    if not (path / "data").is_dir():
        pytest.skip("no ../shared/data beside the checkout")
    return path
