"""Pipeline: do events come through, and how old is the model that comes out?"""

from typing import Final

from deploy.grafana.panels import (
    HEALTH,
    JOB,
    MEMORY,
    PIPELINE,
    SHARD,
    Board,
    Row,
    lines,
    minus,
    number,
    over,
    quantiles,
    rate,
    total,
)

GLANCE: Final = Row(
    title="At a glance",
    panels=(
        number("Events", "Events learned per second.", "events/s", total(rate("headrace_events_total")), drill=HEALTH),
        number(
            "Lag",
            "Records of the event topic that are not yet learned.",
            "count",
            f"sum(max by (shard) (headrace_offset_lag{{{SHARD}}}))",
            drill=MEMORY,
        ),
        number(
            "Lag in event time",
            "Age of the newest event when it was learned, of the shard that is furthest behind.",
            "seconds",
            f"max(headrace_event_time_lag_seconds{{{SHARD}}})",
            drill=MEMORY,
        ),
        number(
            "Age of the oldest version",
            "Time since the last commit of the shard whose last one is the longest ago. Normal without events.",
            "seconds",
            f"max(time() - max by (shard) (headrace_snapshot_timestamp_seconds{{{SHARD}}}))",
            drill=MEMORY,
        ),
        number("Processes", "Workers and followers that answer a scrape.", "count", f"sum(up{{{JOB}}})", drill=MEMORY),
        number(
            "Rejected",
            "Share of the records that are bad, within ten minutes.",
            "share",
            f"max(job:headrace_rejected:ratio10m{{{JOB}}})",
            drill=HEALTH,
        ),
    ),
)

THROUGHPUT: Final = Row(
    title="Throughput",
    panels=(
        lines(
            "Events learned",
            "By shard. Uneven shards come from an uneven partition key.",
            "events/s",
            (total(rate("headrace_events_total"), "shard"), "shard {{shard}}"),
            drill=HEALTH,
        ),
        lines(
            "Records rejected",
            "Bad records by reason; they are in the dead-letter topic with their bytes.",
            "records/s",
            (total(rate("headrace_rejected_total"), "reason"), "{{reason}}"),
            drill=HEALTH,
        ),
        lines(
            "Events skipped",
            "Valid events that are left out on purpose: duplicates, and negatives that are not in the sample.",
            "events/s",
            (total(rate("headrace_skipped_total"), "reason"), "{{reason}}"),
            drill=HEALTH,
        ),
        lines(
            "Weight of an event",
            "Mean weight of the events learned; 1 where events carry none.",
            "ratio",
            (
                over(
                    total(rate("headrace_progressive_weight_sum_total"), "shard"),
                    total(rate("headrace_progressive_loss_count_total"), "shard"),
                ),
                "shard {{shard}}",
            ),
            drill=HEALTH,
        ),
    ),
)

LAG: Final = Row(
    title="Lag and freshness",
    panels=(
        lines(
            "Lag in offsets",
            "Records of each partition that are not yet learned. It rises and falls when a shard moves.",
            "count",
            (f"max by (shard) (headrace_offset_lag{{{SHARD}}})", "shard {{shard}}"),
            drill=MEMORY,
        ),
        lines(
            "Time to catch up",
            "Lag in offsets over events learned per second: how long it takes if nothing more comes.",
            "seconds",
            (f"job_shard:headrace_catch_up_seconds:ratio5m{{{SHARD}}}", "shard {{shard}}"),
            drill=MEMORY,
        ),
        lines(
            "Lag in event time",
            "Age of the newest event of each shard when it was learned: lag, and what producers add to it.",
            "seconds",
            (f"max by (shard) (headrace_event_time_lag_seconds{{{SHARD}}})", "shard {{shard}}"),
            drill=MEMORY,
        ),
        lines(
            "Age of versions",
            "Time since each shard was last committed. A shard without events is not committed, and ages in peace.",
            "seconds",
            (f"time() - max by (shard) (headrace_snapshot_timestamp_seconds{{{SHARD}}})", "shard {{shard}}"),
            drill=MEMORY,
        ),
    ),
)

COMMITS: Final = Row(
    title="Commits",
    panels=(
        lines(
            "Commits",
            "Transactions by outcome. After one that was aborted, its events are learned again; a worker that was "
            "fenced may not commit any more, and joins anew or ends.",
            "per second",
            (total(rate("headrace_commits_total", JOB), "outcome"), "{{outcome}}"),
            (total(rate("headrace_transactions_aborted_total", JOB)), "learned again"),
            drill=MEMORY,
        ),
        lines(
            "Duration of a commit",
            "From its begin to the broker's acknowledgement. One that takes longer than the transaction timeout is "
            "aborted.",
            "seconds",
            *quantiles("headrace_commit_seconds", 0.5, 0.99),
            drill=MEMORY,
        ),
        lines(
            "Learning stood still",
            "For how long in a commit, while versions were copied out. It grows with the rows that moved.",
            "seconds",
            *quantiles("headrace_commit_stopped_seconds", 0.5, 0.99),
            drill=MEMORY,
        ),
    ),
)

MEMBERSHIP: Final = Row(
    title="Membership",
    panels=(
        lines(
            "Rebalances",
            "Calls of the group's protocol within ten minutes. lost means that the group gave shards away while their "
            "worker was silent.",
            "count",
            (f"sum by (kind) (increase(headrace_rebalances_total{{{JOB}}}[10m]))", "{{kind}}"),
            drill=MEMORY,
        ),
        lines(
            "Shards by worker",
            "How many shards each worker owns. A sum below the number of partitions is a shard that nobody learns.",
            "count",
            (f"count by (instance) (headrace_snapshot_version{{{JOB}}})", "{{instance}}"),
            drill=MEMORY,
        ),
        lines(
            "Duration of a restore",
            "From the assignment of a shard to its first event; it grows with the size of a base.",
            "seconds",
            *quantiles("headrace_restore_seconds", 0.5, 0.99),
            drill=MEMORY,
        ),
    ),
)

MERGING: Final = Row(
    title="Merging of shards",
    panels=(
        lines(
            "Events behind a peer",
            "Events of another shard that the least informed shard of a worker has not folded in. What the peer learns "
            "between two commits is normal.",
            "count",
            (f"max by (peer) (headrace_peer_events_behind{{{JOB}}})", "peer {{peer}}"),
            drill=MEMORY,
        ),
        lines(
            "Time behind a peer",
            "The same as time; about a commit interval is normal.",
            "seconds",
            (f"max by (peer) (headrace_peer_seconds_behind{{{JOB}}})", "peer {{peer}}"),
            drill=MEMORY,
        ),
        lines(
            "Distance of a folding",
            "How far the last folding moved shared weights, in standard deviations. Far below 1 the shards agree; at 1 "
            "and beyond commit more often.",
            "ratio",
            (f"max by (shard) (headrace_merge_distance{{{SHARD}}})", "shard {{shard}}"),
            drill=HEALTH,
        ),
        lines(
            "Rows exchanged",
            "Contributions published to the other shards, and folded in of them.",
            "rows/s",
            (total(rate("headrace_exchanged_rows_total"), "direction"), "{{direction}}"),
            drill=MEMORY,
            width=12,
        ),
        lines(
            "Bytes exchanged",
            "The size of those contributions.",
            "bytes/s",
            (total(rate("headrace_exchanged_bytes_total"), "direction"), "{{direction}}"),
            drill=MEMORY,
            width=12,
        ),
    ),
)

FOLLOWERS: Final = Row(
    title="Followers",
    panels=(
        lines(
            "Versions not yet served",
            "How many versions the follower that is furthest behind lacks. A few are on their way.",
            "count",
            (
                minus(
                    f"max by (shard) (headrace_snapshot_version{{{SHARD}}})",
                    f"min by (shard) (headrace_follower_version{{{SHARD}}})",
                ),
                "shard {{shard}}",
            ),
            drill=MEMORY,
        ),
        lines(
            "Age of what is served",
            "Time since the version was committed that a follower serves, of the oldest one.",
            "seconds",
            (f"max by (shard) (headrace_follower_version_age_seconds{{{SHARD}}})", "shard {{shard}}"),
            drill=MEMORY,
        ),
        lines(
            "Events scored",
            "By the followers that serve a port of metrics.",
            "events/s",
            (f"sum by (instance) ({rate('headrace_follower_scored_total', JOB)})", "{{instance}}"),
            drill=HEALTH,
        ),
        lines(
            "What followers refused",
            "Within an hour: gaps in the chain of versions, damaged versions, and shards read anew from a base.",
            "count",
            (f"sum by (shard) (increase(headrace_follower_gaps_total{{{SHARD}}}[1h]))", "shard {{shard}} gaps"),
            (
                f"sum by (shard) (increase(headrace_follower_corruptions_total{{{SHARD}}}[1h]))",
                "shard {{shard}} corruptions",
            ),
            (f"sum by (shard) (increase(headrace_follower_resyncs_total{{{SHARD}}}[1h]))", "shard {{shard}} resyncs"),
            drill=MEMORY,
        ),
    ),
)

CLIENT: Final = Row(
    title="Kafka client",
    panels=(
        lines(
            "Round trip",
            "99th percentile of the latency of requests to the slowest broker.",
            "seconds",
            (f"max by (instance, kind) (headrace_client_round_trip_seconds{{{JOB}}})", "{{instance}} {{kind}}"),
            drill=MEMORY,
        ),
        lines(
            "Records fetched and not yet polled",
            "What waits in the client. Empty while there is lag: the broker, or the way to it, is what is slow. Full: "
            "the worker is.",
            "count",
            (f"sum by (instance) (headrace_client_fetch_queue_messages{{{JOB}}})", "{{instance}}"),
            drill=MEMORY,
        ),
        lines(
            "Their size",
            "Memory of the records that wait in the client.",
            "bytes",
            (f"sum by (instance) (headrace_client_fetch_queue_bytes{{{JOB}}})", "{{instance}}"),
            drill=MEMORY,
        ),
        lines(
            "Requests sent again",
            "Normally none.",
            "per second",
            (total(rate("headrace_client_transmit_retries_total", JOB), "instance", "kind"), "{{instance}} {{kind}}"),
            drill=MEMORY,
            width=12,
        ),
        lines(
            "Connections",
            "Tried, and lost or closed, within ten minutes. Idle ones are closed by the broker after a while.",
            "count",
            (f"sum by (kind) (increase(headrace_client_connects_total{{{JOB}}}[10m]))", "{{kind}} tried"),
            (f"sum by (kind) (increase(headrace_client_disconnects_total{{{JOB}}}[10m]))", "{{kind}} lost"),
            drill=MEMORY,
            width=12,
        ),
    ),
)

BOARD: Final = Board(
    uid=PIPELINE,
    about="Throughput, lag in offsets and in event time, freshness, commits, rebalances, rejected records, followers.",
    rows=(GLANCE, THROUGHPUT, LAG, COMMITS, MEMBERSHIP, MERGING, FOLLOWERS, CLIENT),
)
