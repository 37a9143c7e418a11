"""What decides which bits are learned from which events: events, features, and with them all other such settings.

It travels in every manifest, so that a worker refuses a model that was learned differently and a follower needs no
configuration of its own.
"""

import math
import re
from datetime import datetime
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from worker.modelling import Model
from worker.section import FieldName, Name, Section
from worker.watching import Quality

FeatureKind = Literal["categorical", "numeric", "multi", "cross"]
Transform = Literal["identity", "log", "buckets"]
_RANGE = re.compile(r"([0-9]{1,6}):([0-9]{1,18})-([0-9]{1,18})")
_LEAST_EVENTS = 4  # whose rows a bounded model has to hold


def _range_of(text: str) -> tuple[int, int, int]:
    found = _RANGE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no range: partition, first and last offset are written such as 3:500000-549999")
    shard, first, last = found.groups()
    return int(shard), int(first), int(last)


class Events(Section):
    """What an event looks like, and where its parts are."""

    topic: Name = Field("interactions", description="where they are; each partition is a shard")
    format: Literal["json", "arrow"] = Field(
        "json", description="one JSON object a record, or an Arrow IPC stream of many events"
    )
    partition_key: FieldName = Field("user", description="the field that records are keyed by; its rows are local")
    label: FieldName = Field("label", description="the field that is predicted, then learned")
    time: FieldName = Field("time", description="the field of the event time; the record's timestamp where it is null")
    time_unit: Literal["s", "ms", "us"] = Field("ms", description="what the event time counts since 1970")
    weight: str | None = Field(None, min_length=1, description="the field of the sample weight, 1 where it is null")
    id: str | None = Field(
        None, min_length=1, description="the field of an id: an event whose id was there before is not learned again"
    )
    duplicate_window: int = Field(
        100_000, gt=0, le=50_000_000, description="so many ids are remembered by a shard, some 30 bytes each"
    )
    keep_negatives: float = Field(
        1.0,
        gt=0,
        le=1,
        description="this share of the events whose label is 0 is learned; scores allow for it. Of the logistic loss",
    )
    partitioner: Literal["murmur2", "crc32"] = Field("murmur2", description="of the producers; scoring follows it")
    max_bytes: int = Field(1_048_576, gt=0, description="a longer value is rejected, as is one that unpacks to more")
    earliest_time: str = Field("1990-01-01T00:00:00Z", description="an older event time is a broken clock: rejected")
    max_future_seconds: float = Field(86_400, ge=0, description="how far past its record's timestamp an event may lie")
    start: Literal["earliest", "latest"] = Field("earliest", description="where a shard without a model begins")
    skip: tuple[str, ...] = Field(
        (),
        description='events that are passed over, by partition, first and last offset, such as ["3:500000-549999"]. '
        "May change for what is not learned yet",
    )

    @field_validator("skip")
    @classmethod
    def _ranges(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        before: tuple[int, int, str] | None = None
        for shard, first, last, text in sorted((*_range_of(text), text) for text in value):
            if last < first:
                raise ValueError(f"{text!r} ends before it begins")
            if before is not None and before[0] == shard and first <= before[1]:
                raise ValueError(f"{before[2]!r} and {text!r} overlap: make one range of them")
            before = shard, last, text
        return value

    @property
    def skipped(self) -> dict[int, list[tuple[int, int]]]:
        """First and last offset of what is passed over, by partition, rising; ranges that touch are one."""
        found: dict[int, list[tuple[int, int]]] = {}
        for shard, first, last in sorted(_range_of(text) for text in self.skip):
            ranges = found.setdefault(shard, [])
            if ranges and ranges[-1][1] + 1 == first:
                first = ranges.pop()[0]  # noqa: PLW2901 - it begins there
            ranges.append((first, last))
        return found

    def skipped_before(self, shard: int, next_offset: int) -> list[tuple[int, int]]:
        """Give what of it lies before an offset of a partition."""
        ranges = self.skipped.get(shard, [])
        return [(first, min(last, next_offset - 1)) for first, last in ranges if first < next_offset]

    @model_validator(mode="after")
    def _window_of_ids(self) -> Self:
        if self.id is None and self.duplicate_window != type(self).model_fields["duplicate_window"].default:
            raise ValueError(
                "`duplicate_window` means nothing without `id`: name the field of the event's id, or leave it out"
            )
        return self

    @field_validator("earliest_time")
    @classmethod
    def _instant(cls, value: str) -> str:
        try:
            aware = datetime.fromisoformat(value).tzinfo is not None
        except ValueError:
            aware = False
        if not aware:
            raise ValueError("must be a time with its zone, such as 1990-01-01T00:00:00Z")
        return value


class Feature(Section):
    """One feature: a field of the event, or a cross of other features.

    A numeric value x enters as (transform(x) - shift) / scale; `buckets` turns it into a category by its edges. Unless
    shift or scale are given, each shard finds them itself: the running median and the running spread of transform(x).
    """

    kind: FeatureKind = Field("categorical", description="multi is a list of categories; cross combines features")
    field: str | None = Field(None, min_length=1, description="the event's field; the feature's own name unless given")
    transform: Transform = Field("identity", description="of a number: log is sign(x) ln(1 + |x|)")
    shift: float = Field(0.0, description="a number enters as (transform(x) - shift) / scale")
    scale: float = Field(1.0, gt=0, description="see shift")
    standardise: Literal["auto", "on", "off"] = Field(
        "auto", description="a number's running median and spread are its shift and scale: auto is unless one is given"
    )
    clip: float = Field(
        5.0, gt=0, le=1_000_000, description="a standardised number lies no further from 0: absurd ones count as that"
    )
    edges: tuple[float, ...] = Field((), description="where one bucket ends and the next begins, rising")
    max_values: int = Field(64, gt=0, le=65_536, description="a multi-valued field longer than this is rejected")
    of: tuple[str, ...] = Field((), description="the features that a cross combines")
    admit_after: int = Field(
        0,
        ge=0,
        le=255,
        description="how often a value is seen before it has a row of its own; until then it counts as the feature's "
        "rare value, one row for all of them. 0 and 1 are at once",
    )
    scope: Literal["auto", "local", "shared"] = Field(
        "auto", description="whose rows: auto is local for the partition key and its crosses, else shared"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.kind == "cross") != bool(self.of):
            raise ValueError('kind = "cross" and `of` go together: name the features that the cross combines')
        if self.kind == "cross" and len(set(self.of)) < 2:
            raise ValueError("a cross combines at least two different features")
        if (self.transform == "buckets") != bool(self.edges):
            raise ValueError('transform = "buckets" and `edges` go together')
        if list(self.edges) != sorted(set(self.edges)):
            raise ValueError("`edges` must rise strictly")
        if self.transform != "identity" and self.kind != "numeric":
            raise ValueError(f'transform = "{self.transform}" needs kind = "numeric"')
        if self.admit_after > 1 and self._is_number:
            raise ValueError(
                "`admit_after` is for values that have a row each, and a number has one row for all of them: leave it "
                'out, or set transform = "buckets"'
            )
        if self.standardise == "on" and not self._is_number:
            raise ValueError('standardise = "on" needs kind = "numeric", and a transform other than "buckets"')
        if self.standardise == "on" and self._is_scaled:
            raise ValueError('standardise = "on" finds shift and scale by itself: leave them out')
        if self.clip != type(self).model_fields["clip"].default and not self.standardised:
            raise ValueError("`clip` is of numbers that are standardised, and this feature is not: leave it out")
        return self

    @property
    def standardised(self) -> bool:
        """Tell whether shift and scale of its numbers are running ones."""
        return self._is_number and self.standardise != "off" and not self._is_scaled

    @property
    def _is_number(self) -> bool:
        return self.kind == "numeric" and self.transform != "buckets"

    @property
    def _is_scaled(self) -> bool:
        return (self.shift, self.scale) != (0.0, 1.0)


class Learning(Section):
    """Everything that decides which bits are learned, and how that is watched.

    Two shards agree exactly when `events`, `features` and `model` agree, and `quality` where alarms are answered.
    """

    events: Events = Events()
    features: dict[str, Feature] = Field(min_length=1)
    model: Model = Model()
    quality: Quality = Quality()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name, feature in self.features.items():
            for part in feature.of:
                if part not in self.features:
                    raise ValueError(f"features.{name}.of names {part!r}, which is no feature")
                if self.features[part].kind == "cross" or not self.is_category(part):
                    raise ValueError(f"features.{name}.of: {part!r} is not categorical, so it cannot be crossed")
        if "bias" in self.features:
            raise ValueError("features.bias: the name is taken, every event has a bias")
        self._require_pairs()
        if self.events.keep_negatives < 1 and self.model.loss != "logistic":
            raise ValueError(
                "events.keep_negatives: a label of 0 is a negative for the logistic loss only: set model.loss = "
                '"logistic", or leave it out'
            )
        self._require_room()
        self._require_judgeable()
        return self

    def _require_judgeable(self) -> None:
        """Refuse to watch what is not there, and to answer what cannot be answered."""
        if self.quality.response == "loosen" and self.model.kind != "gaussian":
            raise ValueError(
                f'quality.response = "loosen": only the Gaussian knows what it is sure of, not kind = '
                f'"{self.model.kind}": set model.kind = "gaussian", or quality.response = "alarm"'
            )
        for name in ("gate_entropy", "gate_calibration", "freeze_base_rate"):
            if getattr(self.quality, name) is not None and self.model.loss != "logistic":
                raise ValueError(f'quality.{name} is of probabilities: set model.loss = "logistic", or leave it out')
        for name in self.quality.slices:
            if name not in self.features or self.features[name].kind != "categorical":
                raise ValueError(
                    f"quality.slices names {name!r}, which is no categorical feature: slices are of those, by their "
                    "values"
                )

    def _require_pairs(self) -> None:
        """Refuse named pairs that are none, or are named twice."""
        pairs = self.model.pairs if isinstance(self.model.pairs, tuple) else ()
        for one, other in pairs:
            for name in (one, other):
                if name != "bias" and name not in self.features:
                    raise ValueError(f"model.pairs names {name!r}, which is no feature; nor is it the bias")
            if one == other:
                raise ValueError(f"model.pairs: {one!r} and itself are no pair")
        if len({frozenset(pair) for pair in pairs}) < len(pairs):
            raise ValueError("model.pairs names a pair twice")
        if isinstance(self.model.pairs, tuple) and not pairs:
            raise ValueError('model.pairs is an empty list: set "none", then there are no factors either')

    def _require_room(self) -> None:
        """Refuse bounds that hold no more than a few events: what is learned of one would go with the next."""
        most = 1 + sum(self._most_rows(name) for name in self.features)  # of an event
        least = _LEAST_EVENTS * most
        if 0 < self.model.max_rows < least:
            raise ValueError(
                f"model.max_rows = {self.model.max_rows} is too few: an event may have {most} rows, at least "
                f"{_LEAST_EVENTS} times as many are needed, {least}; or lower `max_values` of multi-valued features"
            )
        # A row of parameters, its key and what else a table keeps of it, and its entries in two ledgers.
        each = 4 * (3 + self.model.factors) + 48 + (2 * (8 * (3 + self.model.factors) + 32) if self.model.merge else 0)
        counters = self.model.admission_counters * 13 // 8 if self.admits else 0
        if 0 < self.model.max_bytes_each < least * each + counters:
            of_counters = f", and model.admission_counters {counters}" if counters else ""
            raise ValueError(
                f"model.max_bytes = {self.model.max_bytes!r} is too few: {_LEAST_EVENTS} events of {most} rows each "
                f"take {least * each} bytes{of_counters}; or lower `max_values` of multi-valued features"
            )

    @property
    def admits(self) -> bool:
        """Tell whether values of some feature are held back until they were seen often enough."""
        return any(feature.admit_after > 1 for feature in self.features.values())

    def _most_rows(self, name: str) -> int:
        """Give how many rows an event may have of a feature."""
        feature = self.features[name]
        if feature.kind == "cross":
            return math.prod(self._most_rows(part) for part in feature.of)
        return feature.max_values if feature.kind == "multi" else 1

    def is_category(self, name: str) -> bool:
        """Tell whether a feature's values are categories (a bucketed number is one)."""
        feature = self.features[name]
        return feature.kind in ("categorical", "multi") or feature.transform == "buckets"

    @property
    def standardised(self) -> tuple[str, ...]:
        """Name the features whose numbers are standardised, in the order of the features."""
        return tuple(name for name, feature in self.features.items() if feature.standardised)

    def field_of(self, name: str) -> str:
        """Give the event's field that a feature reads."""
        return self.features[name].field or name

    def follows_key(self, name: str) -> bool:
        """Tell whether each row of a feature belongs to one partition key: it is that key, or a cross with it."""
        feature = self.features[name]
        if feature.kind == "cross":
            return any(self.follows_key(part) for part in feature.of)
        return feature.kind == "categorical" and self.field_of(name) == self.events.partition_key

    def is_local(self, name: str) -> bool:
        """Tell whether a feature's rows are learned by one shard only: it is made from the partition key."""
        feature = self.features[name]
        if feature.scope != "auto":
            return feature.scope == "local"
        if feature.kind == "cross":
            return any(self.is_local(part) for part in feature.of)
        return self.field_of(name) == self.events.partition_key
