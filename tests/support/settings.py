"""Reads configurations as they are mounted beside an environment, and judges them as `headrace config check` does."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from worker.config import Config
from worker.settings import load
from worker.stream import client


def configure(text: str, environment: Mapping[str, str]) -> Config:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "headrace.toml"
        path.write_text(text)
        found = load(path, environment)
    # A certificate that is mounted is not here; the setting itself is librdkafka's to judge.
    own = {name: value for name, value in found.kafka.client.items() if name != "ssl.ca.location"}
    client.check(found.model_copy(update={"kafka": found.kafka.model_copy(update={"client": own})}))
    return found
