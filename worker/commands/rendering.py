"""A configuration as text: what is in force, and an example made from the settings themselves."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from worker.passthrough import MASK, mask
from worker.setting_names import PASSTHROUGH, sections
from worker.settings import Loaded
from worker.toml import key, literal

HEAD: Final = """\
# The configuration of a Headrace worker. Settings that are commented out show their defaults.
# HEADRACE_<SECTION>__<NAME> in the environment goes before this file. `headrace config check` checks it.
"""

FEATURES: Final = """\
# What the model learns from: a table for each feature, named after the event's field unless `field` says otherwise.
# kind = "categorical" (the default), "numeric", "multi" (a list) or "cross" (of other features).
# Features of the partition key are local: learned by one shard only. All others are shared, unless `scope` says so.
[features.user]

[features.item]

# [features.price]
# kind = "numeric"
# transform = "log"                # or "identity", or "buckets" with edges = [1, 10, 100]
# shift = 0.0                      # a number enters as (transform(x) - shift) / scale
# scale = 1.0

# [features.genres]
# kind = "multi"
# max_values = 64                  # a longer list is rejected

# [features.user_item]
# kind = "cross"
# of = ["user", "item"]
"""

HANDED_THROUGH: Final = """\
# [kafka.client]                   # settings of librdkafka by their own names, for every client
# security.protocol = "SASL_SSL"
# sasl.mechanism = "SCRAM-SHA-512"
# sasl.username = "headrace"       # and the password in HEADRACE_KAFKA__CLIENT__SASL_PASSWORD

# [kafka.consumer]
# fetch.max.bytes = 52428800

# [kafka.producer]
# compression.type = "zstd"
"""

ACTIVE: Final = {("kafka", "bootstrap_servers"), ("events", "topic")}  # what nearly everybody has to change


def as_json(loaded: Loaded) -> str:
    """Give the settings in force, where each that is not a default was set, and which features are local."""
    scopes = {name: "local" if loaded.config.is_local(name) else "shared" for name in loaded.config.features}
    told = {"settings": _masked(loaded.config.model_dump()), "origins": dict(loaded.origins), "scopes": scopes}
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"


def as_toml(loaded: Loaded) -> str:
    """Give the settings in force as a configuration file, with where each that is not a default was set."""
    values = _masked(loaded.config.model_dump())
    lines: list[str] = []
    for section in (*sections(), "features"):
        table = values[section]
        if section != "features":
            lines += ["", *_table((section,), table, loaded.origins)]
        for name, inner in table.items():
            if isinstance(inner, dict):
                note = ""
                if section == "features":
                    local = loaded.config.is_local(name)
                    note = "  # local: learned by one shard" if local else "  # shared by all shards"
                lines += ["", *_table((section, name), inner, loaded.origins, note)]
    return "\n".join(lines[1:]) + "\n"


def example() -> str:
    """Give a configuration with every setting, its default and its meaning; it can be used as it stands."""
    parts = [HEAD]
    for section, kind in sections().items():
        lines = [f"# {(kind.__doc__ or '').splitlines()[0]}", f"[{section}]"]
        defaults = kind()  # validated: 20 seconds are 20.0
        lines += [
            _documented(section, name, field, getattr(defaults, name))
            for name, field in kind.model_fields.items()
            if name not in PASSTHROUGH
        ]
        parts.append("\n".join(lines) + "\n")
        if section == "events":
            parts.append(FEATURES)
        if section == "kafka":
            parts.append(HANDED_THROUGH)
    return "\n".join(parts)


def _documented(section: str, name: str, field: FieldInfo, default: object) -> str:
    if default is None:
        instead = literal(field.examples[0] if field.examples else "")
        return f"# {name} = {instead}  # {field.description}; not set by default"
    choices = ""
    if get_origin(field.annotation) is Literal and len(get_args(field.annotation)) > 1:
        choices = f" (one of {', '.join(get_args(field.annotation))})"
    line = f"{name} = {literal(default)}  # {field.description}{choices}"
    return line if (section, name) in ACTIVE else f"# {line}"


def _table(at: tuple[str, ...], values: Mapping[str, Any], origins: Mapping[str, str], note: str = "") -> Iterator[str]:
    yield f"[{'.'.join(key(name) for name in at)}]{note}"
    for name, value in values.items():
        origin = origins.get(".".join((*at, name)))
        if value is None:
            yield f"# {key(name)} is not set"
        elif not isinstance(value, dict):
            yield f"{key(name)} = {literal(value)}" + (f"  # {origin}" if origin else "")


def _masked(value: Any) -> Any:  # noqa: ANN401 - a tree of settings
    if isinstance(value, dict):
        return {name: _masked(inner) for name, inner in value.items()}
    if isinstance(value, SecretStr):
        return MASK
    return mask(value) if isinstance(value, str) else value
