"""Log lines on standard error, as text for people or as JSON for machines.

Every record carries `extra={"action": ...}`: a short, stable word for what happened, to filter and to alert by. All
other `extra` fields are printed after the message. Nothing here hides secrets: none may be logged.
"""

import json
import logging
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

_STANDARD: Final = frozenset(vars(logging.LogRecord("", 0, "", 0, "", None, None))) | {"message", "asctime", "taskName"}


def setup(level: str, format: Literal["text", "json"], stream: TextIO | None = None) -> None:  # noqa: A002
    """Send every log record of this process to a stream, in place of wherever they went before.

    Args:
        level: the least that is printed: `debug`, `info`, `warning` or `error`. Of libraries nothing below `info` is:
            what they tell then is about themselves, and may be a secret.
        format: `text`, or `json` for one object a line.
        stream: standard error unless given.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(max(logging.INFO, logging.getLevelNamesMapping()[level.upper()]))
    logging.getLogger("worker").setLevel(level.upper())
    logging.captureWarnings(capture=True)


class TextFormatter(logging.Formatter):
    """One line: time, level, action, message, then `name=value` of every further field."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record; an exception follows on lines of its own."""
        fields = _fields(record)
        action = fields.pop("action")
        more = "".join(f" {name}={_word(value)}" for name, value in fields.items())
        line = f"{_time(record)} {record.levelname:<7} {action}: {_one_line(record.getMessage())}{more}"
        if record.exc_info:
            line += f"\n{self.formatException(record.exc_info)}"
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, action, message, and every further field by its own name."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record; an exception goes into `exception`."""
        told: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "action": "log",
            "message": record.getMessage(),
        }
        told.update((name, value) for name, value in _fields(record).items() if name == "action" or name not in told)
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str, ensure_ascii=False)


class Sparing(logging.Filter):
    """Lets one record of a kind pass in a while, and says how many like it were left out.

    librdkafka tells every failed connection attempt: a broker that is down would fill the disk with the same line.

    Args:
        kind: what makes two records alike.
        seconds: how long the others of a kind are left out.
        clock: seconds that only ever rise.
    """

    def __init__(
        self,
        kind: Callable[[logging.LogRecord], object],
        seconds: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._kind, self._seconds, self._clock = kind, seconds, clock
        self._passed: dict[object, float] = {}
        self._left_out: dict[object, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record passes."""
        kind, now = self._kind(record), self._clock()
        if now - self._passed.get(kind, -self._seconds) < self._seconds:
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return False
        self._passed[kind] = now
        left_out = self._left_out.pop(kind, 0)
        if left_out:
            record.left_out = left_out
        return True


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {"action": "log"} | {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _word(value: object) -> str:
    text = str(value)
    return text if text and text.isprintable() and not set(text) & set(' "=') else json.dumps(text, ensure_ascii=False)


def _one_line(text: str) -> str:
    return text.replace("\r", "\\r").replace("\n", "\\n")  # what a record of Kafka holds must not forge a line
