"""The examples of README.md work as they stand there: configuration, event, commands, program."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from deploy.broker import Broker
from tests.support.stage import set_stage
from tests.support.verdict import messages
from worker.config import Config
from worker.events.decode import Decoder
from worker.events.packed import PackedDecoder
from worker.events.partition import partition_of
from worker.settings import load
from worker.stream import client

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SECONDS = 180.0  # for one command, on a loaded machine


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def config_path(tmp_path: Path) -> Path:
    text = blocks("toml")[0]
    path = tmp_path / "headrace.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def environment(kafka: Broker, unique: str) -> dict[str, str]:
    """The environment of a user whose broker and topics are those of this test."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    return clean | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HEADRACE_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "HEADRACE_KAFKA__GROUP": unique,
        "HEADRACE_EVENTS__TOPIC": unique,
        "HEADRACE_MODEL__TOPIC": f"{unique}.model",
        "HEADRACE_DEAD_LETTER__TOPIC": f"{unique}.rejected",
        "HEADRACE_METRICS__PORT": "0",
    }


def test_the_configuration_can_be_used(config_path: Path) -> None:
    config = load(config_path, {})
    client.check(config)
    assert [name for name in config.features if config.is_local(name)] == ["user"]


@pytest.mark.parametrize("more", blocks("toml")[1:])
def test_what_may_be_added_to_the_configuration_can_be_used(more: str) -> None:
    settings = tomllib.loads(blocks("toml")[0])
    for name, section in tomllib.loads(more).items():
        settings[name] = settings.get(name, {}) | section
    client.check(Config.model_validate(settings))


def test_the_event_is_one(config_path: Path) -> None:
    (event,) = blocks("json")
    schema = json.loads((ROOT / "schemas" / "events" / "interaction.v1.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(json.loads(event))
    config = load(config_path, {})
    decoded = Decoder(config.learning).decode([event.encode()], np.array([-1]))
    assert decoded.rejected == []
    read = {config.field_of(name) for name, feature in config.features.items() if feature.kind != "cross"}
    assert read <= set(json.loads(event)), "the example shows a value of every feature"


def test_settings_that_are_named_in_the_text_exist() -> None:
    prose = re.sub(r"^```.*?^```", "", README, flags=re.MULTILINE | re.DOTALL)
    sections = "|".join(name for name in Config.model_fields)
    named = set(re.findall(rf"`((?:{sections})\.[a-z_]+)(?: = [^`]+)?`", prose))
    assert len(named) > 30
    for name in named:
        section, setting = name.split(".")
        kind = Config.model_fields[section].annotation
        assert kind is not None
        assert setting in kind.model_fields, name


def test_the_commands_and_the_program_do_what_they_say(
    config_path: Path, environment: dict[str, str], kafka: Broker, unique: str
) -> None:
    commands = next(block for block in blocks("sh") if "topics create" in block).splitlines()
    outputs: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        # When the commands are typed one after the other
        for line in commands:
            command = re.sub(r"\s+# .*", "", line)
            if command == "headrace run":
                worker = stack.enter_context(running(command.split(), config_path.parent, environment))
                continue
            done = subprocess.run(
                ["bash", "-c", command], cwd=config_path.parent, env=environment,
                capture_output=True, text=True, timeout=SECONDS, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{command}: {done.stderr}"
            outputs[command.split("headrace ")[1]] = done.stdout

        # Then the configuration is good, the topics are made, and doctor finds no fault
        assert ": good; 6 features, 1 local" in outputs["config check"]
        assert all(
            f"{unique}{suffix}: made, 4 partitions" in outputs["topics create --partitions 4"]
            for suffix in ("", ".model")
        )
        assert not re.search(r"^fail", outputs["doctor"], re.MULTILINE)  # a cluster that was never used may warn
        # And a version is followed, and scores come from it
        assert re.search(r"^shard \d: version \d+, [\d.]+ s old$", outputs["follow --once"], re.MULTILINE)
        score = json.loads(outputs["score"])
        assert 0 < score["probability"] < 1
        assert score["variance"] > 0

        # And the program of the README prints two scores and four shards
        program = next(block for block in blocks("python") if "Follower(" in block)
        program = program.replace("localhost:9092", kafka.bootstrap_servers).replace("clicks.model", f"{unique}.model")
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(program, "README.md", "exec"), {})  # noqa: S102 - our own page
        lines = printed.getvalue().splitlines()
        assert [bool(re.fullmatch(r"0\.\d{3}, variance of the logit \d+\.\d{3}", line)) for line in lines[:2]] == [
            True
        ] * 2
        assert [line.split(":")[0] for line in lines[2:]] == [f"shard {shard}" for shard in range(4)]

        # And the worker ends well when it is asked to
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(SECONDS) == 0


def test_the_producer_of_packed_events_sends_what_a_worker_reads(kafka: Broker, unique: str, tmp_path: Path) -> None:
    # Given a topic, and the program of the README
    stage = set_stage(kafka, unique, tmp_path, partitions=4, features={"user": {}, "item": {}})
    program = next(block for block in blocks("python") if "Producer(" in block)
    program = program.replace("localhost:9092", kafka.bootstrap_servers).replace('"clicks"', f'"{unique}"')
    # When it has run
    exec(compile(program, "README.md", "exec"), {})  # noqa: S102 - our own page
    # Then each event is in the partition of its user
    decoder, found = PackedDecoder(stage.config.learning), []
    for partition in range(stage.partitions):
        values = [message.value() for message in messages(stage, unique, partition)]
        for piece in decoder.pieces(values, np.full(len(values), 1_735_689_600_000)):
            assert piece.rejected == []
            assert set(partition_of(piece.table["user"], 4, "murmur2").tolist()) <= {partition}
            found += zip(piece.table["user"].to_pylist(), piece.table["item"].to_pylist(), strict=True)
    assert sorted(found) == [("u1", "i7"), ("u1", "i9"), ("u2", "i7")]


@contextlib.contextmanager
def running(command: list[str], folder: Path, environment: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    with (folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stderr=log)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        sys.stderr.write((folder / "worker.log").read_text())  # pytest shows it where the test fails
