"""Versions that are not to be served: kept in order until one is that may be, as far as they take little room."""

from typing import Final

from worker.snapshot.assembler import Version
from worker.snapshot.lineage import require_next

# Of a shard. Applying so much keeps scores waiting for tenths of a second; more is read anew, beside what is served.
MOST_BYTES: Final = 16_777_216


class Withheld:
    """The versions of a shard that came after the one that is served, each after the one before."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.versions: list[Version] = []
        self._most_bytes, self._bytes = most_bytes, 0
        self._last: tuple[int, str] | None = None

    @property
    def whole(self) -> bool:
        """Tell whether all of them are there; else the shard has to be read anew from a base."""
        return self._bytes <= self._most_bytes

    def require_next(self, shard: int, served: tuple[int, str], version: Version) -> None:
        """Refuse a version that does not follow the last one that is kept; that is served where there is none.

        Raises:
            GapError: saying what is missing.
        """
        require_next(shard, *(self._last or served), version.manifest)

    def add(self, version: Version) -> None:
        """Keep a version; all of them go once they are too many."""
        self.versions.append(version)
        self._last = version.manifest.version, version.chain
        self._bytes += sum(part.bytes for part in version.manifest.records)
        if not self.whole:
            self.versions.clear()

    def clear(self) -> None:
        """Forget them."""
        self.versions.clear()
        self._bytes, self._last = 0, None
