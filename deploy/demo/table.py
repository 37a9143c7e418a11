"""The end of the demo: what was measured, and what the follower answers."""

from typing import Any

from rich.console import Console
from rich.table import Table

from deploy.demo.result import Result
from worker.follow import Scores

_CONSOLE_WIDTH = 100


def print_table(result: Result) -> None:
    """Print what was measured."""
    table = Table(title=f"{result.workers} workers, {result.shards} shards, {result.stream}", show_header=False)
    gain = 1 - result.log_loss / result.constant_log_loss
    for name, value in (
        ("events learned, each exactly once", f"{result.events:,}"),
        ("records rejected", f"{result.rejected:,}"),
        ("versions published", f"{result.versions:,}"),
        ("delta bytes", f"{result.delta_bytes:,}"),
        ("progressive log loss", f"{result.log_loss:.4f}"),
        ("  of the best constant predictor", f"{result.constant_log_loss:.4f} (ours is {gain:.1%} lower)"),
        ("AUC", f"{result.auc:.4f} (0.5 for a constant)"),
        ("events per second", f"{result.events_per_second:,.0f} (sent at {result.paced_events_per_second:,.0f})"),
        (
            "freshness, produced to servable",
            f"{result.freshness_p50_seconds:.2f} s median, {result.freshness_p99_seconds:.2f} s p99",
        ),
        ("broker", result.broker),
        ("machine", result.machine),
    ):
        table.add_row(name, value)
    Console(width=_CONSOLE_WIDTH).print(table)


def print_scores(events: list[dict[str, Any]], scores: Scores) -> None:
    """Print some scores beside what was observed."""
    table = Table(title="Five events of the stream, scored by the follower with the final model")
    for name in ("user", "item", "probability", "deviation of the logit", "observed", "shard", "version"):
        table.add_column(name, justify="right")
    for number, event in enumerate(events):
        table.add_row(
            str(event["user"]),
            str(event["item"]),
            f"{scores.probability[number]:.3f}",
            f"{scores.variance[number] ** 0.5:.2f}",
            str(event["label"]),
            str(scores.shard[number]),
            str(scores.version[number]),
        )
    Console(width=_CONSOLE_WIDTH).print(table)
