"""What live workers measured: the log of a run, out of the versions that are kept in the model topic.

Every version carries the sums of how its shard has predicted; what a version adds to the one before is what was
measured in between. It stands at the version's watermark, the latest event time that was learned.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from worker.config import Config
from worker.errors import IncompatibleDataError
from worker.evaluation.configuration import changed
from worker.evaluation.evaluation import Evaluation
from worker.evaluation.runlog import RunLog
from worker.quality import layout
from worker.quality.progress import Progress
from worker.quality.watch import Watch, Watching
from worker.snapshot.assembler import Assembler, Version
from worker.snapshot.contents import decode_progress, decode_watch
from worker.snapshot.kinds import watching_of
from worker.snapshot.manifest import Manifest, learning_of
from worker.snapshot.records import Kind
from worker.stream.client import reader_settings
from worker.stream.feed import Feed
from worker.stream.tail import Tail, despite_trimming
from worker.watching import Quality


def measured(config: Config, name: str, progress: Callable[[int], None] = lambda _offsets: None) -> RunLog:
    """Read all versions that are kept, and give the log of what was measured in them.

    What was learned before the oldest of them is not in it: so far a shard's sums are where its log begins.

    Args:
        config: where the model is.
        name: of the run.
        progress: told how many offsets were passed since it was called last.

    Raises:
        IncompatibleDataError: there is no such topic, no version in it, or one that cannot be read.
        BrokerUnreachableError: no broker answers.
    """
    feed = Feed(reader_settings(config.kafka), config.model.topic)
    try:
        partitions = feed.partitions()
    finally:
        feed.close()
    shards = [despite_trimming(lambda shard=shard: _read(config, shard, progress)) for shard in range(partitions)]  # type: ignore[misc]
    found = [shard for shard in shards if shard.last is not None]
    lasts = [shard.last for shard in found if shard.last is not None]
    if not lasts:
        raise IncompatibleDataError(f"{config.model.topic} holds no version yet: is a worker running (`headrace run`)?")
    whole, *others = [shard.evaluation for shard in found if shard.evaluation is not None]
    for evaluation in others:
        whole.merge(evaluation)
    whole.least_width = min(shard.usual_step for shard in found) // 2  # so that every shard has its part in each
    began, ended = min(shard.began for shard in found), max(last.created for last in lasts)
    rejected, skipped = (Counter[str](), Counter[str]())
    for last in lasts:
        rejected.update(last.state.rejected)
        skipped.update(last.state.skipped)
    return RunLog.of(
        whole, name=name, mode="live", when=began, seconds=(ended - began) / 1_000,
        source=f"topic {lasts[0].input.topic}",
        configuration=changed(learning_of(lasts[0])), rejected=dict(rejected), skipped=dict(skipped), shards=partitions,
        digests={last.shard: last.state.digest for last in lasts},
    )  # fmt: skip


class _Shard:
    """The versions of one shard, one after the other."""

    def __init__(self, quality: Quality) -> None:
        self._quality = quality
        self.last: Manifest | None = None
        self.evaluation: Evaluation | None = None
        self.began = 0  # when the first one was made, milliseconds since 1970
        self._created = 0
        self._versions = 0
        self._watermarks: list[int] = []  # the first and the last one
        self._progress = Progress(logistic=True)
        self._watch: Watch | None = None

    def add(self, version: Version) -> None:
        manifest = version.manifest
        watching = watching_of(learning_of(manifest))
        self._created = manifest.created
        first = self.evaluation is None
        if self.evaluation is None:
            self.began = manifest.created
            # The slices of the present settings: `quality` may have changed on the way.
            learning = learning_of(manifest)
            if self._quality.slices.keys() <= learning.features.keys():
                learning = learning.model_copy(update={"quality": self._quality})
            self.evaluation = Evaluation.of(learning, lambda: self._created / 1_000)
            self._progress = Progress(logistic=watching.logistic)
        more = self._more(version, watching, self.evaluation.slicing.names)
        if manifest.version == 1 or not first:  # else nobody knows how much of it is new
            self.evaluation.add_sums(manifest.watermark or manifest.created, *more)
            if self._watch is not None:
                self.evaluation.note_alarms(manifest.shard, self._watch, more[0].events)
            self._versions += 1
            self._watermarks = [*self._watermarks[:1], manifest.watermark or manifest.created]
        self.last = manifest

    @property
    def usual_step(self) -> int:
        """Give how far in event time it is from one version to the next, in milliseconds."""
        return (self._watermarks[-1] - self._watermarks[0]) // max(1, self._versions - 1) if self._versions else 0

    def _more(
        self, version: Version, watching: Watching, slices_of: Sequence[tuple[str, str]]
    ) -> tuple[Progress, NDArray[np.float64] | None]:
        """Tell what it adds to the version before; of slices, where it tells those apart that are asked for."""
        (record,) = version.of_kind(Kind.PROGRESS)
        progress = decode_progress(record.value, logistic=watching.logistic)
        more, self._progress = progress - self._progress, progress
        slices = None
        for watch in (one for record in version.of_kind(Kind.WATCH) for one in decode_watch(record.value, watching)):
            before, self._watch = self._watch, watch
            if watching.slices.names != slices_of:
                continue
            goes_on = before is not None and before.watching.settings == watching.settings
            if before is not None and goes_on and before.words[layout.EVENTS] <= watch.words[layout.EVENTS]:
                slices = watch.slices - before.slices
            else:
                slices = watch.slices
        return more, slices


def _read(config: Config, shard: int, progress: Callable[[int], None]) -> _Shard:
    found = _Shard(config.quality)
    with Tail(reader_settings(config.kafka), config.model.topic, shard) as tail:
        assembler: Assembler | None = None
        begin, end = tail.bounds()
        passed = begin
        for record, offset in tail.records(begin):
            assembler = assembler or Assembler(record.model, shard)
            version = assembler.feed(record, offset)
            if version is not None:
                found.add(version)
            progress(offset + 1 - passed)
            passed = offset + 1
        progress(max(0, end - passed))
    return found
