"""What decides something in a backtest: every setting is told of, so that a new one has to say what it does."""

from itertools import product
from typing import Any

import pytest

from tests.support.backtested import task_of
from worker.backtest.deciding import differing_events, idle, learned
from worker.config import Commit, Config
from worker.learning import Events, Model
from worker.watching import Quality

# Another value of every setting; and whether it changes what is learned: always, never, or under which condition.
SETTINGS: dict[str, tuple[Any, bool | str]] = {
    "events.topic": ("other", False),
    "events.start": ("latest", False),
    "events.partitioner": ("crc32", "by key"),
    **{
        f"events.{name}": (value, True)
        for name, value in {
            "format": "arrow", "partition_key": "item", "label": "bought", "time": "when", "time_unit": "s",
            "weight": "weight", "id": "id", "duplicate_window": 5, "keep_negatives": 0.5, "max_bytes": 99,
            "earliest_time": "2000-01-01T00:00:00Z", "max_future_seconds": 1.0, "skip": ("0:1-2",),
        }.items()
    },
    "model.name": ("other", False),
    "model.topic": ("other", False),
    **{
        f"model.{name}": (value, True)
        for name, value in {
            "kind": "sgd", "max_rows": 1_000, "max_bytes": "1MiB", "admission_counters": 2_048, "loss": "squared",
            "label_noise": 0.1, "factors": 3, "pairs": "none", "half_life": "1d", "merge": False, "seed": 5,
            "init_deviation": 0.1, "prior_weight_precision": 3.0, "prior_factor_precision": 3.0,
            "prior_pair_precision": 3.0, "noise_variance": 2.0, "learning_rate": 0.1, "ftrl_alpha": 0.1,
            "ftrl_beta": 2.0, "ftrl_l1": 1.0, "ftrl_l2": 1.0,
        }.items()
    },
    "quality.response": ("loosen", True),
    "quality.false_alarm_every": (10**9, "loosens"),
    "quality.loosen_to": (2.0, "loosens"),
    "quality.window": (5_000, "loosens"),
    "quality.slices": ({"item": ("a",)}, False),
    "quality.gate_entropy": (1.0, False),
    "quality.gate_calibration": ((0.5, 2.0), False),
    "quality.freeze_events": (2_000, False),
    "quality.freeze_base_rate": ((0.1, 0.2), False),
    "quality.freeze_rejected_share": (0.5, False),
    "quality.freeze_unknown_share": (0.5, False),
    "quality.freeze_seconds": (3.0, False),
    "quality.freeze_resume": ("sane", False),
    "commit.interval_seconds": (5.0, "merged"),
    "commit.max_events": (5, False),
}  # fmt: skip
BASE = Config.model_validate({"features": {"user": {}, "item": {}}})


def changed(config: Config, setting: str, value: Any) -> Config:
    section, name = setting.split(".")
    return config.model_copy(update={section: getattr(config, section).model_copy(update={name: value})})


def test_every_setting_is_told_of():
    sections = {"events": Events, "model": Model, "quality": Quality, "commit": Commit}
    assert set(SETTINGS) == {f"{name}.{it}" for name, kind in sections.items() for it in kind.model_fields}
    for setting, (value, _) in SETTINGS.items():
        section, name = setting.split(".")
        assert getattr(getattr(BASE, section), name) != value, setting


@pytest.mark.parametrize("setting", SETTINGS)
def test_what_is_idle_is_what_changes_nothing(setting):
    value, decides = SETTINGS[setting]
    section, name = setting.split(".")
    for by_key, loosens, merged in product((False, True), repeat=3):
        config = changed(BASE, "model.merge", merged)
        config = changed(config, "quality.response", "loosen" if loosens else "alarm")
        if getattr(getattr(config, section), name) == value:
            continue  # it has that value already
        conditions = {"by key": by_key, "loosens": loosens, "merged": merged}
        expected = conditions[decides] if isinstance(decides, str) else decides
        other = changed(config, setting, value)
        assert (learned(other, by_key=by_key) != learned(config, by_key=by_key)) == expected, conditions
        assert (idle(setting, config, by_key=by_key) is None) == expected, conditions


@pytest.mark.parametrize("setting", ["kafka.group", "metrics.port", "run.poll_events", "dead_letter.topic"])
def test_how_a_worker_runs_is_idle(setting):
    assert idle(setting, BASE, by_key=True) == "changes nothing of what is learned"


def test_features_decide_and_so_does_their_order():
    assert idle("features.item.admit_after", BASE, by_key=False) is None
    turned = Config.model_validate({"features": {"item": {}, "user": {}}})
    assert learned(turned, by_key=False) != learned(BASE, by_key=False)
    assert task_of(turned.learning).digest != task_of(BASE.learning).digest


@pytest.mark.parametrize("by_key", [False, True])
def test_events_that_are_read_otherwise_are_named(by_key):
    for setting, (value, decides) in SETTINGS.items():
        section, name = setting.split(".")
        if section == "events":
            expected = [name] if decides is True or (decides == "by key" and by_key) else []
            assert differing_events(BASE, changed(BASE, setting, value), by_key=by_key) == expected


def test_a_run_is_another_one_only_where_something_else_is_measured():
    def digest(setting: str, value: Any, **task) -> str:
        return task_of(changed(changed(BASE, "model.merge", False), setting, value).learning, **task).digest

    same = digest("model.merge", False)
    for setting, value in (
        ("events.topic", "b"), ("events.start", "latest"), ("model.topic", "b"), ("model.name", "b"),
        ("quality.gate_entropy", 1.0), ("quality.freeze_resume", "sane"),
    ):  # fmt: skip
        assert digest(setting, value) == same, setting
    # A log tells of alarms and slices, so what they are decided by does count, though the model is the same.
    for setting, value in (("quality.slices", {"item": ("a",)}), ("quality.window", 5_000), ("model.seed", 3)):
        assert digest(setting, value) != same, setting
    # Only where shards meet it matters how often.
    for merged, kind, differs in ((False, "online", False), (True, "online", True), (True, "base rate", False)):
        task = task_of(changed(BASE, "model.merge", merged).learning, kind=kind)
        assert (task.digest != task.model_copy(update={"interval_ms": 777}).digest) == differs
