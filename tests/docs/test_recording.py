"""What README.md tells of recordings works as it stands there: the commands, then the program."""

import contextlib
import dataclasses
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.broker import Broker
from tests.support.recorded import held, make, produce
from worker.recording.plan import NAME
from worker.recording.schema import CHECKSUM_KEY, COVER_KEY, SCHEMA, Cover
from worker.recording.times import to_milliseconds

ROOT = Path(__file__).parents[2]
SECTION = (ROOT / "README.md").read_text(encoding="utf-8").split("\n### Record a topic\n")[1].split("\n## ")[0]
DAY = to_milliseconds("2025-01-07")
SECONDS = 180.0


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def test_the_page_on_the_files_has_what_the_files_have() -> None:
    page = (ROOT / "schemas" / "recordings.md").read_text(encoding="utf-8")
    columns, cover = re.split(r"^\| Name \|", page, flags=re.MULTILINE)
    told = re.findall(r"^\| `(\w+)` \| `(.+?)` \|", columns, re.MULTILINE)
    assert told == [(field.name, str(field.type).replace("element:", "item:")) for field in SCHEMA]
    named = {
        name for cell in re.findall(r"^\| (`.+?) \|", cover, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)
    }
    assert named == {field.name for field in dataclasses.fields(Cover)}
    assert all(f"`{key.decode()}`" in page for key in (COVER_KEY, CHECKSUM_KEY))
    assert f"/{NAME}`" in page


def test_the_commands_and_the_program_do_what_they_say(
    kafka: Broker, unique: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a topic of three days, and an empty one
    for topic in (unique, f"{unique}.again"):
        make(kafka, topic, 2, **{"retention.ms": "-1"})
    produce(
        kafka,
        unique,
        (
            {"key": b"u%d" % n, "value": b'{"user":"u%d"}' % n, "partition": n % 2, "timestamp": DAY + hour * 3_600_000}
            for n, hour in enumerate(range(-24, 48))
        ),
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    environment = clean | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HEADRACE_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "HEADRACE_EVENTS__TOPIC": unique,
        "HEADRACE_FEATURES__USER__KIND": "categorical",
    }
    # When the commands are typed one after the other
    outputs = []
    for line in block("sh").splitlines():
        command = re.sub(r"\s+# .*", "", line).replace("clicks.again", f"{unique}.again")
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=environment,
            capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stderr}"
        outputs.append(done.stdout)
    # Then they say what they did
    assert outputs[0].startswith("72 records in ")
    assert outputs[1].startswith(f"nothing new in topic {unique}; recorded holds 72 records in 2 files")
    assert {number: len(rows) for number, rows in held(tmp_path / "day").items()} == {0: 12, 1: 12}
    assert outputs[3].startswith("72 records of 2 files in ")
    # And the program prints the topic, and its first record
    monkeypatch.chdir(tmp_path)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(block("python"), "README.md", "exec"), {})  # noqa: S102 - our own page
    assert printed.getvalue().splitlines() == [
        f"{unique} 2 {{0: (0, 36), 1: (0, 36)}}",
        f'0 0 {DAY - 86_400_000} b\'{{"user":"u0"}}\'',
    ]
