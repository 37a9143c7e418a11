"""Free ports on the loopback interface."""

import contextlib
import random
import socket

LOOPBACK = "127.0.0.1"
# Below the ports that systems hand to outgoing connections (Linux from 32768, others from 49152). One of those could be
# taken by any client while its node is stopped, even by a client that connects to itself while it retries.
FIRST_PORT, LAST_PORT = 20_000, 32_000


def free_ports(count: int) -> list[int]:
    """Give `count` different ports that nobody listens on at this moment.

    Another process may take one before it is used: whoever starts a server there must be ready to ask again.
    """
    candidates = random.SystemRandom().sample(range(FIRST_PORT, LAST_PORT), LAST_PORT - FIRST_PORT)
    found: list[int] = []
    with contextlib.ExitStack() as held:
        for port in candidates:
            if len(found) == count:
                return found
            probe = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            found.append(port)
    raise OSError(f"fewer than {count} free ports between {FIRST_PORT} and {LAST_PORT} on {LOOPBACK}")
