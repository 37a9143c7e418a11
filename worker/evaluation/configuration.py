"""The settings of a run that are not the defaults, flat: what tells two runs apart."""

from typing import Any, Final

from pydantic import BaseModel, JsonValue

from worker.learning import Learning

_SECTIONS: Final = ("events", "model", "quality")
_NAMES: Final = {"events": {"topic"}, "model": {"name", "topic"}}  # where it is, not what is learned


def changed(learning: Learning) -> dict[str, JsonValue]:
    """Give the settings that decide what is learned and are not the defaults, by their dotted names.

    Every feature is among them, by its kind, for there is none by default.

    >>> from worker.learning import Feature
    >>> changed(Learning(features={"user": Feature()}))
    {'features.user.kind': 'categorical'}
    """
    told = dict[str, JsonValue]()
    for section in _SECTIONS:
        told |= {
            f"{section}.{name}": value
            for name, value in _differing(getattr(learning, section)).items()
            if name not in _NAMES.get(section, ())
        }
    for name, feature in learning.features.items():
        told |= {
            f"features.{name}.{setting}": value
            for setting, value in ({"kind": feature.kind} | _differing(feature)).items()
        }
    return told


def _differing(section: BaseModel) -> dict[str, Any]:
    values, defaults = section.model_dump(mode="json"), type(section)().model_dump(mode="json")
    return {name: value for name, value in values.items() if value != defaults[name]}
