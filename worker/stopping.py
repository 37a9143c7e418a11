"""How a process is asked to end: the first signal asks, the second insists, and a deadline stands behind both."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from worker.errors import StalledError

_LOG = logging.getLogger(__name__)


@contextmanager
def stop_on_signals(stopped: threading.Event, within_seconds: float) -> Iterator[None]:
    """Set an event at the first SIGTERM or SIGINT; end the process at the second, or that many seconds later."""

    def too_late() -> None:
        _LOG.error("not stopped within run.shutdown_seconds = %g", within_seconds, extra={"action": "shutdown"})
        os._exit(StalledError.exit_code)

    timer = threading.Timer(within_seconds, too_late)
    timer.daemon = True

    def note(number: int, _: FrameType | None) -> None:
        if stopped.is_set():
            os._exit(128 + number)  # asked twice: at once; what is not committed will be learned again
        stopped.set()
        timer.start()

    # They stay to the end of the process: one that is ending by itself, fenced say, keeps its own exit code when it is
    # asked to end meanwhile.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, note)
    try:
        yield
    finally:
        timer.cancel()
