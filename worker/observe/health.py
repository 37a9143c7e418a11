"""Whether the loop still turns: for probes to ask, and for a watchdog to act on."""

import faulthandler
import sys
import threading
from collections.abc import Callable
from typing import TextIO


class Health:
    """What the loop says of itself; any thread may ask.

    Args:
        stall_seconds: alive means that the last beat is younger than this.
        clock: seconds that only ever rise, such as `time.monotonic`.
    """

    def __init__(self, stall_seconds: float, clock: Callable[[], float]) -> None:
        self.stall_seconds = stall_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._last_beat = clock()  # being made counts: a process has as long to its first turn as to any other
        self._ready = False
        self._reason = "starting"

    def beat(self) -> None:
        """Say that the loop has turned, or that a long step of it (a restore, say) has come on."""
        with self._lock:
            self._last_beat = self._clock()

    def set_ready(self, ready: bool, reason: str = "") -> None:
        """Say whether the loop does its work, and if not, what it waits for."""
        with self._lock:
            self._ready, self._reason = ready, reason

    def silent_seconds(self) -> float:
        """Give the time since the last beat."""
        with self._lock:
            return self._clock() - self._last_beat

    def why_not_alive(self) -> str | None:
        """Say why the process should be restarted; None while it is alive."""
        silent = self.silent_seconds()
        if silent < self.stall_seconds:
            return None
        return f"the loop has not turned for {silent:.1f} s; the limit is run.stall_seconds = {self.stall_seconds:g}"

    def why_not_ready(self) -> str | None:
        """Say what the process waits for; None while it is ready and alive."""
        with self._lock:
            ready, reason = self._ready, self._reason
        return self.why_not_alive() or (None if ready else reason or "not ready")


class Watchdog:
    """A thread that dumps every stack and calls a function once, when the loop has stalled.

    Args:
        health: what to watch.
        on_stall: is given the reason, on the watchdog's thread. Ending the process is its business: the loop's thread
            hangs and can be asked for nothing.
        stacks: where the stacks go; it must have a file descriptor. Standard error unless given.
    """

    def __init__(self, health: Health, on_stall: Callable[[str], None], stacks: TextIO | None = None) -> None:
        self._health = health
        self._on_stall = on_stall
        self._stacks = stacks or sys.stderr
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; on return the thread has ended."""
        self._stopped.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()

    def _watch(self) -> None:
        # A tenth of the limit: a stall is told at most that much late, and looking costs nothing.
        while not self._stopped.wait(self._health.stall_seconds / 10):
            reason = self._health.why_not_alive()
            if reason is not None:
                faulthandler.dump_traceback(file=self._stacks, all_threads=True)
                self._on_stall(reason)
                return
