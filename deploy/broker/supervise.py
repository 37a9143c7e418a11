"""Keeps broker processes and their folder, and outlives its parent just long enough to remove both.

Run as a program, by path, with the standard library alone. Its standard input is a pipe that only its parent holds:
however the parent ends, Ctrl-C and SIGKILL included, the pipe closes, and everything here goes away. It runs in a
session of its own, so that a signal to the terminal's foreground processes reaches the parent only.

Requests and answers are JSON, one a line. The first line out is {"folder": ...}; then, for each request, one answer:

    {"do": "start", "node": 1, "command": [...], "output": "file"}    -> {}
    {"do": "stop", "node": 1, "signal": 15, "seconds": 20}            -> {}
    {"do": "ended"}                                                   -> {"nodes": [2]}

A request that fails is answered by {"error": ...}.
"""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STDIN = 0
READ_BYTES = 65_536
# A process that the parent forked may hold the pipe open after the parent's death: so look who the parent is, too.
PARENT_CHECK_SECONDS = 1.0

Processes = dict[int, subprocess.Popen[bytes]]


def main() -> None:
    """Serve the parent until it is gone."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    folder = Path(tempfile.mkdtemp(prefix="headrace-kafka-"))
    processes: Processes = {}
    try:
        _answer({"folder": str(folder)})
        for request in _requests():
            _answer(_serve(request, processes))
    except BrokenPipeError:
        pass  # the parent ended before it read the answer
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for process in processes.values():
            process.kill()
        for process in processes.values():
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _requests() -> Iterator[dict[str, Any]]:
    """Give the parent's requests, until the pipe is closed or the parent is another."""
    parent = os.getppid()
    pending = b""
    while os.getppid() == parent:
        readable, _, _ = select.select([STDIN], [], [], PARENT_CHECK_SECONDS)
        if not readable:
            continue
        received = os.read(STDIN, READ_BYTES)
        if not received:
            return
        *lines, pending = (pending + received).split(b"\n")
        yield from map(json.loads, lines)


def _serve(request: dict[str, Any], processes: Processes) -> dict[str, Any]:
    try:
        match request["do"]:
            case "start":
                with Path(request["output"]).open("ab") as output:
                    processes[request["node"]] = subprocess.Popen(
                        request["command"], stdin=subprocess.DEVNULL, stdout=output, stderr=output
                    )
            case "stop":
                _stop(processes[request["node"]], request["signal"], request["seconds"])
            case "ended":
                return {"nodes": [node for node, process in processes.items() if process.poll() is not None]}
    except (OSError, LookupError) as error:
        return {"error": f"{request['do']}: {error!r}"}
    return {}


def _stop(process: subprocess.Popen[bytes], number: int, seconds: float) -> None:
    process.send_signal(number)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _answer(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
