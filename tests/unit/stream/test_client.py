"""The settings of Kafka clients, judged by librdkafka itself; no broker is needed."""

import pytest

from worker.errors import BrokerUnreachableError
from worker.settings import load
from worker.stream import client

USER = {"HEADRACE_FEATURES__USER__KIND": "categorical"}


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
@pytest.mark.parametrize("assignor", ["range", "cooperative-sticky"])
@pytest.mark.parametrize("instance", ["", "replica-0"])
@pytest.mark.parametrize("session", ["2", "20", "1000"])
def test_librdkafka_takes_every_combination(protocol, assignor, instance, session):
    given = {"GROUP_PROTOCOL": protocol, "ASSIGNOR": assignor, "INSTANCE_ID": instance}
    given["SESSION_TIMEOUT_SECONDS"] = session
    config = load(None, USER | {f"HEADRACE_KAFKA__{name}": value for name, value in given.items()})
    client.check(config)
    assert client._refusal(client.Consumer, client.reader_settings(config.kafka)) is None
    assert client._refusal(client.AdminClient, client.admin_settings(config)) is None


def test_kip_848_leaves_the_session_to_the_broker():
    settings = client.consumer_settings(load(None, USER | {"HEADRACE_KAFKA__GROUP_PROTOCOL": "consumer"}))
    assert settings["group.remote.assignor"] == "uniform"
    assert not settings.keys() & {"session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"}


def test_a_batch_never_exceeds_the_topics_limit():
    config = load(None, USER)
    assert client.producer_settings(config, "t", batch_limit_bytes=50_000)["batch.size"] == 50_000
    assert client.producer_settings(config, "t", batch_limit_bytes=10**8)["batch.size"] == 1_000_000


def test_the_user_may_tune_what_no_guarantee_hangs_on():
    config = load(None, USER | {"HEADRACE_KAFKA__PRODUCER__LINGER_MS": "50", "HEADRACE_KAFKA__CLIENT__CLIENT_ID": "me"})
    assert client.producer_settings(config, "t")["linger.ms"] == "50"
    assert client.admin_settings(config)["client.id"] == "me"


def test_a_broker_that_is_not_there_is_named_with_what_to_do():
    # Port 1 of the loopback: nothing listens there, and the refusal comes at once.
    config = load(None, USER | {"HEADRACE_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    with pytest.raises(
        BrokerUnreachableError, match=r"no broker answered at 127.0.0.1:1 within 1 s: .*refused.*Set kafka"
    ):
        client.reach(config, 1)
