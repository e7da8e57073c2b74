"""Secrets out of what Prefect logs of a run, the messages of foreign exceptions in a traceback among it."""

from __future__ import annotations

import logging

from rasterloom.access.redact import redact

RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")
"""Where Prefect logs what happens in a run, a failed task's traceback too."""


class Redacting(logging.Filter):
    """Lets every record through, without secrets."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), ()
        if record.exc_info and record.exc_info[0] is not None:
            record.exc_text = redact(logging.Formatter().formatException(record.exc_info))
            record.exc_info = None  # a handler would format it again
        return True


_REDACTING = Redacting()


def hide_secrets_in_logs() -> None:
    """For the rest of the process: adding the same filter again changes nothing."""
    for name in RUN_LOGGERS:
        logging.getLogger(name).addFilter(_REDACTING)
