"""The follower: a reader of the model topic that holds a live model to score with."""

from worker.follow.follower import Follower, Scores, Served

__all__ = ["Follower", "Scores", "Served"]
