"""What people see: at any width, with a terminal or without one."""

import orjson
import pytest
from click.testing import CliRunner

from worker.commands.explain import _explained, explain, shown
from worker.commands.follow import score
from worker.errors import RejectedEventError
from worker.follow import Explanation, FieldShare, Moved, PairShare, Row


def row(feature: str, value: str, moved: Moved | None, scope: str = "shared") -> Row:
    return Row(
        feature=feature, value=value, key="00000000000000ff", scope=scope, multiplier=1.0, weight=-0.5,
        weight_deviation=0.25, weight_information=14.0, factor_precision=6.0, factor_information=1.0,
        seen="2025-01-01T00:00:01.500Z" if moved else None, moved=moved,
    )  # fmt: skip


EXPLANATION = Explanation(
    shard=3, version=17, loss="logistic", probability=0.25, low=0.125, high=0.5, logit=-1.25, variance=0.25,
    covariance=0.0, base=-0.5,
    fields=(
        FieldShare(field="bias", share=-0.5, deviation=0.25,
                   rows=(row("bias", "", Moved(shard=1, version=9, exactly=True)),)),
        FieldShare(field="user", share=0.25, deviation=0.5,
                   rows=(row("user", "[red]ü" * 40, Moved(shard=3, version=8, exactly=False), "local"),)),
        FieldShare(field="item", share=0.0, deviation=0.5, rows=(row("item", "i7", None),)),
    ),
    pairs=(PairShare(left="user", right="item", share=-1.0, deviation=0.125, weight=1.0, weight_deviation=0.5),),
    missing=("price",), unseen=("item",),
)  # fmt: skip


@pytest.mark.parametrize("width", [80, 120])
def test_people_see_shares_and_rows_within_the_width(width: int) -> None:
    lines = shown(EXPLANATION, 15, width=width).splitlines()
    assert max(len(line) for line in lines) <= width
    assert lines[0] == "probability 0.250, with 90 % from 0.125 to 0.500"
    assert "shard 3, version 17" in lines
    assert "missing: price" in lines
    assert "never learned from, only the prior counts: item" in lines
    (pair,) = [line for line in lines if line.rstrip().endswith("user x item")]
    assert pair.split() == ["-1.000", "0.125", "████████│", "user", "x", "item"]
    order = [next(n for n, line in enumerate(lines) if line.startswith(share)) for share in ("-1.0", "-0.5", "+0.2")]
    assert order == sorted(order)
    (bias,) = [line for line in lines if line.startswith("bias ")]
    assert bias.split() == ["bias", "-0.500", "0.250", "14.0", "2025-01-01", "00:00:01", "1:", "9"]
    assert any(line.rstrip().endswith("3: <= 8") for line in lines)
    assert any(line.startswith("item = i7") and line.rstrip().endswith("never") for line in lines)
    assert "\x1b" not in "".join(lines)
    assert "".join(lines).replace(" ", "").count("[red]ü") >= 2, "a value is no markup"


def test_what_is_not_shown_is_summed_up() -> None:
    lines = shown(EXPLANATION, 2, width=100).splitlines()
    (rest,) = [line for line in lines if "smaller shares" in line]
    assert rest.split() == ["+0.250", "2", "smaller", "shares"]


def test_machines_get_a_line_an_event_and_bad_ones_their_reason() -> None:
    def why(line: bytes) -> Explanation:
        if line == b"bad":
            raise RejectedEventError("not_json", "this is no JSON")
        return EXPLANATION

    for_machines = list(_explained(why, iter([b"good", b"bad"]), as_json=True, top=1))
    assert orjson.loads(for_machines[0])["pairs"][0]["share"] == -1.0
    assert orjson.loads(for_machines[0])["fields"][1]["rows"][0]["moved"] == {
        "shard": 3, "version": 8, "exactly": False,
    }  # fmt: skip
    assert orjson.loads(for_machines[1]) == {"rejected": "not_json", "detail": "this is no JSON"}
    for_people = list(_explained(why, iter([b"bad"]), as_json=False, top=1))
    assert for_people == [b"cannot be explained, not_json: this is no JSON\n"]


def test_wrong_uses_are_refused_before_a_broker_is_asked() -> None:
    absent = CliRunner().invoke(explain, ["absent.jsonl"])
    assert (absent.exit_code, "No such file" in absent.output) == (2, True)
    seeded = CliRunner().invoke(score, ["--seed", "3"], input="{}")
    assert (seeded.exit_code, "--seed is of no use without --explore" in seeded.output) == (2, True)
