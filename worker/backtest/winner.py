"""A configuration as a file that holds no more than it has to: what is not the default, and no secret."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, SecretStr

from worker.config import Config
from worker.learning import Feature
from worker.setting_names import sections, variable
from worker.toml import key, literal


def as_toml(config: Config, remarks: Sequence[str] = ()) -> str:
    """Write the settings that are not the defaults; `headrace run -c` reads them as the same configuration.

    Of secrets only the names of the variables are written that may hold them.

    Args:
        config: the configuration.
        remarks: lines to begin with.

    >>> print(as_toml(Config(features={"user": Feature()}), ["best"]), end="")
    # best
    <BLANKLINE>
    [features.user]
    """
    lines = [f"# {remark}" for remark in remarks]
    for name, kind in sections().items():
        told = list(_section(name, getattr(config, name), kind()))
        if told:
            lines += ["", *told]
    for name, feature in config.features.items():
        lines += ["", f"[features.{key(name)}]", *_settings((), _differing(feature, Feature()))]
    return "\n".join(lines if remarks else lines[1:]) + "\n"


def _section(name: str, section: BaseModel, defaults: BaseModel) -> Iterator[str]:
    differing = _differing(section, defaults)
    plain = {setting: value for setting, value in differing.items() if not isinstance(value, Mapping)}
    if plain:
        yield f"[{name}]"
        yield from _settings((name,), plain)
    for setting, value in differing.items():
        if isinstance(value, Mapping):
            yield f"[{name}.{key(setting)}]"
            yield from _settings((name, setting), value)


def _settings(at: tuple[str, ...], values: Mapping[str, Any]) -> Iterator[str]:
    for setting, value in values.items():
        if isinstance(value, SecretStr):
            yield f"# {setting} is secret: set {variable((*at, setting.replace('.', '_')))}"
        elif value is not None:
            yield f"{key(setting)} = {literal(value)}"


def _differing(section: BaseModel, defaults: BaseModel) -> dict[str, Any]:
    values, others = section.model_dump(), defaults.model_dump()
    return {name: value for name, value in values.items() if value != others[name]}
