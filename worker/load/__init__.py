"""Recorded events: from files, through a mapping, to the event topic."""

from worker.load.job import Summary, load
from worker.load.mapping import EventMapping, LabelRule
from worker.load.reading import BadRowError

__all__ = ["BadRowError", "EventMapping", "LabelRule", "Summary", "load"]
