"""What Prefect logs of a run: without secrets, also in the traceback of a foreign exception, and our own errors without a traceback."""

from __future__ import annotations

import logging

from prefect.exceptions import ParameterTypeError

from rasterloom.access.network.redact import redact
from rasterloom.errors import RasterloomError

RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")
"""Where Prefect logs what happens in a run, a failed task's traceback too."""


_AGAIN = "Engine execution exited with unexpected exception"
"""What Prefect's engine says of an exception that it has logged before, when it was raised in the flow."""


class Redacting(logging.Filter):
    """Lets every record through, without secrets; an error of ours as its message, which says all that a user can do about it."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, RasterloomError | ParameterTypeError) and not logging.getLogger(record.name).isEnabledFor(logging.DEBUG):
            if record.msg == _AGAIN and isinstance(error, RasterloomError):
                return False
            record.msg, record.args, record.exc_info = f"{type(error).__name__}: {error}", (), None
        record.msg, record.args = redact(record.getMessage()), ()
        if record.exc_info and record.exc_info[0] is not None:
            record.exc_text = redact(logging.Formatter().formatException(record.exc_info))
            record.exc_info = None  # a handler would format it again
        return True


_REDACTING = Redacting()


def hide_secrets_in_logs() -> None:
    """For the rest of the process, from before the first flow of it: adding the same filter again changes nothing."""
    for name in RUN_LOGGERS:
        logging.getLogger(name).addFilter(_REDACTING)
