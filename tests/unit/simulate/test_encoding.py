import json
from pathlib import Path

import jsonschema
import numpy as np

from worker.config import Config
from worker.events.decode import Decoder
from worker.simulate.encoding import encode, keys
from worker.simulate.planted import Planted

SCHEMA = Path(__file__).parents[3] / "schemas" / "events" / "interaction.v1.schema.json"
BATCH = next(Planted(events=2_000, users=500, items=200).batches(2_000))


def test_events_are_interaction_events() -> None:
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    for number, value in enumerate(encode(BATCH)):
        event = json.loads(value)
        validator.validate(event)
        assert event["user"] == f"u{BATCH.user[number]}"
        assert event["item"] == f"i{BATCH.item[number]}"
        assert event["hour"] == f"h{BATCH.hour[number]}"
        assert event["device"] == f"d{BATCH.device[number]}"
        assert event["slot"] == f"s{BATCH.slot[number]}"
        assert event["label"] == BATCH.labels[number]
        assert event["time"] == BATCH.times[number]
        assert event["id"] == f"simulated-{number:012}"


def test_times_can_be_replaced() -> None:
    times = BATCH.times + 123
    assert [json.loads(value)["time"] for value in encode(BATCH, times)] == times.tolist()


def test_the_key_is_the_user_of_the_event() -> None:
    assert [key.decode() for key in keys(BATCH)] == [json.loads(value)["user"] for value in encode(BATCH)]


def test_the_worker_decodes_them() -> None:
    features: dict[str, dict[str, str]] = {name: {} for name in ("user", "item", "hour", "device", "slot")}
    decoder = Decoder(Config.model_validate({"features": features}).learning)
    decoded = decoder.decode(encode(BATCH), BATCH.times)
    assert decoded.rejected == []
    np.testing.assert_array_equal(decoded.labels, BATCH.labels)
    np.testing.assert_array_equal(decoded.times, BATCH.times)
