"""The follower: a reader of the model topic that holds a live model to score with."""

from worker.follow.explanation import Explanation, FieldShare, PairShare, Row
from worker.follow.follower import Follower, Scores, Served
from worker.follow.moved import Moved

__all__ = ["Explanation", "FieldShare", "Follower", "Moved", "PairShare", "Row", "Scores", "Served"]
