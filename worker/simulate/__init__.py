"""Input to try things with: a planted stream of events, whose law and best possible loss are known."""

from worker.simulate.job import Summary, simulate
from worker.simulate.planted import Planted, PlantedBatch, Tally, Truth

__all__ = ["Planted", "PlantedBatch", "Summary", "Tally", "Truth", "simulate"]
