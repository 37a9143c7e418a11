"""The one error tree: a branch per exit code, each message saying what was wrong, where, and what to do."""


class HeadraceError(Exception):
    """Something went wrong that the caller can act on."""

    exit_code = 1


class RejectedEventError(HeadraceError):
    """An event cannot be read; the message says why, `reason` is the word that dead letters carry for it."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class ConfigurationError(HeadraceError):
    """The configuration cannot be used as it stands; run `headrace config check`."""

    exit_code = 2


class BrokerUnreachableError(HeadraceError):
    """No Kafka broker answered in time; run `headrace doctor`."""

    exit_code = 3


class IncompatibleDataError(HeadraceError):
    """What is stored in Kafka does not fit this worker: nothing was written."""

    exit_code = 4


class CorruptSnapshotError(IncompatibleDataError):
    """A record of the model topic is not what its writer sent."""


class DamagedRecordingError(IncompatibleDataError):
    """The files of a recording are damaged, incomplete, or not those of one topic: nothing was read from them."""


class FencedError(HeadraceError):
    """Another member of the group took over: this process must not write any more."""

    exit_code = 5


class StalledError(HeadraceError):
    """The loop made no progress for longer than `run.stall_seconds`."""

    exit_code = 6


class StorageError(HeadraceError):
    """Files cannot be written or read: the disk is full, or the store does not answer. What has its name is whole."""

    exit_code = 7
