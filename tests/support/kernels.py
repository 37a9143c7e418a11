"""Names the kernels that are still compiled after `warm.compile_all`: run as a program, in a process of its own."""

import sys

import numpy as np
from numba.core.dispatcher import Dispatcher

from tests.support.lineage import NOW, Writer, events, versions
from worker import warm
from worker.events.decode import Decoder
from worker.events.features import Features
from worker.events.partition import partition_of
from worker.snapshot.lineage import advance, apply, verify
from worker.snapshot.state import ShardState


def variants() -> set[str]:
    """Name every kernel of the package, with each kind of arguments that it is compiled for."""
    kernels = {
        value
        for name, module in list(sys.modules.items())
        if name.startswith("worker.")
        for value in vars(module).values()
        if isinstance(value, Dispatcher)
    }
    return {f"{kernel.py_func.__module__}.{kernel.__name__}{kind}" for kernel in kernels for kind in kernel.signatures}


def work() -> None:
    """Do what a worker does from its first event to a restore, and what a follower does with its versions."""
    writer = Writer()
    for number in range(3):
        writer.learn(events(2_000, number, users=5_000))  # more than a table first has room for
        writer.commit()
    written = versions(writer.log, writer.learning)
    restored, followed = (ShardState.fresh(0, writer.learning) for _ in range(2))
    for version in written:
        apply(restored, version)
    verify(restored, writer.manifests[-1])
    apply(followed, written[0])
    for version in written[1:]:
        advance(followed, version)
    table = Decoder(writer.learning, labelled=False).decode(events(100, 9), np.full(100, NOW)).table
    followed.model.predict(Features(writer.learning).encode(table))
    partition_of(table["user"], 4, writer.learning.events.partitioner)


def main() -> None:
    warm.compile_all()
    before = variants()
    work()
    sys.stdout.writelines(f"{variant}\n" for variant in sorted(variants() - before))


if __name__ == "__main__":
    main()
