from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.support.recordings import make_records, write
from worker.commands.load import load
from worker.commands.record import record


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "headrace.toml"
    path.write_text('[features.user]\n[kafka]\nbootstrap_servers = "127.0.0.1:1"\n')
    return path


def run(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(record, ["-c", str(config), "--to", str(config.parent / "to"), *arguments])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--from-offset", "1", "--from-timestamp", "2025-01-01"), "two beginnings"),
        (("--to-offset", "1", "--to-timestamp", "2025-01-01"), "two ends"),
        (("--follow", "--to-offset", "1"), "--follow has no end"),
        (("--from-offset", "5", "--to-offset", "5"), "--from-offset must lie before --to-offset"),
        (("--from-timestamp", "2025-01-02", "--to-timestamp", "1735689600000"), "must lie before --to-timestamp"),
        (("--from-timestamp", "9" * 20), "later than any timestamp"),
        (("--to-timestamp", "9" * 5_000), "later than any timestamp"),
        (("--from-timestamp", "yesterday"), "neither milliseconds since 1970 nor a time such as"),
        (("--partition", "-1"), "-1 is not in the range"),
    ],
)
def test_a_range_that_makes_no_sense_is_refused_before_kafka_is_asked(
    config: Path, arguments: tuple[str, ...], said: str
) -> None:
    result = run(config, *arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())
    assert not (config.parent / "to").exists()


def test_options_of_events_are_refused_beside_a_recording(config: Path) -> None:
    write(config.parent / "clicks", make_records())
    for arguments, said in (
        (["clicks", "--map", "user=id", "--limit", "3"], "leave out --map, --limit"),
        (["clicks", "clicks"], "name one folder or file"),
        (["events.jsonl", "--append"], "--append goes with a recording"),
        (["events.jsonl", "--topic", "clicks"], "--topic goes with a recording of several"),
    ):
        given = [str(config.parent / one) if one == "clicks" else one for one in arguments]
        result = CliRunner().invoke(load, ["-c", str(config), *given])
        assert (result.exit_code, said in " ".join(result.output.split())) == (2, True), result.output
