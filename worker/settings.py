"""Where the configuration comes from: a TOML file, then `HEADRACE_<SECTION>__<NAME>` of the environment.

Everything that is wrong is told at once, a line each, in the words of whoever wrote it: the file and the setting, or
the variable. Nothing here asks Kafka or librdkafka: see `worker.stream.client.check` for what only they know.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails

from worker.config import Config
from worker.errors import ConfigurationError
from worker.passthrough import CONSUMER, GUARDED, NAMES, PRODUCER, is_secret, mask
from worker.setting_names import PASSTHROUGH, PREFIX, At, dotted, exists, is_text, unknown, variable

NOT_SETTINGS: Final = frozenset(
    {"HEADRACE_CONFIG", "HEADRACE_CACHE"}
)  # where the file is, and where downloads are kept

# Kubernetes tells every pod about its services in variables that begin with the service's name: one that is called
# `headrace` or `headrace-metrics` must not keep the worker from starting.
_SERVICE_LINK = re.compile(
    r"_SERVICE_HOST=|_SERVICE_PORT(_\w+)?=\d+$|_PORT=\w+://|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?="
)

MINIMAL: Final = """\
[kafka]
bootstrap_servers = "localhost:9092"

[events]
topic = "interactions"

[features.user]
[features.item]
"""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A configuration, and where each setting that is not a default was set: a file or a variable."""

    config: Config
    origins: Mapping[str, str]  # "kafka.group" -> "headrace.toml"


def load(path: Path | None, environment: Mapping[str, str]) -> Config:
    """Read the configuration.

    Args:
        path: a TOML file, or None where the environment says everything.
        environment: `HEADRACE_KAFKA__GROUP` sets `kafka.group`, whatever its case. An empty variable counts as unset.

    Raises:
        ConfigurationError: with every problem that was found, one a line.
    """
    return read(path, environment).config


def read(
    path: Path | None, environment: Mapping[str, str], changes: Mapping[str, str] | None = None, by: str = ""
) -> Loaded:
    """Read the configuration as `load` does, and keep where each setting came from.

    Args:
        path: as there.
        environment: as there.
        changes: settings by their dotted names that go before both, written as in the environment.
        by: what these come from, for messages.
    """
    values = {} if path is None else _parse(path)
    problems: list[str] = []
    origins = dict.fromkeys((dotted(at) for at in _leaves(values)), str(path))
    _flatten_passthrough(values, problems, str(path))
    _override(values, origins, environment, problems)
    for name, text in (changes or {}).items():
        at = tuple(name.split("."))
        if exists(at):
            origins[dotted(_put(values, at, text if is_text(at) else _literal(text)))] = by
        else:
            problems.append(f"{by}: {name}: {unknown(at)}")
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        problems += [_tell(detail, origins, path) for detail in error.errors()]
        # The one that shows an example comes last.
        raise ConfigurationError("\n".join(sorted(problems, key=lambda problem: "\n" in problem))) from None
    if problems:
        raise ConfigurationError("\n".join(problems))
    return Loaded(config=config, origins=origins)


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(f"{path}: no such file; `headrace config example` prints one to begin with") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{path}: not UTF-8 (at line {line}); save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:  # its message ends in "(at line 3, column 5)"
        raise ConfigurationError(f"{path}: not TOML: {error}") from error


def _leaves(values: Mapping[str, Any], prefix: At = ()) -> Iterator[At]:
    for name, value in values.items():
        if isinstance(value, dict):
            if len(prefix) < 2:  # [features.user] alone already says something
                yield (*prefix, name)
            yield from _leaves(value, (*prefix, name))
        else:
            yield (*prefix, name)


# --- librdkafka's own settings ---------------------------------------------------------------------------------------


def _flatten_passthrough(values: dict[str, Any], problems: list[str], origin: str) -> None:
    """Give the settings of librdkafka their dotted names, and drop those that are refused, with the reason."""
    kafka = values.get("kafka")
    for table in PASSTHROUGH:
        if isinstance(kafka, dict) and isinstance(kafka.get(table), dict):
            flat: dict[str, Any] = {}
            for at in _leaves(kafka[table], (table, table)):  # a prefix of two: values only, no tables
                name, value = dotted(at[2:]), _follow(kafka[table], at[2:])
                if refusal := _refusal(table, name, value):
                    problems.append(f"{origin}: kafka.{table}.{name}: {refusal}")
                else:
                    flat[name] = _guarded(name, value)
            kafka[table] = flat


def _refusal(table: str, name: str, value: object) -> str | None:
    right = "consumer" if name in CONSUMER else "producer" if name in PRODUCER else table
    if name in GUARDED:
        return f"not to be set here: {GUARDED[name]}"
    if right != table:
        return f"a setting of the {right}; write it under [kafka.{right}]"
    return None if isinstance(value, str | int | float) else "must be a string, a number, true or false"


def _guarded(name: str, value: object) -> object:
    # A name that is not known may be a misspelt password: it is refused later, and must not be shown until then.
    return SecretStr(str(value)) if is_secret(name) or name not in NAMES else value


# --- the environment -------------------------------------------------------------------------------------------------


def _override(
    values: dict[str, Any], origins: dict[str, str], environment: Mapping[str, str], problems: list[str]
) -> None:
    for name in sorted(environment):
        upper, text = name.upper(), environment[name]
        if not upper.startswith(PREFIX) or upper in NOT_SETTINGS or not text or _SERVICE_LINK.search(f"{upper}={text}"):
            continue
        at = tuple(upper.removeprefix(PREFIX).lower().split("__"))
        if len(at) > 2 and at[0] == "kafka" and at[1] in PASSTHROUGH:
            # SASL_PASSWORD or SASL__PASSWORD is sasl.password: of librdkafka's names only one has an underscore.
            own = dotted(at[2:]).replace("_", ".").replace("log.level", "log_level")
            at = (*at[:2], own)
            if refusal := _refusal(at[1], own, text):
                problems.append(f"{name}: {refusal}")
            else:
                origins[dotted(_put(values, at, _guarded(own, text)))] = name
        elif exists(at):
            origins[dotted(_put(values, at, text if is_text(at) else _literal(text)))] = name
        else:
            problems.append(f"{name}: {unknown(at, variable)}")


def _literal(text: str) -> object:
    """Read a value as TOML would; what is no TOML stays text, for the validation to refuse in its own words."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _put(values: dict[str, Any], at: At, value: object) -> At:
    """Set a value, and give the name it was set by: a feature's name keeps the case that the file gives it."""
    if at[0] == "features" and isinstance(values.get("features"), dict):
        at = (at[0], next((name for name in values["features"] if name.lower() == at[1]), at[1]), at[2])
    table = values
    for name in at[:-1]:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            return at  # not a table in the file: refused as such
    table[at[-1]] = value
    return at


# --- telling ---------------------------------------------------------------------------------------------------------


def _tell(detail: ErrorDetails, origins: Mapping[str, str], path: Path | None) -> str:
    at = tuple(str(part) for part in detail["loc"])
    setting, kind, given = dotted(at), detail["type"], detail["input"]
    origin = origins.get(setting, "" if path is None else str(path))
    where = ": ".join(part for part in (origin, setting) if part)
    if at == ("features",) and kind in ("missing", "too_short"):
        return f"{where}: none configured, so there is nothing to learn from. The least that is needed:\n\n{MINIMAL}"
    if kind == "extra_forbidden":
        return f"{where}: {unknown(at)}"
    if kind in ("model_type", "dict_type"):
        return f"{where}: must be a table, written [{setting}]"
    message = detail["msg"].removeprefix("Value error, ")
    if isinstance(given, str | int | float) and not is_secret(setting):
        message += f", not {mask(given)!r}" if isinstance(given, str) else f", not {given}"
    return f"{where}: {message[:1].lower()}{message[1:]}" if where else message


def _follow(values: Mapping[str, Any], at: At) -> object:
    found: Any = values
    for name in at:
        found = found[name]
    return found
