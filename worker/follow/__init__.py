"""The follower: a reader of the model topic that holds a live model to score with."""

from worker.follow.explanation import Explanation, FieldShare, PairShare, Row
from worker.follow.follower import Follower
from worker.follow.moved import Moved
from worker.follow.scoring import Scores
from worker.follow.served import Served

__all__ = ["Explanation", "FieldShare", "Follower", "Moved", "PairShare", "Row", "Scores", "Served"]
