"""The reader of expressions that the contract of the metrics relies on."""

import pytest

from tests.support import promql

KNOWN = {"a": frozenset({"job", "shard"}), "b": frozenset({"job", "shard"}), "h_bucket": frozenset({"job", "le"})}


@pytest.mark.parametrize(
    ("expression", "labels"),
    [
        ("a", {"job", "shard"}),
        ("sum(a)", set()),
        ("sum by (job) (rate(a[$__rate_interval]))", {"job"}),
        ("max without (shard) (a)", {"job"}),
        ("a / (b > 0) < 2", {"job", "shard"}),
        ("-(a + ln(b))", {"job", "shard"}),
        ("time() - a", {"job", "shard"}),
        ("histogram_quantile(0.5, rate(h_bucket[5m]))", {"job"}),
        ("max_over_time(sum by (job) (a)[1h:1m])", {"job"}),
    ],
)
def test_labels_of_results(expression, labels):
    assert promql.labels(promql.parse(expression), KNOWN) == labels


def test_a_scalar_has_no_labels():
    assert promql.labels(promql.parse("2 * time()"), KNOWN) is None


@pytest.mark.parametrize(
    ("expression", "operands"),
    [
        ("a > 1", ["a"]),
        ("a > 1 or a < 0.5", ["a", "a"]),
        ("a > 0 unless (b > 0)", ["a", "b"]),
        ("(a or 0 * b) < b", ["(a or 0 * b)"]),
    ],
)
def test_what_an_alert_compares(expression, operands):
    assert [
        " ".join(str(one).replace("{}", "").split()) for one in promql.operands(promql.parse(expression))
    ] == operands
