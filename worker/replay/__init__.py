"""The same engine on recorded events: fresh, or as a published model was learned, to the bit."""

from worker.replay.job import Replay, Result
from worker.replay.source import Source
from worker.replay.verifying import Again, Verdict

__all__ = ["Again", "Replay", "Result", "Source", "Verdict"]
