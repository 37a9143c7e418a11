"""Rejected records of a run: how many by reason, and where a few of them are, with the beginning of what they hold."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from worker.evaluation.runlog import Example
from worker.events.rejects import Rejected
from worker.recording.records import Records

EXAMPLES: Final = 3  # by reason
_DETAIL = 200  # characters
_SHOWN = 120  # characters of a value
_WIDEST = 4  # bytes of a character


class Rejections:
    """Counts, and remembers the first few of every reason."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, list[Example]] = {}

    def add(self, records: Records, rejected: Sequence[Rejected]) -> None:
        """Take in what was rejected.

        Args:
            records: that were handed in, of one shard.
            rejected: of them, as `worker.pipeline.Prepared` has it.
        """
        for bad in rejected:
            reason = str(bad.reason)
            self.counts[reason] += bad.events
            kept = self.examples.setdefault(reason, [])
            if len(kept) < EXAMPLES:
                value = records.values[bad.index].as_py() if bad.value is None else bad.value
                kept.append(
                    Example(
                        shard=records.partition, offset=int(records.offsets[bad.index]), detail=bad.detail[:_DETAIL],
                        value=None if value is None else shown(value),
                    )
                )  # fmt: skip

    def merge(self, other: "Rejections") -> None:
        """Add those of other shards."""
        self.counts += other.counts
        for reason, more in other.examples.items():
            self.examples[reason] = [*self.examples.get(reason, []), *more][:EXAMPLES]


def shown(value: bytes) -> str:
    r"""Give the beginning of a value as one line of text, what cannot be printed escaped; "…" where more follows.

    >>> print(shown(b'{"user":\n"\xc3\xa4\xff'))
    {"user":\n"ä\xff
    """
    text = value[: _WIDEST * (_SHOWN + 1)].decode("utf-8", "backslashreplace")
    line = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"
