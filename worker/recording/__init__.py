"""Recorded topics: records in files, as they stood in Kafka. Knows nothing of a Kafka client."""

from worker.recording.reading import Recording
from worker.recording.records import Records

__all__ = ["Recording", "Records"]
