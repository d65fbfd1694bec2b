"""Log lines: each begins with its time and ends with what it is about, such as the run that failed."""

from __future__ import annotations

import logging
import time

_FORM = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_EVERY_RECORDS = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime"})


class Lines(logging.Formatter):
    """Shows a record with its time in UTC, one of Folkmoot's own with the fields that it was logged with as `extra`."""

    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__(_FORM)
        self.converter = time.gmtime

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return a record's line, without its traceback.

        >>> fields = {"name": "folkmoot.runs", "levelname": "WARNING", "msg": "It failed"}
        >>> record = logging.makeLogRecord({**fields, "created": 0.25, "msecs": 250.0})
        >>> record.run_id = "run-1"
        >>> Lines().format(record)
        '1970-01-01T00:00:00.250Z WARNING folkmoot.runs: It failed (run_id=run-1)'
        """
        line = super().formatMessage(record)
        if not record.name.startswith("folkmoot"):
            return line
        about = [f"{name}={value}" for name, value in vars(record).items() if name not in _EVERY_RECORDS]
        return f"{line} ({', '.join(about)})" if about else line


def set_up(level: str) -> None:
    """Log our own lines from a level on, the libraries' only from warnings on."""
    handler = logging.StreamHandler()
    handler.setFormatter(Lines())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    for library in ("alembic", "httpx2", "mcp", "openai", "anthropic", "google_genai"):
        logging.getLogger(library).setLevel(logging.WARNING)
    for library in ("mcp", "client"):  # it tells at length, with what was said, what an error tells us anyway
        logging.getLogger(library).setLevel(logging.CRITICAL)
