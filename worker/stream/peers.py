"""What the other shards add, read as they publish it: by a thread of its own, so that learning never waits for it."""

import logging
import threading
from types import TracebackType
from typing import Self

from confluent_kafka import Message

from worker.config import Config
from worker.errors import BrokerUnreachableError, HeadraceError, IncompatibleDataError
from worker.snapshot.assembler import Assembler
from worker.snapshot.records import read
from worker.stream.client import reader_settings
from worker.stream.contributions import folding_of, reached
from worker.stream.feed import Feed
from worker.stream.held import Held
from worker.stream.tail import Tail, TrimmedError

_LOG = logging.getLogger(__name__)
_POLL_SECONDS = 0.1


class Peers:
    """Reads what each shard adds, and holds it.

    Reading begins at the end of what is committed when the worker starts. A shard that is restored later reads what
    came before by itself, up to the end as it is then: the two overlap, and versions tell what is double.
    """

    def __init__(self, config: Config, partitions: int) -> None:
        self.held = Held(range(partitions))
        self._config = config
        self._factors = config.model.factors
        self._settings = reader_settings(config.kafka)
        self._assemblers = {shard: Assembler(config.model.name, shard) for shard in range(partitions)}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, name="peers", daemon=True)
        self._feed = Feed(self._settings, config.model.topic)

    def __enter__(self) -> Self:
        with Tail(self._settings, self._config.model.topic, 0) as reader:
            for shard in self._assemblers:
                tail = reader.of(shard)
                found = tail.last_manifest(readable=True)
                if found is None:
                    self._feed.start(shard, tail.bounds()[0])
                else:
                    newest = reached(*found)
                    self.held.begin(shard, newest)
                    self._feed.start(shard, newest.offset)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()
        self._feed.close()

    def _read(self) -> None:
        while not self._stopped.is_set():
            try:
                messages = self._feed.poll(_POLL_SECONDS)
            except HeadraceError as error:
                _LOG.warning("reading the other shards: %s", error, extra={"action": "peers"})
                continue
            for message in messages:
                self._take(message)
            for shard in list(self._feed.trimmed):
                self._reread(shard)

    def _reread(self, shard: int) -> None:
        """Go on at a shard's oldest base: its next record was trimmed. If that fails, the next turn tries again."""
        _LOG.info("shard %d was trimmed meanwhile", shard, extra={"action": "peers", "shard": shard})
        try:
            with Tail(self._settings, self._config.model.topic, shard) as tail:
                found = tail.last_manifest(readable=True)
                offset = found[0].bases[0].offset if found is not None else tail.bounds()[0]
        except (BrokerUnreachableError, TrimmedError) as error:
            _LOG.warning("shard %d: %s", shard, error, extra={"action": "peers", "shard": shard})
            return
        self._assemblers[shard].drop()
        self._feed.start(shard, offset)

    def _take(self, message: Message) -> None:
        shard = message.partition()
        assembler = self._assemblers[shard]
        try:
            version = assembler.feed(read(message.value(), message.headers()), message.offset())
            folding = folding_of(version, self._factors) if version is not None else None
        except IncompatibleDataError as error:
            assembler.drop()
            _LOG.error(
                "what shard %d has added cannot be folded in: %s",
                shard,
                error,
                extra={"action": "peers", "shard": shard},
            )
            return
        if version is not None and folding is not None:
            self.held.add(version.manifest, folding)
