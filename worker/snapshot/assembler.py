"""Records become whole versions again, or a reason why not."""

from dataclasses import dataclass, field

from worker.errors import CorruptSnapshotError
from worker.snapshot.manifest import Manifest
from worker.snapshot.records import Kind, Record


@dataclass(frozen=True, kw_only=True)
class Version:
    """All records of one version of a shard, each true to its checksum and to the manifest."""

    manifest: Manifest
    chain: str  # this version's link of the digest chain
    offset: int  # of its first record
    manifest_offset: int
    data: list[Record] = field(repr=False)

    def of_kind(self, kind: Kind) -> list[Record]:
        """Give the data records of a kind, in their order."""
        return [record for record in self.data if record.kind is kind]


class Assembler:
    """Collects the records of one partition of the model topic, in offset order, into versions."""

    def __init__(self, model: str, shard: int) -> None:
        self.model = model
        self.shard = shard
        self._data: list[Record] = []
        self._offset = 0
        self._dropping = False

    @property
    def begun(self) -> int | None:
        """Number of the version of which some records have come, and not yet the manifest."""
        return self._data[0].version if self._data else None

    def feed(self, record: Record, offset: int) -> Version | None:
        """Take the next record; gives a version when it closes one.

        Raises:
            CorruptSnapshotError: the version it closes is not whole, or it belongs elsewhere. The next version can be
                read all the same.
        """
        if record.model != self.model or record.shard != self.shard:
            self._data = []
            raise CorruptSnapshotError(
                f"{record.name} of the model {record.model} lies in partition {self.shard} of the model {self.model}: "
                "who else writes to this topic?"
            )
        if self._dropping:
            self._dropping = record.sequence != 0 and record.kind is not Kind.MANIFEST
            if record.sequence != 0:
                return None  # of the version that is given up
        if self._data and self._data[0].version != record.version:
            self._data = []  # the version before was cut off at the start of what we read, or lost its manifest
        if record.kind is not Kind.MANIFEST:
            if not self._data:
                self._offset = offset
            self._data.append(record)
            return None
        data, self._data = self._data, []
        manifest = Manifest.decode(record.value)
        told = [(part.sequence, part.kind, part.checksum) for part in manifest.records]
        read = [(part.sequence, part.kind, part.checksum) for part in data]
        if told != read:
            raise CorruptSnapshotError(
                f"version {manifest.version} of shard {self.shard} has {len(told)} data records by its manifest, "
                f"{len(read)} came, {len([part for part in told if part not in read])} are missing or changed"
            )
        return Version(
            manifest=manifest,
            chain=Manifest.link(record.value),
            offset=self._offset if data else offset,
            manifest_offset=offset,
            data=data,
        )

    def drop(self) -> None:
        """Give up the version begun, since a record of it could not be read: what is left of it is passed over."""
        self._data, self._dropping = [], True
