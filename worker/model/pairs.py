"""Which pairs of fields take part in a Gaussian's logit: all of them, or some."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final

import numpy as np
from numpy.typing import NDArray

BIAS: Final = 0  # the number of the field that every event has
NO_EVENTS: Final = np.empty(0, np.int64)
NO_EVIDENCE: Final = np.empty(0, np.float32)


class Pairs:
    """Pairs of fields that take part, the same ones for ever.

    Args:
        fields: of an event, the bias among them.
        chosen: pairs of field numbers; all unless given.
    """

    def __init__(self, fields: int, chosen: Sequence[tuple[int, int]] | None = None) -> None:
        self.fields = fields
        self.left, self.right = (side.astype(np.int64) for side in np.triu_indices(fields, 1))
        self._in_force = np.ones(len(self.left), np.bool_)
        if chosen is not None:
            wanted = {(min(pair), max(pair)) for pair in chosen}
            every = zip(self.left.tolist(), self.right.tolist(), strict=True)
            self._in_force = np.fromiter((pair in wanted for pair in every), np.bool_, len(self.left))

    def in_force(self) -> NDArray[np.bool_]:
        """Tell of every pair, in the order of the upper triangle, whether it takes part, [F (F - 1) / 2]."""
        return self._in_force

    def lists(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Give the numbers of the left and of the right fields of the pairs that take part, by rising numbers."""
        some = self.in_force()
        return self.left[some], self.right[some]

    def matrix(self) -> NDArray[np.bool_]:
        """Tell the same of pairs by field numbers, in the upper triangle, [F, F]."""
        some = np.zeros((self.fields, self.fields), np.bool_)
        some[self.left, self.right] = self.in_force()
        return some

    def apply(
        self, means: NDArray[np.float32], precisions: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Give weights of pairs, [F, F] each, in which a pair that takes no part surely weighs nothing."""
        some = self.matrix()
        return np.where(some, means, np.float32(0)), np.where(some, precisions, np.float32(np.inf))

    def learning(self) -> AbstractContextManager[None]:
        """Have at hand, while events are learned, what `pieces`, `sampled`, `evidence` and `note` need."""
        return nullcontext()

    def pieces(self, events: slice) -> Iterator[slice]:
        """Cut events that are about to be learned wherever other pairs may take part after them."""
        yield events

    def sampled(self, n: int) -> NDArray[np.int64]:  # noqa: ARG002 - others sample some
        """Give the numbers of those among the next n events that are to be learned with all pairs."""
        return NO_EVENTS

    def evidence(self) -> NDArray[np.float32]:
        """Give the sums to which sampled events are to be added (`filtering`)."""
        return NO_EVIDENCE

    def note(self, n: int) -> None:
        """Take in that n events were learned."""

    def left_out(self) -> str:
        """Give the pairs that were dropped, and may be taken up again, as hexadecimal digits; empty where none can."""
        return ""
