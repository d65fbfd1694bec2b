"""Log lines: each ends with what it is about, such as the run that failed."""

from __future__ import annotations

import logging

_FORM = "%(levelname)s %(name)s: %(message)s"
_EVERY_RECORDS = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime"})


class Lines(logging.Formatter):
    """Shows a record of Folkmoot's own with the fields that it was logged with as `extra`."""

    def __init__(self) -> None:
        super().__init__(_FORM)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return a record's line, without its traceback.

        >>> record = logging.makeLogRecord({"name": "folkmoot.runs", "levelname": "WARNING", "message": "It failed"})
        >>> record.run_id = "run-1"
        >>> Lines().formatMessage(record)
        'WARNING folkmoot.runs: It failed (run_id=run-1)'
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
