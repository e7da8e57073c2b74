"""The order of work: Prefect flows that compose tasks and report. No I/O of their own."""

import rasterloom.tasks as _tasks  # before any module of this room imports Prefect: see there

__all__: list[str] = []
del _tasks
