"""The judgement of topics, from what a broker may say of them."""

import dataclasses

import pytest
from confluent_kafka.admin import AclOperation

from worker.stream.topics import Seen, View, judge

EVENT = {"cleanup.policy": "delete", "retention.ms": "604800000", "retention.bytes": "-1", "max.message.bytes": "1000"}
MODEL = EVENT | {"retention.ms": "-1"}
DEAD = EVENT | {"max.message.bytes": str(1_000 + 65_536)}


def view(**changes):
    good = {
        "events": Seen(name="e", partitions=4, settings=EVENT),
        "model": Seen(name="m", partitions=4, settings=MODEL),
        "dead_letter": Seen(name="d", partitions=1, settings=DEAD),
    }
    for name, change in changes.items():
        good[name] = dataclasses.replace(good[name], **change)
    return View(**good)


def failures(**changes):
    found = judge(view(**changes))
    return [
        (finding.subject, finding.kind, finding.message, finding.action) for finding in found if finding.level == "fail"
    ]


def test_what_is_right_is_told_as_well():
    assert [(finding.level, finding.subject) for finding in judge(view())] == [("ok", "e"), ("ok", "m"), ("ok", "d")]


@pytest.mark.parametrize(("topic", "subject", "action"), [
    ("events", "e", "`headrace topics create --partitions N` makes it"),
    ("model", "m", "`headrace topics create` makes it"),
    ("dead_letter", "d", "`headrace topics create` makes it"),
])  # fmt: skip
def test_an_absent_topic(topic, subject, action):
    [(found, kind, message, what)] = failures(**{topic: {"partitions": 0, "settings": {}}})
    assert (found, kind, what) == (subject, "absent", action)
    assert "does not exist" in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cleanup.policy", "compact"),
        ("cleanup.policy", "compact,delete"),
        ("retention.ms", "1"),
        ("retention.bytes", "5"),
    ],
)
def test_a_model_topic_that_would_lose_models(name, value):
    [(subject, kind, message, action)] = failures(model={"settings": MODEL | {name: value}})
    assert (subject, kind) == ("m", "incompatible")
    assert f"{name} is '{value}'" in message
    assert action == "`headrace topics create --mend` sets it"


def test_a_model_topic_with_another_number_of_partitions():
    [(_, kind, message, action)] = failures(model={"partitions": 3})
    assert kind == "incompatible"
    assert "has 3 partitions, the event topic 4" in message
    assert "headrace topics create --mend" in action
    [(_, _, _, action)] = failures(model={"partitions": 5})
    assert "another model.topic" in action
    assert "--mend" not in action


def test_a_dead_letter_topic_too_small_for_the_largest_event():
    [(subject, kind, message, _)] = failures(dead_letter={"settings": DEAD | {"max.message.bytes": "66535"}})
    assert (subject, kind) == ("d", "incompatible")
    assert "66535 and must be 66536 at least" in message


@pytest.mark.parametrize(("topic", "allowed", "denied"), [
    ("events", set(), ["Read"]),
    ("model", {AclOperation.READ}, ["Write"]),
    ("model", set(), ["Read", "Write"]),
    ("dead_letter", {AclOperation.READ}, ["Write"]),
])  # fmt: skip
def test_each_missing_permission_is_named(topic, allowed, denied):
    found = failures(**{topic: {"operations": frozenset(allowed | {AclOperation.DESCRIBE})}})
    assert {kind for _, kind, _, _ in found} == {"forbidden"}
    assert [message for _, _, message, _ in found] == [f"{name} is not permitted" for name in denied]
    assert all(action.startswith("grant ") for *_, action in found)


def test_describe_and_describe_configs_are_told_apart():
    [(_, kind, message, action)] = failures(model={"partitions": 0, "settings": {}, "forbidden": True})
    assert (kind, action) == ("forbidden", "grant Describe on topic m")
    assert "may not be described" in message
    [(_, kind, message, action)] = failures(model={"settings": {}})
    assert (kind, action) == ("forbidden", "grant DescribeConfigs on topic m")


def test_a_model_topic_that_cannot_be_trimmed_is_a_warning():
    operations = frozenset({AclOperation.READ, AclOperation.WRITE})
    [warning] = [finding for finding in judge(view(model={"operations": operations})) if finding.level == "warn"]
    assert warning.action == "grant Delete on topic m"


def test_a_compacted_event_topic_is_a_warning():
    [warning] = [
        f for f in judge(view(events={"settings": EVENT | {"cleanup.policy": "compact"}})) if f.level == "warn"
    ]
    assert warning.subject == "e"
