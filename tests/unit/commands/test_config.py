"""`headrace config` beside what tests/unit/test_cli.py says of it."""

import re
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from worker.commands.config import config
from worker.config import Config
from worker.errors import ConfigurationError
from worker.setting_names import PASSTHROUGH, sections


def run(folder: Path, command: str, text: str = "", **environment: str) -> Result:
    path = folder / "headrace.toml"
    path.write_text(text)
    arguments = [command] if command == "example" else [command, "-c", str(path)]
    return CliRunner().invoke(config, arguments, env={"HEADRACE_CONFIG": None, **environment})


def test_check_counts_features(tmp_path):
    assert run(tmp_path, "check", "[features.user]").output.endswith(
        ": good; 1 feature, 1 local to their shard, 0 shared\n"
    )


@pytest.mark.parametrize(
    ("settings", "warned"),
    [
        ("[snapshots]\nkeep_bases = 1", True),
        ("[snapshots]\nkeep_bases = 1\n[model]\nmerge = false", False),
        ("[snapshots]\nkeep_bases = 2", False),
    ],
)
def test_check_warns_where_merged_shards_keep_one_base_only(tmp_path, settings, warned):
    done = run(tmp_path, "check", f"{settings}\n[features.user]")
    assert done.exit_code == 0
    assert ": good; " in done.output
    assert ("warn  snapshots.keep_bases = 1: " in done.output) == warned
    assert ("what to do: keep two" in done.output) == warned


@pytest.mark.parametrize(
    "text",
    [
        '[features.time]\nkind = "multi"',  # the time of an event is a number
        '[features.user]\nkind = "multi"',  # the partition key of an event to score is one value
    ],
)
def test_check_refuses_a_field_that_would_be_read_in_two_ways(tmp_path, text):
    done = run(tmp_path, "check", text)
    assert isinstance(done.exception, ConfigurationError)
    assert "no value is both; use two fields" in str(done.exception)


def test_every_setting_of_the_example_is_its_default_and_says_what_it_means(tmp_path):
    text = run(tmp_path, "example").output
    defaults = Config.model_validate({"features": {"user": {}}})
    for section, kind in sections().items():
        table = text.split(f"\n[{section}]\n")[1].split("\n\n")[0]
        told = re.findall(r"^(?:# )?(\w+ = .+?)  # (.+)$", table, re.MULTILINE)
        values = {name: value for line, _ in told for name, value in tomllib.loads(line).items()}
        for name, value in values.items():
            default = getattr(getattr(defaults, section), name)
            if default is None:
                default = (kind.model_fields[name].examples or [""])[0]
            assert (tuple(value) if isinstance(value, list) else value) == default, name
        assert set(values) == {name for name in kind.model_fields if name not in PASSTHROUGH}


def test_the_example_with_its_comments_taken_away_can_be_used(tmp_path):
    # But for the words between the tables, and for what has no default.
    text = run(tmp_path, "example").output
    bare = re.sub(r"^# (?=\[|[\w.]+ = )(?!.*(not set by default|\(the default\)))", "", text, flags=re.MULTILINE)
    done = run(tmp_path, "check", bare, HEADRACE_KAFKA__CLIENT__SASL_PASSWORD="hunter2")  # noqa: S106
    assert done.exception is None, done.exception
    assert ": good; 5 features" in done.output


@pytest.mark.parametrize("name", ["events.weight", "events.label", "kafka.instance_id"])
def test_a_name_that_is_empty_is_refused(tmp_path, name):
    section, setting = name.split(".")
    done = run(tmp_path, "check", f'[{section}]\n{setting} = ""\n[features.user]')
    assert name in str(done.exception)
