"""Topics on a real broker: looked at, made, mended, and refused."""

import json
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

from tests.support.command import headrace_text
from tests.support.topics import create_topic
from worker.config import Snapshots
from worker.errors import ConfigurationError, IncompatibleDataError
from worker.settings import load
from worker.stream import client, doctor, provision, topics

ROOT = Path(__file__).parents[2]


@pytest.fixture
def environment(kafka, unique):
    return {
        "HEADRACE_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "HEADRACE_KAFKA__GROUP": unique,
        "HEADRACE_EVENTS__TOPIC": f"{unique}.events",
        "HEADRACE_MODEL__TOPIC": f"{unique}.model",
        "HEADRACE_DEAD_LETTER__TOPIC": f"{unique}.rejected",
        "HEADRACE_FEATURES__USER__KIND": "categorical",
        "HEADRACE_METRICS__PORT": "0",
    }


@pytest.fixture
def config(environment):
    return load(None, environment)


@pytest.fixture
def admin(config):
    return client.administer(config)


def make(admin: AdminClient, name: str, partitions: int, **settings: str) -> None:
    new = NewTopic(
        name,
        num_partitions=partitions,
        replication_factor=1,
        config={k.replace("_", "."): v for k, v in settings.items()},
    )
    create_topic(admin, new)


def failures(admin, config):
    return [(found.subject, found.kind) for found in topics.check(admin, config) if found.level == "fail"]


def test_looking_makes_no_topic(admin, config):
    names = [config.events.topic, config.model.topic, config.dead_letter.topic]
    for _ in range(2):
        assert failures(admin, config) == [(name, "absent") for name in names]
    assert not set(names) & set(client.reach(config).topics)
    with pytest.raises(ConfigurationError, match="headrace topics create --partitions N"):
        topics.require(admin, config)


def test_what_is_made_is_what_is_required(admin, config):
    # Given nothing, the number of partitions has to be told
    with pytest.raises(ConfigurationError, match="--partitions N"):
        provision.create(admin, config)
    # When it is, all three are made, and at once they are as a worker needs them
    assert len(provision.create(admin, config, partitions=3)) == 3
    found = topics.require(admin, config)
    assert found.partitions == 3
    assert found.model_record_limit_bytes == topics.look(admin, config).model.limit_bytes()
    assert found.dead_letter_limit_bytes >= found.model_record_limit_bytes + 65_536
    # Then a second time there is nothing to do, and another number is refused.
    assert provision.create(admin, config, mend=True) == []
    with pytest.raises(ConfigurationError, match="has 3 partitions already, not 4"):
        provision.create(admin, config, partitions=4)


@pytest.mark.parametrize(
    "settings",
    [
        {"cleanup_policy": "compact", "retention_ms": "-1"},
        {"retention_ms": "3600000"},
        {"retention_ms": "-1", "retention_bytes": "1000000"},
    ],
)
def test_a_model_topic_that_would_lose_models_is_refused_and_mended(admin, config, settings):
    make(admin, config.events.topic, 2)
    make(admin, config.model.topic, 2, **settings)
    provision.create(admin, config)
    with pytest.raises(IncompatibleDataError, match="headrace topics create --mend") as caught:
        topics.require(admin, config)
    assert caught.value.exit_code == 4
    assert provision.create(admin, config, mend=True)
    assert topics.require(admin, config).partitions == 2


def test_a_model_topic_with_fewer_partitions_is_given_more_and_one_with_more_is_refused(admin, config):
    make(admin, config.events.topic, 3)
    make(admin, config.model.topic, 2, retention_ms="-1")
    provision.create(admin, config)
    with pytest.raises(IncompatibleDataError, match="has 2 partitions, the event topic 3"):
        topics.require(admin, config)
    provision.create(admin, config, mend=True)
    assert topics.require(admin, config).partitions == 3

    larger = config.model_copy(update={"model": config.model.model_copy(update={"topic": f"{config.model.topic}.5"})})
    make(admin, larger.model.topic, 5, retention_ms="-1")
    with pytest.raises(IncompatibleDataError, match=r"another model\.topic"):
        topics.require(admin, larger)


def test_a_dead_letter_topic_grows_with_the_event_topic(admin, config):
    provision.create(admin, config, partitions=1)
    entry = ConfigEntry("max.message.bytes", "5242880", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, config.events.topic, incremental_configs=[entry])
    admin.incremental_alter_configs([resource])[resource].result()
    # The change is asked for until the broker tells it: mending looks by itself.
    while not failures(admin, config):
        pass
    assert failures(admin, config) == [(config.dead_letter.topic, "incompatible")]
    provision.create(admin, config, mend=True)
    assert topics.require(admin, config).dead_letter_limit_bytes == 5_242_880 + 65_536


def test_the_doctor_finds_all_well_and_says_so(admin, config):
    provision.create(admin, config, partitions=1)
    found = doctor.examine(config)
    assert [finding for finding in found if finding.level == "fail"] == []
    assert {"broker", "transactions", f"group {config.kafka.group}"} <= {finding.subject for finding in found}
    assert doctor.exit_code(found) == 0


def test_the_doctor_warns_of_one_base_for_merged_shards(config):
    config = config.model_copy(update={"snapshots": Snapshots(keep_bases=1)})
    found = doctor.examine(config)
    assert {finding.level for finding in found if "keep_bases" in finding.subject} == {"warn"}
    assert any(finding.subject == "broker" for finding in found), "and goes on"


def test_the_commands(environment, config, tmp_path):
    def run(*arguments):
        return headrace_text(*arguments, environment=environment, folder=tmp_path)

    assert run("topics", "check").returncode == 2
    made = run("topics", "create", "--partitions", "2", "--replication", "1")
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.startswith(f"{config.events.topic}: made, 2 partitions\n")
    again = run("topics", "create")
    assert (again.returncode, again.stdout) == (0, "nothing to do\n")
    checked = run("topics", "check", "--json")
    assert checked.returncode == 0
    assert {finding["level"] for finding in json.loads(checked.stdout)} == {"ok"}
    assert run("doctor").returncode == 0
