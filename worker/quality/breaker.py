"""The poison breaker: whether a block of events may be learned, by what it says before it is."""

import math
from dataclasses import dataclass
from typing import Final, Literal

BASE_RATE, REJECTED, UNKNOWN = "base_rate", "rejected", "unknown"
REASONS: Final = (BASE_RATE, REJECTED, UNKNOWN)  # in metrics
# A part of a block is refused only where chance would hardly do it: by so many standard deviations, and so many events.
_DEVIATIONS, _EVENTS = 4.0, 4.0


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What is counted of some events; the counts of two parts add up."""

    events: int = 0  # all of them, bad ones too
    valid: int = 0  # that may be learned
    labels: float = 0.0  # sum over the valid ones
    rejected: int = 0
    values: int = 0  # of features, in valid events
    unknown: int = 0  # of these, without a row

    def __add__(self, other: "Tally") -> "Tally":
        """Count both."""
        return Tally(
            events=self.events + other.events,
            valid=self.valid + other.valid,
            labels=self.labels + other.labels,
            rejected=self.rejected + other.rejected,
            values=self.values + other.values,
            unknown=self.unknown + other.unknown,
        )


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is wrong with a block."""

    reason: str  # one of REASONS
    text: str


@dataclass(frozen=True, kw_only=True)
class Breaker:
    """Bounds on what is counted of a block; None where there is no bound."""

    events: int  # of a block
    seconds: float  # so long events wait for a block to be complete
    resume: Literal["command", "sane"] = "command"
    base_rate: tuple[float, float] | None = None  # mean label, lowest and highest
    rejected_share: float | None = None  # of all events, at most
    unknown_share: float | None = None  # of values, at most

    def faults(self, tally: Tally) -> list[Fault]:
        """Say what is out of bounds in a block, or in the part of one that is there so far.

        A part may be out of bounds by as much as chance does; so may a block of which less than half is judged, since
        the rest is bad, or passed over.
        """
        whole, found = tally.events >= self.events, list[Fault]()

        def beyond(share: float, bound: float, events: int) -> bool:
            """Tell whether a share of some events is higher than a bound."""
            exact = whole and 2 * events >= self.events
            slack = 0.0 if exact else (_DEVIATIONS * math.sqrt(bound * (1.0 - bound) * events) + _EVENTS) / events
            return share > bound + slack

        if self.base_rate is not None and tally.valid:
            rate, (low, high) = tally.labels / tally.valid, self.base_rate
            if beyond(rate, high, tally.valid) or beyond(1.0 - rate, 1.0 - low, tally.valid):
                text = f"the mean label of {tally.valid} events is {rate:.4g}, outside {low:g} to {high:g}"
                found.append(Fault(reason=BASE_RATE, text=text))
        if self.rejected_share is not None and (all_of_them := tally.valid + tally.rejected):
            share = tally.rejected / all_of_them
            if beyond(share, self.rejected_share, all_of_them):
                text = f"{share:.1%} of {all_of_them} events are bad records, more than {self.rejected_share:.1%}"
                found.append(Fault(reason=REJECTED, text=text))
        if self.unknown_share is not None and tally.values:
            share = tally.unknown / tally.values
            if beyond(share, self.unknown_share, tally.valid):  # values of one event go together
                text = f"{share:.1%} of the values of {tally.valid} events are new, more than {self.unknown_share:.1%}"
                found.append(Fault(reason=UNKNOWN, text=text))
        return found
