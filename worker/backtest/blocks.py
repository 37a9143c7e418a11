"""What a run measured by blocks of time: sums that runs over the same events are compared by.

Blocks follow one another without a gap and hold about as many events each; there are few enough to keep the histogram
of scores of every one of them, so that areas under ROC curves of resampled blocks can be told.
"""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from worker.errors import IncompatibleDataError
from worker.files import write_whole
from worker.quality.progress import BINS, EVENTS, LABEL, LOSS, WEIGHT, Progress


@dataclass(kw_only=True, eq=False)
class Blocks:
    """Sums of n blocks.

    `sums` [n, 6], `histogram` [n, 2, BINS]: each as those of `worker.quality.progress.Progress`.
    """

    logistic: bool
    sums: NDArray[np.float64]
    histogram: NDArray[np.float64]

    @classmethod
    def empty(cls, blocks: int, *, logistic: bool) -> Self:
        """Begin with nothing."""
        return cls(logistic=logistic, sums=np.zeros((blocks, 6)), histogram=np.zeros((blocks, 2, BINS)))

    def add(
        self,
        block: int,
        observed: NDArray[np.float32],
        labels: NDArray[np.float32],
        weights: NDArray[np.float32],
    ) -> None:
        """Add n events to a block: predictions [n], labels [n], weights [n]."""
        # Views: `add` writes into them.
        Progress(logistic=self.logistic, sums=self.sums[block], histogram=self.histogram[block]).add(
            observed, labels, weights
        )

    def merge(self, other: "Blocks") -> None:
        """Add those of other events."""
        self.sums = self.sums + other.sums
        self.histogram = self.histogram + other.histogram

    @property
    def whole(self) -> Progress:
        """Give the sums over all of them."""
        return Progress(logistic=self.logistic, sums=self.sums.sum(axis=0), histogram=self.histogram.sum(axis=0))

    @property
    def weights(self) -> NDArray[np.float64]:
        """Give the weight [n] of each."""
        return self.sums[:, WEIGHT]

    @property
    def losses(self) -> NDArray[np.float64]:
        """Give the weighted loss [n] of each."""
        return self.sums[:, LOSS]

    def same_events(self, other: "Blocks") -> bool:
        """Tell whether both measured the same events, as far as their numbers, weights and labels can tell."""
        if self.sums.shape != other.sums.shape:
            return False
        columns = [EVENTS, WEIGHT, LABEL]
        # Sums of the same labels in another order may end in other bits, where labels or weights are no whole numbers.
        return np.allclose(self.sums[:, columns], other.sums[:, columns], rtol=1e-9, atol=1e-9)

    def write(self, path: Path) -> None:
        """Write them; a reader sees all of it or what was there before.

        Raises:
            HeadraceError: the file cannot be written.
        """
        content = io.BytesIO()
        np.savez_compressed(
            content, logistic=np.array(self.logistic), sums=self.sums, histogram=self.histogram, allow_pickle=False
        )
        write_whole(path, content.getvalue())

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read them.

        Raises:
            IncompatibleDataError: that is not what the file holds.
        """
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as found:
                sums, histogram = found["sums"], found["histogram"]
                logistic = bool(found["logistic"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise IncompatibleDataError(f"{path} does not hold what a run has measured: remove it") from error
        if sums.shape != (len(sums), 6) or histogram.shape != (len(sums), 2, BINS):
            raise IncompatibleDataError(f"{path} holds sums of another release: remove it")
        return cls(logistic=logistic, sums=sums.astype(np.float64), histogram=histogram.astype(np.float64))
