"""How a model is made, and how large it may become: the settings of `model`."""

import re
from typing import Any, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from worker.section import FieldName, Name, Section

NamedPair = tuple[FieldName, FieldName]  # of features; "bias" is one too
_DURATION = re.compile(r"([0-9]{1,6})([smhd])")
_SIZE = re.compile(r"([0-9]{1,15}) ?(KiB|MiB|GiB)?")
_UNIT_BYTES = {"": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
ONLY_OF: Final = {  # by the kind of learner: the settings of `model` that have a meaning for no other
    "gaussian": (
        "factors", "pairs", "half_life", "seed", "init_deviation", "prior_weight_precision", "prior_factor_precision",
        "prior_pair_precision", "noise_variance",
    ),
    "sgd": ("learning_rate",),
    "ftrl": ("ftrl_alpha", "ftrl_beta", "ftrl_l1", "ftrl_l2"),
}  # fmt: skip


class Model(Section):
    """The learner: its kind, its size and its priors."""

    name: Name = Field("interactions", description="stands in every record of the model")
    topic: Name = Field("interactions.model", description="where versions are published")
    kind: Literal["gaussian", "sgd", "ftrl"] = Field(
        "gaussian",
        description="a Gaussian field-weighted factorization machine, or a linear model: by gradient descent, or by "
        "FTRL-Proximal with a rate for each weight",
    )
    max_rows: int = Field(
        0, ge=0, description="rows of a shard: then those that say the least are evicted. 0 is without bound"
    )
    max_bytes: str = Field(
        "off",
        description="the same in memory of a shard, as headrace_table_bytes counts it: off, or a number of bytes, KiB, "
        "MiB or GiB. A worker with n shards takes n times as much",
    )
    admission_counters: int = Field(
        4_194_304,
        ge=1_024,
        le=2**32,
        description="of a shard, where features have `admit_after`: 13 bytes for 8. Values that have no row yet are "
        "counted well as long as each is seen again within a twelfth as many of their occurrences",
    )
    loss: Literal["logistic", "squared"] = Field("logistic", description="logistic wants labels from 0 to 1")
    label_noise: float = Field(
        0.0,
        ge=0,
        lt=0.5,
        description="this share of the labels is wrong: an event that surprises very much moves little. Of the "
        "logistic loss",
    )
    factors: int = Field(16, ge=0, le=256, description="K; 0 is the linear special case. sgd and ftrl have none")
    pairs: Literal["all", "none", "auto"] | tuple[NamedPair, ...] = Field(
        "all",
        description='pairs of features that count: all, none, a list such as [["user", "item"], ["bias", "item"]], or '
        "auto: those that turn out not to matter are dropped, from more than 10 features on",
    )
    half_life: str = Field(
        "off", description="in which what is learned fades by half, in event time: off, or a number with s, m, h or d"
    )
    merge: bool = Field(
        True, description="shards add up to one model: rows of shared features are merged. sgd and ftrl want false"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="of the factors that rows begin with")
    init_deviation: float = Field(0.05, ge=0, description="standard deviation of those factors")
    prior_weight_precision: float = Field(2.0, gt=0, description="1 / variance of a weight before any event")
    prior_factor_precision: float = Field(5.0, gt=0, description="the same of a factor")
    prior_pair_precision: float = Field(1.0, gt=0, description="the same of the weight of a pair of fields")
    noise_variance: float = Field(1.0, gt=0, description="of the squared loss")
    learning_rate: float = Field(0.05, gt=0, le=1_000_000, description="of kind sgd: how far a gradient moves a weight")
    ftrl_alpha: float = Field(0.5, ge=1e-6, le=1_000_000, description="of kind ftrl: scales the rates of all weights")
    ftrl_beta: float = Field(1.0, ge=1e-6, description="of kind ftrl: first gradients move a weight by alpha / beta")
    ftrl_l1: float = Field(0.0, ge=0, description="of kind ftrl: a weight is 0 until its gradients sum up to this")
    ftrl_l2: float = Field(0.0, ge=0, description="of kind ftrl: draws weights to 0")

    @field_validator("max_bytes", mode="before")
    @classmethod
    def _size(cls, value: Any) -> Any:  # noqa: ANN401 - whatever the file holds
        value = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if isinstance(value, str) and value != "off" and _SIZE.fullmatch(value) is None:
            raise ValueError('must be "off", or a whole number of bytes, KiB, MiB or GiB, such as "2GiB"')
        return value

    @field_validator("half_life")
    @classmethod
    def _duration(cls, value: str) -> str:
        found = _DURATION.fullmatch(value)
        if value != "off" and (found is None or int(found[1]) < 1):
            raise ValueError('must be "off" or a whole number of s, m, h or d, such as "14d"')
        return value

    @model_validator(mode="before")
    @classmethod
    def _linear_without_factors(cls, values: Any) -> Any:  # noqa: ANN401 - whatever the file holds
        """Give K its default where there are no pairs, so that whoever reads it of a manifest reads the rows' K."""
        if isinstance(values, dict) and (values.get("kind") in ("sgd", "ftrl") or values.get("pairs") == "none"):
            return {"factors": 0} | values
        return values

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        wrong = []
        for kind, names in ONLY_OF.items():
            for name in names if kind != self.kind else ():
                value, nothing = getattr(self, name), type(self).model_fields[name].default
                if value not in ((0,) if name == "factors" else (nothing, "none") if name == "pairs" else (nothing,)):
                    wrong.append(f'`{name}` is a setting of kind = "{kind}" and means nothing here: leave it out')
        if self.kind != "gaussian" and self.merge:
            wrong.append(
                "what shards learn apart adds up for the Gaussian's posteriors only: set model.merge = false, then "
                "each shard learns its own copy of what others learn too"
            )
        if self.kind == "ftrl" and self.loss != "logistic":
            wrong.append('it learns by logistic loss: set model.loss = "logistic", or take model.kind = "sgd"')
        if self.label_noise and self.loss != "logistic":
            wrong.append('`label_noise` is of labels that are 0 or 1: set model.loss = "logistic", or leave it out')
        if wrong:
            raise ValueError(f'kind = "{self.kind}": ' + "; ".join(wrong))
        if self.kind == "gaussian" and (self.factors == 0) != (self.pairs == "none") and self.pairs != "all":
            raise ValueError(
                '`factors` are what pairs are made of: leave them out with pairs = "none", and set more than 0 with '
                f"others; here pairs = {self.pairs!r} and factors = {self.factors}"
            )
        return self

    @property
    def max_bytes_each(self) -> int:
        """Bytes of a shard; 0 where there is no bound."""
        found = _SIZE.fullmatch(self.max_bytes)
        return int(found[1]) * _UNIT_BYTES[found[2] or ""] if found else 0

    @property
    def half_life_ms(self) -> int:
        """Milliseconds; 0 where nothing is forgotten."""
        found = _DURATION.fullmatch(self.half_life)
        return int(found[1]) * _UNIT_MS[found[2]] if found else 0
