import pytest
from pydantic import SecretStr

from worker.backtest.candidates import Candidate, distinct, from_files, milliseconds, with_baselines
from worker.backtest.winner import as_toml
from worker.config import Config
from worker.errors import ConfigurationError
from worker.settings import load

FILE = """\
[kafka]
bootstrap_servers = "broker:9092"
[kafka.client]
"security.protocol" = "SASL_SSL"
"sasl.password" = "very secret"
[events]
topic = "clicks"
[features.user]
[features.item]
admit_after = 2
[features.price]
kind = "numeric"
transform = "buckets"
edges = [1, 2.5]
[model]
factors = 4
pairs = [["user", "item"], ["bias", "price"]]
"""


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "headrace.toml"
    file.write_text(FILE)
    return file


def test_the_file_comes_first_and_what_is_the_same_is_left_out(path):
    every = [(("model.factors", factors), ("model.half_life", "1d")) for factors in ("4", "8")]
    found = from_files(path, [path], {}, [*every, (("model.factors", "4"),)])
    assert [one.name for one in found] == ["default", "factors=4 half_life=1d", "factors=8 half_life=1d"]
    assert found[2].config.model.factors == 8
    assert found[2].config.kafka == found[0].config.kafka
    assert found[2].settings == {"model.factors": 8, "model.half_life": "1d"}
    assert found[0].settings == {}


def test_names_are_unique_and_the_same_whatever_else_is_compared(path, tmp_path):
    for name, factors in (("a/same", 2), ("b/same", 3), ("c/default", 5), ("factors=8", 6), ("alone", 7)):
        file = tmp_path / f"{name}.toml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(FILE.replace("factors = 4", f"factors = {factors}"))
    files = {name: tmp_path / f"{name}.toml" for name in ("a/same", "b/same", "c/default", "factors=8", "alone")}
    every = [(("model.factors", "8"),), (("model.factors", "9"),)]
    found = from_files(path, list(files.values()), {}, every)
    names = {one.config.model.factors: one.name for one in found}
    assert names == {
        4: "default", 2: str(files["a/same"]), 3: str(files["b/same"]), 5: str(files["c/default"]), 6: "factors=8",
        7: "alone", 8: "factors=8 (2)", 9: "factors=9",
    }  # fmt: skip
    turned = from_files(path, list(files.values())[::-1], {}, every[::-1])
    assert {one.config.model.factors: one.name for one in turned} == names


def test_two_of_one_name_are_refused():
    one, other = (
        Candidate(name="mine", config=Config.model_validate({"features": {"user": {}}, "model": {"factors": factors}}))
        for factors in (2, 3)
    )
    with pytest.raises(ConfigurationError, match="two configurations are called mine"):
        distinct([one, other])
    assert [it.name for it in distinct([one, one])] == ["mine"]


def test_settings_are_written_as_in_the_environment_and_go_before_it(path):
    environment = {"HEADRACE_MODEL__FACTORS": "12", "HEADRACE_MODEL__SEED": "5"}
    found = from_files(path, [], environment, [(("model.factors", "8"), ("features.item.admit_after", "3"))])
    assert (found[0].config.model.factors, found[1].config.model.factors) == (12, 8)
    assert found[1].config.model.seed == 5
    assert found[1].config.features["item"].admit_after == 3


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.half_lif", "did you mean model.half_life"),
        ("modle.factors", "did you mean model.factors"),
        ("features.item.knd", "did you mean features.item.kind"),
        ("kafka.group", "changes nothing of what is learned"),
        ("metrics.port", "changes nothing of what is learned"),
    ],
)
def test_a_setting_that_is_none_is_refused(path, setting, message):
    with pytest.raises(ConfigurationError, match=message):
        from_files(path, [], {}, [((setting, "1"),)])


def test_what_cannot_be_is_told_of_every_combination_before_anything_runs(path):
    every = [
        (("model.factors", factors), ("model.kind", kind)) for factors in ("8", "-1") for kind in ("gaussian", "sgd")
    ]
    with pytest.raises(ConfigurationError) as raised:
        from_files(path, [], {}, every)
    assert "model.factors=-1 model.kind=gaussian" in str(raised.value)
    assert "model.factors=8 model.kind=sgd" in str(raised.value)
    assert "Nothing has run" in str(raised.value)
    assert "model.factors=8 model.kind=gaussian" not in str(raised.value)


@pytest.mark.parametrize("setting", ["events.topic", "model.name", "quality.window", "quality.freeze_events"])
def test_a_grid_over_what_decides_nothing_is_refused(path, setting):
    values = {"quality.window": "5000"}.get(setting, "other")
    if setting == "quality.freeze_events":
        path.write_text(FILE + "[quality]\nfreeze_events = 500\nfreeze_rejected_share = 0.5\n")
        values = "900"
    with pytest.raises(ConfigurationError, match=f"--grid: {setting}: changes nothing.*: leave it out"):
        from_files(path, [], {}, [(("model.factors", "8"), (setting, values))])


def test_what_decides_in_one_combination_is_no_vain_grid(path):
    every = [
        (("quality.window", window), ("quality.response", response))
        for window in ("20000", "5000")
        for response in ("alarm", "loosen")
    ]
    found = from_files(path, [], {}, every)
    # Without loosening the window decides nothing: one run does for both.
    assert [one.name for one in found] == [
        "default", "quality.window=20000 quality.response=loosen", "quality.window=5000 quality.response=loosen",
    ]  # fmt: skip


def test_meeting_more_often_is_of_merged_shards_and_a_partitioner_of_shards_by_key(path):
    meeting, parting = (("commit.interval_seconds", "5"),), (("events.partitioner", "crc32"),)
    assert len(from_files(path, [], {}, [meeting])) == 2
    path.write_text(FILE + "merge = false\n")
    with pytest.raises(ConfigurationError, match=r"changes nothing of what is learned without model\.merge = true"):
        from_files(path, [], {}, [meeting])
    with pytest.raises(ConfigurationError, match="changes nothing of what is learned without --shards"):
        from_files(path, [], {}, [parting])
    with pytest.raises(ConfigurationError, match=r"events\.partitioner differs"):
        from_files(path, [], {}, [parting], by_key=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"loss": "squared"}}, "losses of two kinds"),
        ({"events": {"max_bytes": 99}}, "events.max_bytes differs"),
        ({"events": {"earliest_time": "2000-01-01T00:00:00Z"}}, "events.earliest_time differs"),
        ({"events": {"max_future_seconds": 5, "time": "at"}}, "events.time and events.max_future_seconds differ"),
        ({"events": {"label": "bought"}}, "events.label differs"),
        ({"events": {"id": "id"}}, "events.id differs"),
        ({"events": {"keep_negatives": 0.5}}, "events.keep_negatives differs"),
    ],
)
def test_what_does_not_predict_the_same_is_refused(changes, message):
    features = {"user": {}, "item": {}}
    one, other = (Config.model_validate({"features": features} | more) for more in ({}, changes))
    with pytest.raises(ConfigurationError, match=message):
        distinct([Candidate(name="default", config=one), Candidate(name="other", config=other)])


def test_another_seed_would_keep_other_negatives():
    some = {"features": {"user": {}, "item": {}}, "events": {"keep_negatives": 0.5}}
    one, other = (Config.model_validate(some | {"model": {"seed": seed}}) for seed in (1, 2))
    with pytest.raises(ConfigurationError, match=r"has another model\.seed than default"):
        distinct([Candidate(name="default", config=one), Candidate(name="other", config=other)])


def test_baselines_stand_beside_the_first(path):
    found = with_baselines(from_files(path, [], {}), ["1d", "7d", "1d"], base_rate=True)
    assert [(one.name, one.kind, one.batch_ms) for one in found] == [
        ("default", "online", 0),
        ("default, retrained every 1d", "batch", 86_400_000),
        ("default, retrained every 7d", "batch", 7 * 86_400_000),
        ("base rate", "base rate", 0),
    ]
    with pytest.raises(ConfigurationError, match="no duration"):
        with_baselines(found, ["daily"], base_rate=False)
    with pytest.raises(ConfigurationError, match="learns online"):
        with_baselines(found, ["0"], base_rate=False)


@pytest.mark.parametrize("text", ["", "1", "1y", "-1d", "1.5h", "d"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="is no duration"):
        milliseconds(text)


def test_the_file_of_a_winner_is_the_same_configuration_without_secrets(path, tmp_path):
    (found,) = from_files(path, [], {})
    written = tmp_path / "winner.toml"
    written.write_text(as_toml(found.config, ["the best"]))
    text = written.read_text()
    assert "very secret" not in text
    assert "HEADRACE_KAFKA__CLIENT__SASL_PASSWORD" in text
    assert "seed" not in text  # a default
    again = load(written, {"HEADRACE_KAFKA__CLIENT__SASL_PASSWORD": "very secret"})
    assert again == found.config
    assert again.kafka.client["sasl.password"] == SecretStr("very secret")
    assert load(written, {}).learning == found.config.learning


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model": {"kind": "ftrl", "merge": False, "ftrl_l1": 0.5}},
        {"features": {"a b": {"field": 'x"y'}, "item": {"kind": "multi", "max_values": 3}}},
        {"events": {"id": "id", "skip": ["3:5-9"], "keep_negatives": 0.25}, "commit": {"interval_seconds": 2.5}},
        {"quality": {"slices": {"item": ["a", 'b"c']}, "window": 5_000}},
    ],
    ids=str,
)
def test_any_configuration_is_read_back(tmp_path, changes):
    config = Config.model_validate({"features": {"user": {}, "item": {}}} | changes)
    path = tmp_path / "winner.toml"
    path.write_text(as_toml(config))
    assert load(path, {}) == config
