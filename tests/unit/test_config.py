# ruff: noqa: E501 - messages are shown whole
"""Loading: files, the environment, and what is said of mistakes."""

import itertools
import json
import tomllib
from pathlib import Path

import pytest

from worker.commands.rendering import as_toml, example
from worker.errors import ConfigurationError
from worker.learning import Learning
from worker.modelling import ONLY_OF, Model
from worker.settings import load, read

USER = {"HEADRACE_FEATURES__USER__KIND": "categorical"}


def write(folder: Path, text: str) -> Path:
    path = folder / "headrace.toml"
    path.write_text(text)
    return path


def problems(path: Path | None, environment: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(path, environment or {})
    assert caught.value.exit_code == 2
    return str(caught.value).splitlines()


def test_a_file_sets_what_it_names_and_nothing_else(tmp_path):
    config = load(write(tmp_path, '[kafka]\ngroup = "g"\n[features.user]\n'), {})
    assert config.kafka.group == "g"
    assert config.kafka.bootstrap_servers == "localhost:9092"
    assert list(config.features) == ["user"]


def test_the_environment_goes_before_the_file_whatever_its_case(tmp_path):
    path = write(tmp_path, '[kafka]\ngroup = "file"\n[features.User]\n')
    loaded = read(path, {"headrace_kafka__GROUP": "environment", "HEADRACE_FEATURES__USER__FIELD": "uid"})
    assert loaded.config.kafka.group == "environment"
    # A feature keeps the case that the file gives it: no second feature is made.
    assert {name: feature.field for name, feature in loaded.config.features.items()} == {"User": "uid"}
    assert loaded.origins["kafka.group"] == "headrace_kafka__GROUP"
    assert loaded.origins["features.User.field"] == "HEADRACE_FEATURES__USER__FIELD"
    assert loaded.origins["features.User"] == str(path)


def test_values_of_the_environment_are_toml_unless_a_text_is_asked_for():
    config = load(
        None,
        {
            "HEADRACE_FEATURES__AGE__KIND": "numeric",
            "HEADRACE_FEATURES__AGE__TRANSFORM": "buckets",
            "HEADRACE_FEATURES__AGE__EDGES": "[18, 65.5]",
            "HEADRACE_METRICS__PORT": "0",
            "HEADRACE_MODEL__NAME": "007",
            "HEADRACE_EVENTS__WEIGHT": "true",
        },
    )
    assert config.features["age"].edges == (18.0, 65.5)
    assert config.metrics.port == 0
    assert config.model.name == "007"
    assert config.events.weight == "true"


def test_an_empty_variable_counts_as_unset_and_others_are_not_ours():
    environment = {**USER, "HEADRACE_KAFKA__GROUP": "", "HEADRACE_CONFIG": "x", "HEADRACE_CACHE": "y", "PATH": "z"}
    assert load(None, environment) == load(None, USER)


def test_variables_that_kubernetes_makes_for_services_are_not_taken_for_settings():
    links = {
        "HEADRACE_SERVICE_HOST": "10.0.0.1",
        "HEADRACE_SERVICE_PORT": "9464",
        "HEADRACE_SERVICE_PORT_METRICS": "9464",
        "HEADRACE_METRICS_PORT": "tcp://10.0.0.1:9464",
        "HEADRACE_METRICS_PORT_9464_TCP": "tcp://10.0.0.1:9464",
        "HEADRACE_METRICS_PORT_9464_TCP_ADDR": "10.0.0.1",
        "HEADRACE_METRICS_PORT_9464_TCP_PROTO": "tcp",
    }
    assert load(None, USER | links) == load(None, USER)
    # ... while the same name with a number is a setting misspelt.
    assert problems(None, USER | {"HEADRACE_METRICS_PORT": "9464"}) == [
        "HEADRACE_METRICS_PORT: no such setting; did you mean HEADRACE_METRICS__PORT?"
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[kafka]\nbootstrp_servers = 'x'", "kafka.bootstrp_servers: no such setting; did you mean kafka.bootstrap_servers?"),
        ("[kafak]\ngroup = 'x'", "kafak: no such setting; did you mean kafka?"),
        ("port = 1", "port: no such setting; did you mean metrics.port?"),
        ("[log]\nzzz = 1", "log.zzz: no such setting; log has level, format"),
        ("[features.user]\nknd = 'x'", "features.user.knd: no such setting; did you mean features.user.kind?"),
        ("kafka = 3", "kafka: must be a table, written [kafka]"),
        ("[metrics]\nport = 70000", "metrics.port: input should be less than or equal to 65535, not 70000"),
        ("[commit]\ninterval_seconds = inf", "commit.interval_seconds: input should be a finite number, not inf"),
        ("[events]\nearliest_time = '1990'", "events.earliest_time: must be a time with its zone, such as 1990-01-01T00:00:00Z, not '1990'"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_file_names_the_file_and_the_setting(tmp_path, text, told):
    path = write(tmp_path, f"{text}\n" if "features" in text else f"{text}\n[features.user]\n")
    assert problems(path) == [f"{path}: {told}"]


NUMBER = {"kind": "numeric"}


@pytest.mark.parametrize(
    ("feature", "standardised"),
    [
        (NUMBER, True),
        (NUMBER | {"transform": "log", "clip": 3}, True),
        (NUMBER | {"shift": 0.0, "scale": 1.0, "standardise": "on"}, True),
        (NUMBER | {"standardise": "off"}, False),
        (NUMBER | {"shift": 2.0}, False),
        (NUMBER | {"scale": 0.01}, False),
        (NUMBER | {"transform": "buckets", "edges": [1]}, False),
        ({}, False),
    ],
)
def test_numbers_are_standardised_unless_they_are_scaled_by_hand(feature, standardised):
    learning = Learning.model_validate({"features": {"user": {}, "x": feature}})
    assert learning.standardised == (("x",) if standardised else ())
    # and whoever reads it of a manifest, where every default stands, says the same
    assert Learning.model_validate_json(learning.model_dump_json()).standardised == learning.standardised


@pytest.mark.parametrize(
    ("feature", "told"),
    [
        ({"standardise": "on"}, 'standardise = "on" needs kind = "numeric", and a transform other than "buckets"'),
        (NUMBER | {"standardise": "on", "transform": "buckets", "edges": [1]},
         'standardise = "on" needs kind = "numeric", and a transform other than "buckets"'),
        (NUMBER | {"standardise": "on", "scale": 2}, 'standardise = "on" finds shift and scale by itself: leave them out'),
        (NUMBER | {"scale": 2, "clip": 3}, "`clip` is of numbers that are standardised, and this feature is not: leave it out"),
        (NUMBER | {"clip": 0}, "input should be greater than 0"),
    ],
)  # fmt: skip
def test_settings_of_numbers_that_do_not_go_together_are_told(tmp_path, feature, told):
    text = "\n".join(f"{name} = {json.dumps(value)}" for name, value in feature.items())
    path = write(tmp_path, f"[features.x]\n{text}\n")
    (problem,) = problems(path)
    assert problem.removeprefix(f"{path}: ").startswith(("features.x: " + told, "features.x.clip: " + told))


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("HEADRACE_KAFKA__GROP", "x", "no such setting; did you mean HEADRACE_KAFKA__GROUP?"),
        ("HEADRACE_KAFKA_GROUP", "x", "no such setting; did you mean HEADRACE_KAFKA__GROUP?"),
        ("HEADRACE_KAFKA", "{}", "a table; set HEADRACE_KAFKA__NAME"),
        ("HEADRACE_KAFKA__GROUP__X", "x", "no such setting; did you mean HEADRACE_KAFKA__GROUP?"),
        ("HEADRACE_FEATURES__USER", "x", "a table; set HEADRACE_FEATURES__USER__NAME"),
        ("HEADRACE_RUN__POLL_EVENTS", "many", "run.poll_events: input should be a valid integer, unable to parse string as an integer, not 'many'"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_environment_names_the_variable(variable, value, told):
    assert problems(None, USER | {variable: value}) == [f"{variable}: {told}"]


def test_everything_that_is_wrong_is_told_at_once(tmp_path):
    path = write(tmp_path, "[model]\nfactors = -1\nkind = 'gausian'\n[log]\nlevel = 'loud'\n[features.user]\n")
    told = problems(path, {"HEADRACE_KAFKA__GROP": "x", "HEADRACE_COMMIT__MAX_EVENTS": "0"})
    assert len(told) == 5
    assert len(set(told)) == 5


def test_without_features_an_example_is_shown_that_works(tmp_path):
    told = problems(write(tmp_path, "[kafka]\ngroup = 'g'\nx = 1\n"))
    assert told[0].endswith("kafka.x: no such setting; kafka has bootstrap_servers, group, group_protocol, assignor, "
                            "instance_id, session_timeout_seconds, transaction_timeout_seconds, client, consumer, producer")  # fmt: skip
    assert "features: none configured" in told[1]
    shown = "\n".join(told[2:])
    assert list(load(write(tmp_path, shown), {}).features) == ["user", "item"]


def test_three_topics_are_three_topics():
    assert problems(None, USER | {"HEADRACE_MODEL__TOPIC": "interactions"}) == [
        "events.topic, model.topic and dead_letter.topic must be three different topics"
    ]


def test_text_that_is_no_toml_is_told_by_line_and_column(tmp_path):
    path = write(tmp_path, "[kafka]\ngroup = \n")
    assert problems(path) == [f"{path}: not TOML: Invalid value (at line 2, column 9)"]


def test_bytes_that_are_no_utf8_are_told_by_line(tmp_path):
    path = tmp_path / "headrace.toml"
    path.write_bytes(b"[kafka]\ngroup = '\xff'\n")
    assert problems(path) == [f"{path}: not UTF-8 (at line 2); save it as UTF-8"]


def test_a_file_that_is_not_there_or_is_a_folder(tmp_path):
    assert "no such file" in problems(tmp_path / "none.toml")[0]
    assert "cannot be read" in problems(tmp_path)[0]


def test_the_example_holds_every_setting_and_all_of_it_loads(tmp_path):
    as_it_stands = load(write(tmp_path, example()), {})
    assert as_it_stands == load(None, USER | {"HEADRACE_FEATURES__ITEM__KIND": "categorical"})
    # Uncommented line by line, every default is the default (a text that is not set is the one exception).
    lines = itertools.takewhile(lambda line: "[kafka.client]" not in line, example().splitlines())
    bare = "\n".join(
        line.removeprefix("# ") for line in lines if not line.startswith("# ") or (" = " in line and '= ""' not in line)
        if not line.startswith('# kind = "categorical"')
    )  # fmt: skip
    settings = tomllib.loads(bare.split("[features.user]", maxsplit=1)[0])
    assert settings["events"].keys() == set(type(as_it_stands.events).model_fields) - {"weight", "id"}
    for name, value in settings["events"].items():
        assert getattr(as_it_stands.events, name) == (tuple(value) if isinstance(value, list) else value)


def test_what_is_shown_loads_to_the_same_configuration(tmp_path):
    loaded = read(
        write(tmp_path, '[features."odd name"]\nfield = "a\\"b"\n[features.n]\nkind = "numeric"\ntransform = "buckets"\n'
                        "edges = [1, 1e30]\n[kafka.producer]\nlinger.ms = 1\n"), {}
    )  # fmt: skip
    shown = tmp_path / "shown.toml"
    shown.write_text(as_toml(loaded))
    assert load(shown, {}) == loaded.config


LINEAR = [("sgd", "learning_rate"), ("ftrl", "ftrl_alpha")]


@pytest.mark.parametrize(("kind", "setting"), LINEAR)
def test_a_textbook_learner_needs_to_be_told_that_its_shards_are_not_merged(tmp_path, kind, setting):
    text = f"[features.user]\n[model]\nkind = '{kind}'\n{setting} = 0.25\n"
    path = write(tmp_path, text)
    assert problems(path) == [
        f'{path}: model: kind = "{kind}": what shards learn apart adds up for the Gaussian\'s posteriors only: set model.merge = false, then each shard learns its own copy of what others learn too'
    ]
    loaded = read(write(tmp_path, f"{text}merge = false\n"), {})
    assert (loaded.config.model.kind, getattr(loaded.config.model, setting)) == (kind, 0.25)
    assert loaded.config.model.factors == 0, "whatever the default: a linear model has none"
    shown = tmp_path / "shown.toml"
    shown.write_text(as_toml(loaded))
    assert load(shown, {}) == loaded.config
    assert load(write(tmp_path, f"{text}merge = false\nfactors = 0\n"), {}) == loaded.config


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("kind = 'sgd'\nmerge = false\nfactors = 8", '`factors` is a setting of kind = "gaussian" and means nothing here: leave it out'),
        ("kind = 'ftrl'\nmerge = false\nhalf_life = '14d'", '`half_life` is a setting of kind = "gaussian" and means nothing here: leave it out'),
        ("kind = 'ftrl'\nmerge = false\nlearning_rate = 0.1", '`learning_rate` is a setting of kind = "sgd" and means nothing here: leave it out'),
        ("learning_rate = 0.1", '`learning_rate` is a setting of kind = "sgd" and means nothing here: leave it out'),
        ("kind = 'sgd'\nmerge = false\nloss = 'squared'\nlabel_noise = 0.1", '`label_noise` is of labels that are 0 or 1: set model.loss = "logistic", or leave it out'),
        ("ftrl_l1 = 1", '`ftrl_l1` is a setting of kind = "ftrl" and means nothing here: leave it out'),
        ("kind = 'ftrl'\nmerge = false\nloss = 'squared'", 'it learns by logistic loss: set model.loss = "logistic", or take model.kind = "sgd"'),
    ],
)  # fmt: skip
def test_a_setting_that_means_nothing_for_the_kind_of_learner_is_refused(tmp_path, model, told):
    path = write(tmp_path, f"[features.user]\n[model]\n{model}\n")
    kind = model.split("'")[1] if "kind" in model else "gaussian"
    assert problems(path) == [f'{path}: model: kind = "{kind}": {told}']


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[events]\nkeep_negatives = 0.1\n[model]\nloss = 'squared'", 'events.keep_negatives: a label of 0 is a negative for the logistic loss only: set model.loss = "logistic", or leave it out'),
        ("[events]\nduplicate_window = 1_000", "events: `duplicate_window` means nothing without `id`: name the field of the event's id, or leave it out"),
        ("[events]\nkeep_negatives = 0", "events.keep_negatives: input should be greater than 0, not 0"),
        ("[model]\nlabel_noise = 0.5", "model.label_noise: input should be less than 0.5, not 0.5"),
    ],
)  # fmt: skip
def test_what_is_learned_of_the_intake_is_checked(tmp_path, text, told):
    path = write(tmp_path, f"{text}\n[features.user]\n")
    assert problems(path) == [f"{path}: {told}"]


@pytest.mark.parametrize(
    ("size", "bytes_"), [("off", 0), ("2GiB", 2 * 1024**3), ("64 MiB", 64 * 1024**2), (5_000_000, 5_000_000)]
)
def test_a_size_is_a_number_of_bytes_or_of_larger_units(size, bytes_):
    assert Model(max_bytes=size).max_bytes_each == bytes_


@pytest.mark.parametrize("size", ["2GB", "some", "-1", "1.5GiB", True])
def test_another_size_is_refused(size):
    with pytest.raises(ValueError, match="max_bytes"):
        Model(max_bytes=size)


@pytest.mark.parametrize(
    ("bound", "told"),
    [
        ("max_rows = 263", "model.max_rows = 263 is too few: an event may have 66 rows, at least 4 times as many are needed, 264"),
        ("max_bytes = '64KiB'", "model.max_bytes = '64KiB' is too few: 4 events of 66 rows each take 129888 bytes"),
    ],
)  # fmt: skip
def test_a_bound_below_a_few_events_is_refused(tmp_path, bound, told):
    path = write(tmp_path, f"[features.user]\n[features.tags]\nkind = 'multi'\n[model]\n{bound}\n")
    assert problems(path) == [f"{path}: {told}; or lower `max_values` of multi-valued features"]


def problem_of_pairs(tmp_path: Path, model: str) -> str:
    path = write(tmp_path, f"[features.user]\n[features.item]\n[model]\n{model}\n")
    (told,) = problems(path)
    return told.removeprefix(f"{path}: ").removeprefix("model: ")


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ('pairs = [["user", "itm"]]', "model.pairs names 'itm', which is no feature; nor is it the bias"),
        ('pairs = [["user", "user"]]', "model.pairs: 'user' and itself are no pair"),
        ('pairs = [["user", "item"], ["item", "user"]]', "model.pairs names a pair twice"),
        ("pairs = []", 'model.pairs is an empty list: set "none", then there are no factors either'),
        ('pairs = "auto"\nfactors = 0', "`factors` are what pairs are made of: leave them out with pairs = \"none\", and set more than 0 with others; here pairs = 'auto' and factors = 0"),
        ('pairs = "none"\nfactors = 8', "`factors` are what pairs are made of: leave them out with pairs = \"none\", and set more than 0 with others; here pairs = 'none' and factors = 8"),
        ('kind = "sgd"\nmerge = false\npairs = "auto"', 'kind = "sgd": `pairs` is a setting of kind = "gaussian" and means nothing here: leave it out'),
        ('kind = "ftrl"\nmerge = false\npairs = [["user", "item"]]', 'kind = "ftrl": `pairs` is a setting of kind = "gaussian" and means nothing here: leave it out'),
    ],
)  # fmt: skip
def test_pairs_that_are_none_are_refused(tmp_path, model, told):
    assert problem_of_pairs(tmp_path, model) == told


@pytest.mark.parametrize("model", ['pairs = "none"', 'kind = "sgd"\nmerge = false\npairs = "none"'])
def test_without_pairs_there_are_no_factors(tmp_path, model):
    config = load(write(tmp_path, f"[features.user]\n[model]\n{model}\n"), {})
    assert (config.model.pairs, config.model.factors) == ("none", 0)


@pytest.mark.parametrize("value", ["auto", '"auto"', '[["user", "bias"]]'])
def test_pairs_are_named_in_a_file_and_in_the_environment(tmp_path, value):
    loaded = read(None, USER | {"HEADRACE_MODEL__PAIRS": value})
    assert loaded.config.model.pairs == ("auto" if "auto" in value else (("user", "bias"),))
    shown = tmp_path / "shown.toml"
    shown.write_text(as_toml(loaded))
    assert load(shown, {}) == loaded.config


def test_every_setting_of_the_model_belongs_to_a_kind_or_to_all():
    of_all = {"name", "topic", "kind", "loss", "merge", "max_rows", "max_bytes", "admission_counters", "label_noise"}
    assert of_all | {name for names in ONLY_OF.values() for name in names} == set(Model.model_fields)


def test_values_of_a_number_cannot_be_held_back(tmp_path):
    path = write(tmp_path, "[features.price]\nkind = 'numeric'\nadmit_after = 2\n")
    told = "`admit_after` is for values that have a row each, and a number has one row for all of them"
    assert problems(path) == [f'{path}: features.price: {told}: leave it out, or set transform = "buckets"']
    for feature in ("admit_after = 1", "transform = 'buckets'\nedges = [1.0]\nadmit_after = 2"):
        load(write(tmp_path, f"[features.price]\nkind = 'numeric'\n{feature}\n"), {})


@pytest.mark.parametrize("times", [-1, 256])
def test_a_counter_holds_255(tmp_path, times):
    (told,) = problems(write(tmp_path, f"[features.user]\nadmit_after = {times}\n"))
    assert "features.user.admit_after" in told


def test_bytes_that_hold_the_counters_and_nothing_else_are_refused(tmp_path):
    text = "[features.user]\nadmit_after = 2\n[model]\nmax_bytes = '1MiB'\n"
    (told,) = problems(write(tmp_path, text))
    assert "model.max_bytes = '1MiB' is too few" in told
    assert "model.admission_counters 6815744" in told
    load(write(tmp_path, f"{text}admission_counters = 100_000\n"), {})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("gate_calibration = [1.1, 1.3]", "with 1, which is calibrated, between them: such as [0.8, 1.25]"),
        ("gate_calibration = [0.8]", "quality.gate_calibration"),
        ("gate_entropy = 0", "greater than 0"),
        ("gate_entropy = 1.0\n[model]\nloss = 'squared'", 'quality.gate_entropy is of probabilities: set model.loss = "logistic"'),
        ("gate_calibration = [0.5, 2]\n[model]\nloss = 'squared'", "quality.gate_calibration is of probabilities"),
    ],
)  # fmt: skip
def test_a_gate_that_makes_no_sense_is_refused(tmp_path, text, told):
    (problem, *_) = problems(write(tmp_path, f"[quality]\n{text}\n[features.user]\n"))
    assert told in problem


def test_a_gate_is_set_by_the_environment_too():
    environment = {"HEADRACE_QUALITY__GATE_CALIBRATION": "[0.8, 1.25]", "HEADRACE_QUALITY__GATE_ENTROPY": "1"}
    quality = load(None, USER | environment).quality
    assert (quality.gate_calibration, quality.gate_entropy) == ((0.8, 1.25), 1.0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("freeze_base_rate = [0.1, 0.5]", "`freeze_base_rate` judges blocks of `freeze_events`: set it"),
        ("freeze_events = 2000", "`freeze_events` has nothing to judge by: set one or more of freeze_base_rate, freeze_rej"),
        ("freeze_events = 99\nfreeze_rejected_share = 0.5", "`freeze_events` = 99 are too few to judge: 100 or more"),
        ("freeze_events = 2000\nfreeze_base_rate = [0.5, 0.1]", "`freeze_base_rate` is the lowest and the highest mean label"),
        ("freeze_events = 2000\nfreeze_base_rate = [0.0, 0.5]\n[model]\nloss = 'squared'", "quality.freeze_base_rate is of probabilities"),
    ],
)  # fmt: skip
def test_a_breaker_that_makes_no_sense_is_refused(tmp_path, text, told):
    (problem, *_) = problems(write(tmp_path, f"[quality]\n{text}\n[features.user]\n"))
    assert told in problem


@pytest.mark.parametrize(
    ("skip", "told"),
    [
        ("3:5", "'3:5' is no range: partition, first and last offset are written such as 3:500000-549999"),
        ("3:9-5", "'3:9-5' ends before it begins"),
        ("3:5-9', '3:9-12", "'3:5-9' and '3:9-12' overlap: make one range of them"),
    ],
)
def test_a_range_that_is_none_is_refused(tmp_path, skip, told):
    (problem, *_) = problems(write(tmp_path, f"[events]\nskip = ['{skip}']\n[features.user]\n"))
    assert told in problem


@pytest.mark.parametrize(
    ("quality", "told"),
    [
        ({"false_alarm_every": 5_000}, "less than a window"),
        ({"window": 999}, "greater than or equal to 1000"),
        ({"slices": {"nothing": ["a"]}}, "no categorical feature"),
        ({"slices": {"price": ["a"]}}, "no categorical feature"),
        ({"slices": {"user": []}}, "1 to 32"),
        ({"slices": {"user": [str(number) for number in range(33)]}}, "1 to 32"),
        ({"slices": {"user": ["a", "a"]}}, "twice"),
        ({"slices": {"user": ["other"]}}, "all others"),
        ({"slices": {"user": [""]}}, "at least 1 character"),
        ({"response": "freez"}, "'alarm' or 'loosen'"),
        ({"response": "loosen", "loosen_to": 0}, "greater than 0"),
        ({"loosen_to": 5.0}, "means nothing here: leave it out"),
        ({"response": "loosen", "false_alarm_every": 0}, "detects nothing: set how rare"),
    ],
)
def test_what_cannot_be_watched_is_refused(quality, told):
    with pytest.raises(ValueError, match=told):
        Learning.model_validate({"features": {"user": {}, "price": {"kind": "numeric"}}, "quality": quality})


@pytest.mark.parametrize("kind", ["sgd", "ftrl"])
def test_only_what_knows_how_sure_it_is_can_be_loosened(kind):
    settings = {"features": {"user": {}}, "quality": {"response": "loosen", "loosen_to": 5.0}}
    assert Learning.model_validate(settings).quality.loosen_to == 5.0
    with pytest.raises(ValueError, match=f'not kind = "{kind}": set model.kind = "gaussian", or quality.response'):
        Learning.model_validate(settings | {"model": {"kind": kind, "merge": False}})


def test_slices_are_read_from_file_and_environment(tmp_path):
    (tmp_path / "headrace.toml").write_text('[features.user]\n[quality.slices]\nuser = ["u1", "u2"]\n')
    assert load(tmp_path / "headrace.toml", {}).learning.quality.slices == {"user": ("u1", "u2")}
    config = load(tmp_path / "headrace.toml", {"HEADRACE_QUALITY__SLICES": '{user = ["u3"]}'})
    assert config.learning.quality.slices == {"user": ("u3",)}
