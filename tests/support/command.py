"""The `headrace` command within this process: all that one of its own does, but for the seconds that it takes to start.

Whatever has to do with processes (signals, terminals, what is printed before anything is imported) wants one. All else
is the same: arguments, environment and standard input in; output, errors and the exit code out.
"""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

from worker.cli import main


def headrace(
    *arguments: str | Path, environment: Mapping[str, str] | None = None, given: bytes = b"", folder: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a command as it would run in a folder, in this environment and what is added to it."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    command = [str(argument) for argument in arguments]
    stdin = io.TextIOWrapper(io.BytesIO(given), encoding="utf-8")
    code: object = None
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with (
        patch.dict(os.environ, environment or {}),
        patch.object(sys, "stdin", stdin),
        redirect_stdout(out),
        redirect_stderr(err),
        chdir(folder or Path.cwd()),
    ):
        try:
            main(command)
        except SystemExit as end:
            code = end.code
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)  # those of a command stay to the end of its process
    assert isinstance(code, int), f"it ended with {code!r}"
    return subprocess.CompletedProcess(command, code, out.buffer.getvalue(), err.buffer.getvalue())  # type: ignore[attr-defined]


def headrace_text(
    *arguments: str | Path, environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command, and give what it prints as text."""
    done = headrace(*arguments, environment=environment, folder=folder)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())
