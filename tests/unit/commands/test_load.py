import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from worker.commands.load import load
from worker.errors import ConfigurationError

RATINGS = """\
userId,movieId,rating,timestamp,genres
5,71,4.5,874724710,Comedy|Drama
6,72,,874724711,
7,73,2,874724712,Drama
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "headrace.toml").write_text("[features.user]\n[features.item]\n")
    (tmp_path / "ratings.csv").write_text(RATINGS.replace("6,72,,", "6,72,3,"))
    (tmp_path / "ratings.toml").write_text(
        'label = "rating>=4"\n[map]\nuser = "userId"\nitem = "movieId"\n[type]\nuser = "string"\n'
    )
    return tmp_path


def run(files: Path, *arguments: str) -> Result:
    return CliRunner().invoke(load, ["-c", str(files / "headrace.toml"), "--dry-run", *arguments])


def test_options_add_to_the_mapping_file(files: Path) -> None:
    result = run(
        files, str(files / "ratings.csv"), "--mapping", str(files / "ratings.toml"), "--map", "time=timestamp",
        "--type", "time=s", "--split", "genres=|", "--limit", "2",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {"user": "5", "item": 71, "label": 1, "time": 874_724_710_000, "genres": ["Comedy", "Drama"]},
        {"user": "6", "item": 72, "label": 0, "time": 874_724_711_000},
    ]


def test_an_option_that_is_no_pair_is_refused(files: Path) -> None:
    result = run(files, str(files / "ratings.csv"), "--map", "user")
    assert result.exit_code == 2
    assert "NAME=VALUE" in result.output


def test_a_file_that_is_not_there_is_named(files: Path) -> None:
    result = run(files, str(files / "gone.csv"))
    assert isinstance(result.exception, ConfigurationError)
    assert "gone.csv: no such file" in str(result.exception)


def test_a_row_without_a_label_is_named(files: Path) -> None:
    (files / "ratings.csv").write_text(RATINGS)
    result = run(files, str(files / "ratings.csv"), "--mapping", str(files / "ratings.toml"))
    assert "ratings.csv, row 3: it has no 'label' to learn from" in str(result.exception)
