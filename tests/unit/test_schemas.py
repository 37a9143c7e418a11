import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import yaml

from worker.config import Config
from worker.events.decode import Decoder
from worker.events.packed import PackedDecoder
from worker.events.rejects import Reason
from worker.snapshot.records import Kind, Record
from worker.stream.topics import DEAD_LETTER_OVERHEAD_BYTES, DEAD_LETTER_SETTINGS, MODEL_SETTINGS

SCHEMAS = Path(__file__).parents[2] / "schemas"
EXAMPLES = SCHEMAS / "examples" / "interaction"
VALID = sorted(EXAMPLES.glob("*.json"))
INVALID = sorted((EXAMPLES / "invalid").glob("*.json"))
TOPICS = sorted((SCHEMAS / "topics").glob("*.yaml"))
CONFIG = Config.model_validate({"features": {"user": {}, "item": {}}})
TIMESTAMP = 1_735_689_600_000


def name(path: Path) -> str:
    return path.stem


def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads((SCHEMAS / "events" / "interaction.v1.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def topics() -> list[tuple[str, dict[str, Any]]]:
    return [(path.stem, yaml.safe_load(path.read_text())) for path in TOPICS]


@pytest.mark.parametrize("path", VALID, ids=name)
def test_a_valid_example_is_an_event(path: Path) -> None:
    validator().validate(json.loads(path.read_text()))


@pytest.mark.parametrize("path", INVALID, ids=name)
def test_an_invalid_example_is_refused(path: Path) -> None:
    assert not validator().is_valid(json.loads(path.read_text()))


def test_each_invalid_example_is_one_change_away_from_an_event() -> None:
    # So that it is refused for the reason that its name gives, and not for another.
    for path in INVALID:
        problems = list(validator().iter_errors(json.loads(path.read_text())))
        assert len(problems) == 1, path.name


def test_valid_examples_are_decoded() -> None:
    values = [path.read_bytes() for path in VALID]
    decoded = Decoder(CONFIG.learning).decode(values, np.full(len(values), TIMESTAMP, np.int64))
    assert decoded.rejected == []
    events = [json.loads(value) for value in values]
    assert decoded.labels.tolist() == [float(event["label"]) for event in events]
    assert decoded.times.tolist() == [event.get("time") or TIMESTAMP for event in events]


@pytest.mark.parametrize(
    ("example", "reason"),
    [
        ("not_an_object", Reason.NOT_OBJECT),
        ("label_missing", Reason.LABEL_MISSING),
        ("label_is_null", Reason.LABEL_MISSING),
        ("label_above_one", Reason.LABEL_OUT_OF_RANGE),
        ("label_below_zero", Reason.LABEL_OUT_OF_RANGE),
        ("label_is_text", Reason.WRONG_TYPE),
        ("user_is_object", Reason.WRONG_TYPE),
        ("user_is_fraction", Reason.WRONG_TYPE),
        ("time_is_text", Reason.WRONG_TYPE),
    ],
)
def test_what_cannot_be_learned_from_is_rejected_by_the_worker_too(example: str, reason: Reason) -> None:
    value = (EXAMPLES / "invalid" / f"{example}.json").read_bytes()
    decoded = Decoder(CONFIG.learning).decode([value], np.array([TIMESTAMP]))
    assert [rejected.reason for rejected in decoded.rejected] == [reason]


def test_the_packed_example_holds_the_events_beside_it() -> None:
    packed = SCHEMAS / "examples" / "packed"
    events = [json.loads(line) for line in (packed / "three_events.jsonl").read_text().splitlines()]
    for event in events:
        validator().validate(event)
    (decoded,) = PackedDecoder(CONFIG.learning).pieces(
        [(packed / "three_events.arrows").read_bytes()], np.array([TIMESTAMP])
    )
    assert decoded.rejected == []
    assert decoded.labels.tolist() == [event["label"] for event in events]
    assert decoded.times.tolist() == [event.get("time", TIMESTAMP) for event in events]
    for name in ("user", "item"):
        assert [str(value) for value in decoded.table[name].to_pylist()] == [str(event[name]) for event in events]


def test_the_bound_of_the_label_falls_with_squared_loss() -> None:
    squared = Config.model_validate({"features": {"user": {}}, "model": {"loss": "squared"}})
    value = (EXAMPLES / "invalid" / "label_above_one.json").read_bytes()
    assert Decoder(squared.learning).decode([value], np.array([TIMESTAMP])).labels.tolist() == [1.5]


def test_there_is_a_file_for_each_topic_of_the_defaults() -> None:
    assert {stem for stem, _ in topics()} == {CONFIG.events.topic, CONFIG.model.topic, CONFIG.dead_letter.topic}


@pytest.mark.parametrize(("stem", "topic"), topics())
def test_a_topic_file_is_well_formed(stem: str, topic: dict[str, Any]) -> None:
    assert set(topic) == {
        "topic", "purpose", "partitions", "key", "value", "timestamp", "headers", "producers", "consumers", "settings",
    }  # fmt: skip
    assert topic["topic"] == stem
    assert {"value", "encoding"} <= set(topic["key"])
    assert topic["value"]["format"]
    assert topic["producers"]
    assert topic["consumers"]
    for path in (topic["value"].get("schema"), topic["value"].get("examples")):
        assert path is None or (SCHEMAS / path).exists()
    # As Kafka has them: texts, so that -1 and true need no second thought.
    assert all(isinstance(value, str) for value in topic["settings"].values())
    assert {"cleanup.policy", "retention.ms", "max.message.bytes"} <= set(topic["settings"])


def test_topic_files_say_what_the_code_does() -> None:
    files = dict(topics())
    model, rejected = files[CONFIG.model.topic], files[CONFIG.dead_letter.topic]
    record = Record(kind=Kind.ROWS, model="m", shard=0, version=1, sequence=0, value=b"", checksum="")
    assert set(model["headers"]) == {header for header, _ in record.headers}
    assert all(kind in model["headers"]["headrace-kind"] for kind in Kind)
    assert MODEL_SETTINGS.items() <= model["settings"].items()
    assert DEAD_LETTER_SETTINGS.items() <= rejected["settings"].items()
    limits = {stem: int(topic["settings"]["max.message.bytes"]) for stem, topic in files.items()}
    assert limits[CONFIG.dead_letter.topic] == limits[CONFIG.events.topic] + DEAD_LETTER_OVERHEAD_BYTES
    assert CONFIG.events.max_bytes <= limits[CONFIG.events.topic]
