"""Several configurations over one recording: which one predicts best, and is that more than chance?"""

from worker.backtest.candidates import Candidate, from_files
from worker.backtest.job import Backtest
from worker.backtest.outcome import Outcome
from worker.backtest.ranking import Ranked

__all__ = ["Backtest", "Candidate", "Outcome", "Ranked", "from_files"]
