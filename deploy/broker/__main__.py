"""Runs a broker in the foreground: `python -m deploy.broker [--nodes 3]`, Ctrl-C ends it."""

import argparse
import signal
import sys
import time

from deploy.broker.launch import broker
from worker.errors import HeadraceError

_LOOK_SECONDS = 1.0  # a signal that comes just before a wait does not end it


def main() -> int:
    """Start, print the bootstrap servers alone on a line of standard output, wait for SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m deploy.broker", description="Run a Kafka broker until Ctrl-C.")
    parser.add_argument("--nodes", type=int, default=1, help="how many nodes; default 1")
    nodes = parser.parse_args().nodes
    if nodes < 1:
        parser.error("--nodes must be at least 1")
    # Both like Ctrl-C, so that the end of a `kill` is as orderly; a shell's background jobs begin with it ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        with broker(nodes) as kafka:
            print(kafka.bootstrap_servers, flush=True)
            while True:
                time.sleep(_LOOK_SECONDS)
    except KeyboardInterrupt:
        return 0
    except HeadraceError as error:
        print(f"broker: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
