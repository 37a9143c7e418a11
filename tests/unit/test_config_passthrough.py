"""librdkafka's own settings: handed through, refused, or masked."""

import json
from pathlib import Path

import pytest

from worker.commands.rendering import as_json, as_toml
from worker.errors import ConfigurationError
from worker.passthrough import GUARDED, NAMES, is_secret
from worker.settings import load, read
from worker.stream import client

USER = {"HEADRACE_FEATURES__USER__KIND": "categorical"}


def load_text(folder: Path, text: str, environment: dict[str, str] | None = None):
    path = folder / "headrace.toml"
    path.write_text(f"{text}\n[features.user]\n")
    return load(path, environment or {})


def test_names_with_dots_may_be_quoted_or_nested(tmp_path):
    quoted = load_text(tmp_path, '[kafka.consumer]\n"fetch.max.bytes" = 70000000')
    nested = load_text(tmp_path, "[kafka.consumer]\nfetch.max.bytes = 70000000")
    table = load_text(tmp_path, "[kafka.consumer.fetch.max]\nbytes = 70000000")
    assert quoted.kafka.consumer == {"fetch.max.bytes": 70_000_000}
    assert quoted == nested == table


def test_names_in_the_environment_have_underscores_for_dots():
    config = load(None, USER | {"HEADRACE_KAFKA__CLIENT__SECURITY_PROTOCOL": "plaintext",
                                "HEADRACE_KAFKA__CLIENT__LOG_LEVEL": "7",
                                "HEADRACE_KAFKA__PRODUCER__COMPRESSION__TYPE": "zstd"})  # fmt: skip
    assert config.kafka.client == {"security.protocol": "plaintext", "log_level": "7"}
    assert config.kafka.producer == {"compression.type": "zstd"}
    client.check(config)


@pytest.mark.parametrize("name", sorted(GUARDED))
@pytest.mark.parametrize("table", ["client", "consumer", "producer"])
def test_what_a_guarantee_hangs_on_is_refused_with_what_to_set_instead(tmp_path, name, table):
    with pytest.raises(ConfigurationError) as caught:
        load_text(tmp_path, f'[kafka.{table}]\n"{name}" = 1')
    assert (
        str(caught.value) == f"{tmp_path / 'headrace.toml'}: kafka.{table}.{name}: not to be set here: {GUARDED[name]}"
    )
    with pytest.raises(ConfigurationError, match="not to be set here"):
        load(None, USER | {f"HEADRACE_KAFKA__{table}__{name.replace('.', '_')}".upper(): "1"})


@pytest.mark.parametrize(
    ("table", "name", "right"), [("client", "linger.ms", "producer"), ("producer", "check.crcs", "consumer")]
)
def test_a_setting_in_the_wrong_table_is_told_its_place(tmp_path, table, name, right):
    with pytest.raises(ConfigurationError, match=rf"write it under \[kafka\.{right}\]"):
        load_text(tmp_path, f"[kafka.{table}]\n{name} = 1")


def test_guarded_and_listed_names_exist_in_the_installed_librdkafka():
    for name in NAMES:
        problem = client._refusal(client.Producer, {name: "?"})
        assert problem is None or "No such configuration property" not in problem, name
    assert set(GUARDED) <= NAMES | {"test.mock.num.brokers", "test.mock.broker.rtt"}


def test_an_unknown_name_is_refused_with_the_nearest_and_its_value_never_shown(tmp_path):
    config = load_text(
        tmp_path, '[kafka.client]\nsasl.pasword = "hunter2"\n[kafka.producer]\nlogger = "x"\nstats_cb = "x"'
    )
    with pytest.raises(ConfigurationError) as caught:
        client.check(config)
    assert str(caught.value).splitlines() == [
        "kafka.client.sasl.pasword: no such setting of librdkafka; did you mean sasl.password?",
        "kafka.producer.logger: no such setting of librdkafka; its CONFIGURATION.md lists them all",
        "kafka.producer.stats_cb: no such setting of librdkafka; its CONFIGURATION.md lists them all",
    ]
    assert "hunter2" not in repr(config)


def test_a_value_that_librdkafka_refuses_is_told_in_its_words(tmp_path):
    config = load_text(tmp_path, "[kafka.producer]\nretries = 0\n[kafka.consumer]\nheartbeat.interval.ms = -5")
    with pytest.raises(ConfigurationError) as caught:
        client.check(config)
    assert len(str(caught.value).splitlines()) == 2


def test_secrets_are_masked_wherever_a_configuration_is_shown(tmp_path):
    secret = "s3cret-value"  # noqa: S105
    (tmp_path / "headrace.toml").write_text(
        f"""
        [kafka]
        bootstrap_servers = "ann:{secret}@one:9092,two:9092"
        [kafka.client]
        sasl.username = "ann"
        sasl.password = "{secret}"
        ssl.key.pem = "{secret}"
        sasl.oauthbearer.config = "secret={secret}"
        [features.user]
        """
    )
    loaded = read(tmp_path / "headrace.toml", {"HEADRACE_KAFKA__CLIENT__SSL_KEY_PASSWORD": secret})
    for shown in (as_toml(loaded), as_json(loaded), repr(loaded.config.kafka.client)):
        assert secret not in shown
    assert json.loads(as_json(loaded))["settings"]["kafka"]["client"]["sasl.username"] == "ann"
    # ... and they do arrive where they are needed.
    assert client.consumer_settings(loaded.config)["sasl.password"] == secret
    assert client.producer_settings(loaded.config, "t")["ssl.key.password"] == secret


@pytest.mark.parametrize(
    "name",
    [
        "sasl.password",
        "ssl.key.password",
        "ssl.keystore.password",
        "ssl.key.pem",
        "sasl.jaas.config",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.assertion.private.key.passphrase",
    ],
)
def test_secret_names(name):
    assert is_secret(name)


def test_a_guarantee_outranks_what_is_handed_through():
    # The loader refuses these; were one to slip by, it would still not reach librdkafka.
    config = load(None, USER)
    kafka = config.kafka.model_copy(
        update={"client": {"enable.auto.commit": True, "acks": "0", "isolation.level": "x"}}
    )
    slipped = config.model_copy(update={"kafka": kafka})
    consumer, producer = client.consumer_settings(slipped), client.producer_settings(slipped, "t")
    assert consumer["enable.auto.commit"] is False
    assert consumer["isolation.level"] == "read_committed"
    assert producer["acks"] == "all"
