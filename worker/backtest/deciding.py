"""Which settings decide anything in a backtest: what is learned, what is measured, and which events are read at all."""

from typing import Any, Final

import orjson

from worker.config import Config
from worker.learning import Events, Learning

_DECIDES: Final = ("events", "features", "model", "quality")  # sections that may change what is learned
_MEETING: Final = "commit.interval_seconds"  # decides when merged shards meet
# Of these sections, what decides nothing: where it is, who serves it, when a worker would not learn.
_IDLE: Final = {
    "events": frozenset({"topic", "start"}),
    "model": frozenset({"name", "topic"}),
    "quality": frozenset(
        {
            "gate_entropy", "gate_calibration", "freeze_events", "freeze_base_rate", "freeze_rejected_share",
            "freeze_unknown_share", "freeze_seconds", "freeze_resume",
        }
    ),
}  # fmt: skip
_LOOSENS: Final = frozenset({"false_alarm_every", "response", "loosen_to", "window"})  # when what is learned gives way


def interval_ms(config: Config) -> int:
    """Give the time from one commit to the next, by the log."""
    return round(config.commit.interval_seconds * 1_000)


def measured(learning: Learning) -> dict[str, Any]:
    """Give the settings that decide what a run measures, and its log tells."""
    told = learning.model_dump(mode="json", include=set(_DECIDES))
    return {
        section: {name: value for name, value in values.items() if name not in _IDLE.get(section, ())}
        if section in _IDLE
        else values
        for section, values in told.items()
    }


def learned(config: Config, *, by_key: bool) -> bytes:
    """Give all that decides what is learned: equal where that is the same to the bit.

    Args:
        config: the settings.
        by_key: whether shards are made of the records' keys, rather than as they were recorded.
    """
    told = measured(config)
    if not by_key:
        del told["events"]["partitioner"]
    quality, loosens = told["quality"], config.quality.response == "loosen"
    told["quality"] = {name: value for name, value in quality.items() if loosens and name in _LOOSENS}
    # Fields have the numbers of their order, so a feature's place decides too.
    return orjson.dumps([told, list(config.features), interval_ms(config) if config.model.merge else 0])


def idle(setting: str, config: Config, *, by_key: bool) -> str | None:
    """Say why a setting changes nothing of what is learned; None where it may.

    Args:
        setting: by its dotted name; one that exists.
        config: that it would be changed in.
        by_key: as above.
    """
    section, _, name = setting.partition(".")
    nothing = "changes nothing of what is learned"
    if setting == _MEETING:
        unless = None if config.model.merge else "model.merge = true: shards that are not merged do not meet"
    elif section == "quality" and name.startswith("freeze_"):
        return "changes nothing: a backtest learns every event, and judges no blocks"
    elif setting == "events.partitioner":
        unless = None if by_key else "--shards"
    elif section == "quality" and name in _LOOSENS - {"response"}:
        unless = None if config.quality.response == "loosen" else 'quality.response = "loosen"'
    elif section in _DECIDES and name not in _IDLE.get(section, ()) and setting != "quality.slices":
        return None
    else:
        return nothing
    return f"{nothing} without {unless}" if unless else None


def differing_events(one: Config, other: Config, *, by_key: bool) -> list[str]:
    """Name the settings of `events` that differ, of those that decide which events are read, and as what."""
    names = [name for name in Events.model_fields if name not in _IDLE["events"] and (by_key or name != "partitioner")]
    return [name for name in names if getattr(one.events, name) != getattr(other.events, name)]
