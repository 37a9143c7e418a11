import pytest

from worker.config import Config
from worker.errors import ConfigurationError
from worker.stream.sending import Pace, sender_settings


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def config(**kafka: object) -> Config:
    return Config.model_validate({"features": {"user": {}}, "kafka": kafka})


def test_events_are_due_at_their_rate_from_the_first_one_on() -> None:
    # Given a pace of 50 events a second whose first event is asked for at 100 s
    clock = Clock()
    pace = Pace(50, clock)
    assert pace.delay(0) == 0
    # Then the next hundred are due two seconds later
    assert pace.delay(100) == 2.0
    clock.now = 101.5
    assert pace.delay(100) == 0.5
    # And who is late does not wait, and makes up for it
    clock.now = 110.0
    assert pace.delay(100) == 0
    assert pace.delay(600) == 2.0


def test_without_a_rate_nothing_waits() -> None:
    assert Pace(None, Clock()).delay(10**9) == 0


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(ConfigurationError, match="above 0"):
        Pace(rate, Clock())


def test_the_partitioner_is_that_of_the_configuration() -> None:
    murmur2 = config()
    crc32 = murmur2.model_copy(update={"events": murmur2.events.model_copy(update={"partitioner": "crc32"})})
    assert sender_settings(murmur2)["partitioner"] == "murmur2_random"
    assert sender_settings(crc32)["partitioner"] == "consistent_random"


def test_settings_add_up_and_what_a_guarantee_hangs_on_stays() -> None:
    settings = sender_settings(
        config(
            bootstrap_servers="kafka:1",
            client={"sasl.password": "s3cret"},
            producer={"linger.ms": 500, "enable.idempotence": False},
        )
    )
    assert settings["bootstrap.servers"] == "kafka:1"
    assert settings["sasl.password"] == "s3cret"
    assert settings["linger.ms"] == 500
    assert settings["enable.idempotence"] is True
