"""Where the tasks of a build run: threads of this process, other processes of this machine, or a Dask or Ray cluster.

The tasks and what they are given are the same everywhere. What they remember stands in the workspace, which all of them must reach.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator
from concurrent.futures import BrokenExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from multiprocessing import current_process
from typing import Any, cast

from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext, SyncClientContext
from prefect.futures import PrefectFuture
from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner
from prefect.tasks import Task
from prefect.utilities.annotations import quote

from rasterloom.access.network.redact import redact
from rasterloom.errors import SpecError, Unavailable
from rasterloom.specs.effort import Effort
from rasterloom.tasks.settings import server_named, worker_environment

BATCHES_AT_ONCE = 2
"""Batches under way in one process: while one writes its file or waits for its slowest host, the other one asks."""
PROCESSES = 4
"""Of a cluster that a run starts for itself, at the most: each brings a Prefect of its own (some 200 MB)."""

Future = PrefectFuture[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A started task runner."""

    runner: TaskRunner[Future]
    processes: int
    at_once: int = BATCHES_AT_ONCE
    """Batches under way in each process."""
    apart: bool = True
    """Whether the tasks run in other processes than the flow."""
    broken: tuple[type[BaseException], ...] = ()
    """What futures raise where a worker is gone, and not the task's own error."""

    @property
    def batches(self) -> int:
        """Batches under way at once in all."""
        return self.processes * self.at_once

    def submit(self, step: Task[Any, Any], **parameters: Any) -> Future:
        """Quoted in threads: Prefect would look for futures in every shard of the plan, for every task. Dask takes a quote apart."""
        return self.runner.submit(step, parameters=parameters if self.apart else {name: quote(value) for name, value in parameters.items()})

    def prepared(self, step: Task[Any, Any]) -> Task[Any, Any]:
        """The task as this runner wants it. In other processes Prefect remembers nothing: its records would lie on whatever machine
        they were made on, and the workspace holds the same."""
        return step.with_options(cache_policy=NO_CACHE, persist_result=False) if self.apart else step

    def result(self, future: Future) -> Any:
        """What the task gave. Raises its error, and Unavailable where its worker is gone."""
        try:
            return future.result()
        except self.broken as error:
            message = f"a worker process is gone: {redact(f'{type(error).__name__}: {error}')[:300]}"
            remedy = "look at its log, give it more memory, or lower build.max_concurrent; what was read is remembered: run again"
            raise Unavailable(message, remedy=remedy) from error


def check_runner(effort: Effort) -> None:
    """Raises SpecError where the spec's runner needs packages that are not installed here, or cannot be started from here."""
    modules = {"dask": ("prefect_dask", "distributed"), "ray": ("prefect_ray", "ray")}.get(effort.runner, ())
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        message = f"`run.runner: {effort.runner}` needs {' and '.join(missing)}, which this Python does not have"
        raise SpecError(message, remedy=f'pip install "rasterloom[{effort.runner}]"')
    if effort.runner != "threads" and getattr(current_process(), "_inheriting", False):
        message = f"`run.runner: {effort.runner}` starts processes, which import the script that they are started from, and it begins anew"
        raise SpecError(message, remedy='put what the script does under `if __name__ == "__main__":`')


@contextmanager
def opened(effort: Effort) -> Generator[Pool]:
    """For the block, the pool of the spec's runner; inside a flow run.

    Raises SpecError as `check_runner`, and Unavailable where the cluster cannot be reached.
    """
    check_runner(effort)
    with ExitStack() as stack:
        if effort.runner == "threads":
            yield Pool(runner=_of_the_flow(), processes=1, apart=False)
            return
        stack.enter_context(_server_named())
        yield _OPENED[effort.runner](stack, effort)


def _of_the_flow() -> TaskRunner[Future]:
    context = FlowRunContext.get()
    assert context is not None, "a pool belongs to a flow run"
    return context.task_runner


@contextmanager
def _server_named() -> Generator[None]:
    """For the block, the address of the API stands in the settings that travel with tasks: a worker process would start a temporary
    server of its own."""
    client = SyncClientContext.get()
    if server_named() or client is None:
        yield
        return
    with temporary_settings({PREFECT_API_URL: str(client.client.api_url)}):
        yield


def _processes(stack: ExitStack, effort: Effort) -> Pool:  # noqa: ARG001  (one signature for all)
    count = get_current_settings().tasks.runner.process_pool_max_workers or min(PROCESSES, os.cpu_count() or 1)
    runner = ProcessPoolTaskRunner(max_workers=count, initializer=_set, initargs=(worker_environment(),))
    stack.enter_context(runner)
    return Pool(runner=cast("TaskRunner[Future]", runner), processes=count, at_once=1, broken=(BrokenExecutor,))


def _set(variables: dict[str, str]) -> None:
    os.environ.update(variables)


def _dask(stack: ExitStack, effort: Effort) -> Pool:
    distributed, prefect_dask = _extra("distributed"), _extra("prefect_dask")
    local: dict[str, Any] = {
        "n_workers": min(PROCESSES, os.cpu_count() or 1),
        "threads_per_worker": BATCHES_AT_ONCE,
        "dashboard_address": None,
        "env": worker_environment(),
    }
    given = {"address": effort.runner_address} if effort.runner_address else {"cluster_kwargs": local}
    runner = prefect_dask.DaskTaskRunner(**given)
    try:
        stack.enter_context(runner)
        threads = list(runner.client.nthreads().values())
    except (OSError, TimeoutError) as error:
        raise _unreachable(effort, error) from error
    if not threads:
        raise _unreachable(effort, TimeoutError("the cluster has no workers"))
    broken = (distributed.scheduler.KilledWorker, distributed.client.FutureCancelledError)
    return Pool(runner=runner, processes=len(threads), at_once=min(BATCHES_AT_ONCE, *threads), broken=broken)


def _ray(stack: ExitStack, effort: Effort) -> Pool:
    ray, prefect_ray = _extra("ray"), _extra("prefect_ray")
    local: dict[str, Any] = {"include_dashboard": False, "num_cpus": min(PROCESSES, os.cpu_count() or 1)}
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "runtime_env": {"env_vars": worker_environment()}}
    kwargs = quiet | ({} if effort.runner_address else local)
    runner = prefect_ray.RayTaskRunner(address=effort.runner_address, init_kwargs=kwargs)
    try:
        stack.enter_context(runner)
        slots = int(ray.cluster_resources().get("CPU", 1))
    except (OSError, RuntimeError, ray.exceptions.RayError) as error:
        raise _unreachable(effort, error) from error
    return Pool(runner=runner, processes=max(1, slots), at_once=1, broken=(ray.exceptions.RayError,))


_OPENED = {"processes": _processes, "dask": _dask, "ray": _ray}


def _extra(module: str) -> Any:
    """Untyped, and imported for those who ask for it: `rasterloom[dask]` and `rasterloom[ray]` are extras."""
    return import_module(module)


def _unreachable(effort: Effort, error: Exception) -> Unavailable:
    where = f"at {redact(effort.runner_address)}" if effort.runner_address else "of this machine"
    message = f"the {effort.runner} cluster {where} cannot be used: {redact(str(error))[:300]}"
    return Unavailable(message, remedy="look whether its scheduler and workers run, and whether run.address is right")
