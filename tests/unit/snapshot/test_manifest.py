"""The manifest: what it says, and which settings differ."""

import pytest

from tests.support.lineage import Writer, events, learning_of, versions
from worker.errors import CorruptSnapshotError, IncompatibleDataError
from worker.learning import Learning
from worker.snapshot.lineage import require_same_learning
from worker.snapshot.manifest import Manifest, Peer, describe, differences
from worker.snapshot.manifest import learning_of as settings_of
from worker.snapshot.records import Kind, decode_contribution
from worker.snapshot.sealing import Folding


def first_manifest() -> Manifest:
    writer = Writer()
    return writer.advance()


def changed(learning: Learning, section: str, **values) -> Learning:
    return learning.model_copy(update={section: getattr(learning, section).model_copy(update=values)})


def test_a_manifest_says_what_was_learned_and_how():
    manifest = first_manifest()
    assert (manifest.version, manifest.parent, manifest.parent_chain) == (1, 0, "")
    assert manifest.input.model_dump() == {"topic": "interactions", "partition": 0, "next_offset": 50}
    assert manifest.state.events == 50
    assert (manifest.peers, manifest.state.view) == ({}, ""), "of shards that are not merged"
    assert manifest.began == 1, "the first version is a base"
    assert settings_of(manifest) == learning_of()
    bases = [base.model_dump() for base in manifest.bases]
    assert bases == [{"version": 1, "completed": 1, "offset": 0, "peers": {}}]


def test_a_manifest_of_merged_shards_names_what_was_folded_in():
    one, other = (Writer(learning_of(merge=True), shard) for shard in (0, 1))
    one.advance()
    peer = Peer(version=1, offset=one.next_offset)
    added = versions(one.log, one.learning)[0].of_kind(Kind.CONTRIBUTION)  # to rows, and to pairs
    foldings = [Folding(shard=0, peer=peer, contribution=decode_contribution(it.value, 4)) for it in added]
    other.learn(events(50, 7))
    manifest = Manifest.decode(other.commit(foldings).encode())
    assert manifest.peers == {0: peer}
    assert manifest.state.view == other.state.view() != one.manifests[0].state.view
    assert len(manifest.state.view) == 16


def test_a_manifest_is_read_as_it_was_written():
    manifest = first_manifest()
    assert Manifest.decode(manifest.encode()) == manifest
    assert Manifest.link(manifest.encode()) == Manifest.link(Manifest.decode(manifest.encode()).encode())


def test_what_a_later_release_says_beside_is_passed_over():
    manifest = first_manifest()
    more = manifest.encode()[:-1] + b',"news":1}'
    assert Manifest.decode(more) == manifest
    assert Manifest.link(more) != Manifest.link(manifest.encode()), "yet its link is of all its bytes"


@pytest.mark.parametrize("value", [b"", b"{}", b"[]", b"\xff", b'{"format":1}'])
def test_what_is_no_manifest_is_refused(value):
    with pytest.raises(CorruptSnapshotError, match="a manifest cannot be read"):
        Manifest.decode(value)


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (changed(learning_of(), "model", factors=8), "model.factors: published 4, configured 8"),
        (changed(learning_of(), "model", seed=1), "model.seed: published 0, configured 1"),
        (changed(learning_of(), "model", merge=True), "model.merge: published False, configured True"),
        (changed(learning_of(), "model", loss="squared"), "model.loss: published 'logistic', configured 'squared'"),
        (changed(learning_of(), "events", label="click"), "events.label: published 'label', configured 'click'"),
        (
            Learning.model_validate(describe(learning_of()) | {"features": {"user": {}, "item": {"kind": "multi"}}}),
            "features.item.kind: published 'categorical', configured 'multi'",
        ),
        (
            Learning.model_validate(describe(learning_of()) | {"features": {"item": {}, "user": {}}}),
            "features: the same, in another order",
        ),
    ],
)
def test_differences_name_the_setting_and_both_values(wanted, told):
    assert differences(describe(learning_of()), describe(wanted)) == [told]


def test_a_feature_more_or_less_is_named():
    more = Learning.model_validate(describe(learning_of()) | {"features": {"user": {}, "item": {}, "hour": {}}})
    found = differences(describe(learning_of()), describe(more))
    assert "features.hour.kind: published None, configured 'categorical'" in found
    assert all(line.startswith("features.hour.") for line in found)


def test_names_and_places_do_not_decide_what_is_learned():
    wanted = changed(changed(learning_of(), "model", name="x", topic="y"), "events", topic="z", start="latest")
    assert differences(describe(learning_of()), describe(wanted)) == []


def test_a_worker_refuses_a_model_that_was_learned_otherwise():
    with pytest.raises(IncompatibleDataError, match=r"model\.factors: published 4, configured 8") as caught:
        require_same_learning(first_manifest(), changed(learning_of(), "model", factors=8), "group")
    assert "a topic of its own" in str(caught.value)
    assert caught.value.exit_code == 4


def test_a_worker_refuses_the_model_of_another_group():
    with pytest.raises(IncompatibleDataError, match="belongs to the group 'group', this worker is of 'other'"):
        require_same_learning(first_manifest(), learning_of(), "other")


def test_a_setting_with_a_default_that_an_earlier_release_did_not_have_makes_no_difference():
    manifest = first_manifest()
    del manifest.learning["model"]["noise_variance"]
    require_same_learning(manifest, learning_of(), "group")


def test_settings_of_a_later_release_are_refused_by_name():
    manifest = first_manifest()
    manifest.learning["model"]["wings"] = 2
    with pytest.raises(IncompatibleDataError, match=r"upgrade headrace: model\.wings"):
        settings_of(manifest)


@pytest.mark.parametrize(
    ("published", "configured", "agree"),
    [
        ((), ("0:50-99",), True),  # the version has learned all before offset 50
        ((), ("0:49-99",), False),
        ((), ("1:0-99",), True),
        (("0:0-9",), (), False),
        (("0:0-9",), ("0:0-19",), False),
        (("0:0-4", "0:5-9"), ("0:0-9", "0:60-61"), True),
        (("0:40-60",), ("0:40-90",), True),
        (("0:60-70",), (), True),
    ],
)
def test_what_is_passed_over_may_change_for_what_is_not_learned_yet(published, configured, agree):
    manifest = Writer(changed(learning_of(), "events", skip=published)).advance()
    assert manifest.input.next_offset == 50
    wanted = changed(learning_of(), "events", skip=configured)
    if agree:
        require_same_learning(manifest, wanted, "group")
    else:
        with pytest.raises(
            IncompatibleDataError, match=r"events.skip: shard 0 is learned before offset 50, and of that"
        ):
            require_same_learning(manifest, wanted, "group")
    assert differences(manifest.learning, describe(wanted)) == [], "a follower does not mind"
