"""How a shard is watched, what an alarm changes, and what is not learned or served: the settings of `quality`."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from worker.section import Section

_MOST_SLICES = 32  # values of a feature
_LEAST_BLOCK = 100  # events that are judged together: of fewer, chance decides


class Quality(Section):
    """How a shard is watched, and what an alarm changes.

    Where it changes nothing, this decides nothing of what is learned: other settings go on with the same model.
    """

    false_alarm_every: int = Field(
        100_000_000,
        ge=0,
        description="events of the topic between two false alarms of drift, in the mean, by all detectors; 0 detects "
        "nothing",
    )
    response: Literal["alarm", "loosen"] = Field(
        "alarm",
        description="to an alarm of drift: it is told; with loosen, what the shard has learned also becomes less "
        "sure, and gives way to what is new. Kind gaussian only; then all of `quality` decides what is learned",
    )
    loosen_to: float = Field(
        10.0,
        gt=0,
        le=1_000_000,
        description="how much more precise than its prior a row stays at most when it is loosened, in units of that",
    )
    window: int = Field(
        20_000, ge=1_000, le=100_000_000, description="events of a shard over which values are told for people"
    )
    slices: dict[str, tuple[Annotated[str, Field(min_length=1)], ...]] = Field(
        {},
        max_length=8,
        description="told apart in metrics: up to 8 categorical features, of each up to 32 values, such as { device = "
        '["ios", "web"] }; all other values are `other`',
    )
    gate_entropy: float | None = Field(
        None,
        gt=0,
        examples=[1.0],
        description="a version is not served while the normalised entropy of its shard's last window is higher. Of the "
        "logistic loss",
    )
    gate_calibration: tuple[float, float] | None = Field(
        None,
        examples=[(0.8, 1.25)],
        description="the same while the calibration of that window is not within these two, such as [0.8, 1.25]",
    )

    freeze_events: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="a block of so many events of a shard is judged before it is learned, by the bounds below; 0 "
        "judges nothing",
    )
    freeze_base_rate: tuple[float, float] | None = Field(
        None,
        examples=[(0.01, 0.5)],
        description="the mean label of a block is within these two, or the block is refused. Of the logistic loss",
    )
    freeze_rejected_share: float | None = Field(
        None, ge=0, lt=1, examples=[0.5], description="this share of a block are bad records, at most"
    )
    freeze_unknown_share: float | None = Field(
        None,
        gt=0,
        lt=1,
        examples=[0.9],
        description="this share of a block's values of features have no row yet, at most; judged once 10 blocks are "
        "learned",
    )
    freeze_seconds: float = Field(
        10.0,
        gt=0,
        le=86_400,
        description="so long events wait for their block to be complete: then it is judged as it is",
    )
    freeze_resume: Literal["command", "sane"] = Field(
        "command",
        description="what follows a refused block: command learns no more of the shard until the worker is started "
        "with other bounds or `events.skip`, sane passes over blocks until one is within bounds",
    )

    @model_validator(mode="after")
    def _freezing(self) -> Self:
        bounds = ("freeze_base_rate", "freeze_rejected_share", "freeze_unknown_share")
        given = [name for name in bounds if getattr(self, name) is not None]
        if given and not self.freeze_events:
            raise ValueError(f"`{given[0]}` judges blocks of `freeze_events`: set it, to 2000 for instance")
        if self.freeze_events and not given:
            raise ValueError(f"`freeze_events` has nothing to judge by: set one or more of {', '.join(bounds)}")
        if 0 < self.freeze_events < _LEAST_BLOCK:
            raise ValueError(f"`freeze_events` = {self.freeze_events} are too few to judge: {_LEAST_BLOCK} or more")
        if self.freeze_base_rate is not None and not 0 <= self.freeze_base_rate[0] < self.freeze_base_rate[1] <= 1:
            raise ValueError("`freeze_base_rate` is the lowest and the highest mean label, such as [0.01, 0.5]")
        return self

    @field_validator("gate_calibration")
    @classmethod
    def _around_one(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not 0 <= value[0] < 1 < value[1]:
            raise ValueError(
                "must be the lowest and the highest calibration that is served, with 1, which is calibrated, between "
                "them: such as [0.8, 1.25]"
            )
        return value

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if 0 < self.false_alarm_every < self.window:
            raise ValueError(
                f"`false_alarm_every` = {self.false_alarm_every} is less than a window of {self.window} events: that "
                "would be alarms all the time. Raise it, or set 0 to detect nothing"
            )
        if self.response == "loosen" and not self.false_alarm_every:
            raise ValueError(
                '`response` = "loosen" answers alarms, and `false_alarm_every` = 0 detects nothing: set how rare a '
                'false alarm is to be, or `response` = "alarm"'
            )
        if self.response != "loosen" and self.loosen_to != type(self).model_fields["loosen_to"].default:
            raise ValueError('`loosen_to` is a setting of `response` = "loosen" and means nothing here: leave it out')
        for name, values in self.slices.items():
            if not 1 <= len(values) <= _MOST_SLICES:
                raise ValueError(f"`slices`: {name} has {len(values)} values, 1 to {_MOST_SLICES} can be told apart")
            if len({*values, "other"}) <= len(values):
                raise ValueError(f"`slices`: a value of {name} stands there twice, or is `other`, which all others are")
        return self
