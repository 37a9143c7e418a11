"""The topics and the configuration of one test."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from deploy.broker import Broker
from worker.config import Config
from worker.stream import provision

FEATURES = ("user", "item", "hour", "device", "slot")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Topics that exist, and a configuration file that names them."""

    config: Config
    file: Path
    partitions: int
    admin: AdminClient

    def alter(self, topic: str, **settings: str) -> None:
        """Change a topic's settings, given with `_` for `.`."""
        entries = [
            ConfigEntry(name.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
            for name, value in settings.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        admin = self.admin  # held: a client that nobody holds takes its answers with it
        admin.incremental_alter_configs([resource])[resource].result(30)


def set_stage(
    kafka: Broker,
    unique: str,
    folder: Path,
    /,
    *,
    partitions: int = 4,
    replication: int | None = None,
    **sections: Mapping[str, Any],
) -> Stage:
    """Make the topics, and write a configuration whose intervals are short; `sections` override it."""
    settings: dict[str, dict[str, Any]] = {
        "events": {"topic": unique},
        "features": {name: {} for name in FEATURES},
        # Most tests hold a shard against a replay of its events alone.
        "model": {"name": unique, "topic": f"{unique}.model", "merge": False},
        "kafka": {
            "bootstrap_servers": kafka.bootstrap_servers,
            "group": unique,
            "session_timeout_seconds": 2,
            "transaction_timeout_seconds": 5,
        },
        "commit": {"interval_seconds": 0.2},
        # bases that come early, and take several versions to complete
        "snapshots": {"base_part_bytes": 65_536, "base_after_bytes": 1_048_576},
        "dead_letter": {"topic": f"{unique}.rejected"},
        "metrics": {"port": 0},
        "log": {"level": "debug"},
    }
    for name, section in sections.items():
        settings[name] = settings.get(name, {}) | section
    file = folder / f"{unique}.toml"
    file.write_text("\n".join(_toml(settings, ())))
    config = Config.model_validate(settings)
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers, "reconnect.backoff.max.ms": 500, "log_level": 0})
    provision.create(admin, config, partitions=partitions, replication=replication)
    return Stage(config=config, file=file, partitions=partitions, admin=admin)


def _toml(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    lines = [f"[{'.'.join(map(json.dumps, path))}]"] if path else []
    lines += [
        f"{json.dumps(name)} = {json.dumps(value)}" for name, value in table.items() if not isinstance(value, Mapping)
    ]
    for name, value in table.items():
        if isinstance(value, Mapping):
            lines += _toml(value, (*path, name))
    return lines
