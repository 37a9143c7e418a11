import json
from pathlib import Path

from click.testing import CliRunner

from worker.commands.simulate import simulate
from worker.simulate import Planted


def test_a_dry_run_prints_the_same_events_every_time_and_needs_no_configuration(tmp_path: Path) -> None:
    arguments = ["--dry-run", "--events", "2500", "--users", "50", "--items", "20", "--seed", "7"]
    first = CliRunner().invoke(simulate, [*arguments, "--truth", str(tmp_path / "build" / "truth.json")])
    assert first.exit_code == 0
    events = [json.loads(line) for line in first.stdout.splitlines()]
    assert len(events) == 2_500
    assert CliRunner().invoke(simulate, arguments).stdout == first.stdout
    # And the truth that is stored is that of these events
    truth = json.loads((tmp_path / "build" / "truth.json").read_text())
    planted = Planted(events=2_500, users=50, items=20, seed=7)
    assert Planted(**truth["planted"]) == planted
    assert truth["positives"] == sum(event["label"] for event in events)
    assert truth["drift_event"] == 1_250
    assert truth["drift_time"] == events[1_250]["time"]
    assert truth["irreducible_log_loss"] < truth["constant_log_loss"]


def test_event_times_start_where_they_are_told_to() -> None:
    arguments = ["--dry-run", "--events", "3", "--start", "2025-06-01T12:00:00", "--rate", "2", "--no-drift"]
    result = CliRunner().invoke(simulate, arguments)
    times = [json.loads(line)["time"] for line in result.stdout.splitlines()]
    assert times == [1_748_779_200_000, 1_748_779_200_500, 1_748_779_201_000]


def test_options_that_make_no_stream_are_refused() -> None:
    for arguments in (["--events", "0"], ["--rate", "0"], ["--drift-at", "1.5"], ["--seed", "-1"]):
        assert CliRunner().invoke(simulate, ["--dry-run", *arguments]).exit_code == 2, arguments
