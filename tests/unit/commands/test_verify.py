"""What `headrace verify` and `headrace replay` take, and what they say."""

import click
import pytest
from click.testing import CliRunner

from worker.commands.replay import replay
from worker.commands.verify import _told, _versions, as_data, verify
from worker.replay.recorded import Difference
from worker.replay.verifying import Verdict

CONTEXT, OPTION = click.Context(verify), verify.params[0]
DIFFERENCE = Difference(
    shard=2, version=41, fields={"digest": ("aa", "bb"), "events": (7, 8)}, first_offset=100, next_offset=150
)


@pytest.mark.parametrize(
    ("text", "versions"),
    [(None, (None, None)), ("40:60", (40, 60)), ("40:", (40, None)), (":60", (None, 60)), ("40", (40, 40))],
)
def test_versions_are_ranges(text, versions):
    assert _versions(CONTEXT, OPTION, text) == versions


@pytest.mark.parametrize("text", ["", ":", "a", "60:40", "0:1", "1-2"])
def test_what_is_no_range_is_told(text):
    with pytest.raises(click.BadParameter, match=r"range|versions count from 1"):
        _versions(CONTEXT, OPTION, text)


def test_the_first_version_that_differs_is_named_with_its_events_and_what_differs():
    verdict = Verdict(shard=2, begun=30, first=31, last=40, events=1_200, difference=DIFFERENCE)
    assert not verdict.sound
    assert _told(verdict).splitlines() == [
        "shard 2: version 41 DIFFERS (events 100 to 149); before it, versions 31 to 40 are equal",
        "    digest: published aa, learned again bb",
        "    events: published 7, learned again 8",
    ]
    assert as_data(verdict)["difference"] == {
        "version": 41,
        "first_offset": 100,
        "next_offset": 150,
        "fields": {"digest": {"published": "aa", "replayed": "bb"}, "events": {"published": 7, "replayed": 8}},
    }


def test_what_is_equal_and_what_waits_is_told():
    equal = Verdict(shard=0, begun=0, first=1, last=9, events=1_000)
    assert _told(equal) == "shard 0: versions 1 to 9 are equal, 1,000 events learned again from nothing"
    short = Verdict(shard=0, begun=0, first=1, last=9, events=1_000, short=True)
    assert _told(short).endswith("from nothing; it has no later ones")
    assert (as_data(short)["short"], as_data(equal)["short"]) == (True, False)
    waiting = Verdict(shard=1, begun=3, events=0, waits="version 4 folds in another one")
    assert not waiting.sound
    assert _told(waiting).endswith("from the base of version 3; no further: version 4 folds in another one")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--as-recorded", "--from-version", "3"], "leave out --from-version"),
        (["--from-version", "3", "--from-version-at", "2025-01-01"], "are two"),
        (["--to-version", "3"], "of --as-recorded"),
        (["--speed", "60x"], "of --to-topic"),
        (["--to-topic", "t", "--out", "runs"], "learns nothing"),
        (["--to-topic", "t", "--speed", "quick"], "is no speed"),
        (["--partition", "1", "--model-topic", "t"], "a whole model"),
        (["--from-timestamp", "yesterday"], "neither milliseconds"),
    ],
)
def test_what_does_not_go_together_is_told_before_anything_is_read(arguments, said):
    done = CliRunner().invoke(replay, ["nowhere", *arguments])
    assert done.exit_code == 2
    assert said in done.output
