"""Runs a broker in the foreground: `python -m deploy.broker [--nodes 3]`, Ctrl-C ends it."""

import argparse
import signal
import sys

from deploy.broker.launch import broker
from worker.errors import HeadraceError


def main() -> int:
    """Start, print the bootstrap servers alone on a line of standard output, wait for SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m deploy.broker", description="Run a Kafka broker until Ctrl-C.")
    parser.add_argument("--nodes", type=int, default=1, help="how many nodes; default 1")
    nodes = parser.parse_args().nodes
    if nodes < 1:
        parser.error("--nodes must be at least 1")
    # Like Ctrl-C, so that the end of a `kill` is as orderly.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with broker(nodes) as kafka:
            print(kafka.bootstrap_servers, flush=True)
            while True:
                signal.pause()
    except KeyboardInterrupt:
        return 0
    except HeadraceError as error:
        print(f"broker: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
