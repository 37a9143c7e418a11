"""Snapshots and memory: what is published, and what the model takes."""

from typing import Final

from deploy.grafana.panels import HEALTH, JOB, MEMORY, PIPELINE, SHARD, Board, Row, lines, number, rate, total

GLANCE: Final = Row(
    title="At a glance",
    panels=(
        number(
            "Rows",
            "Rows of all shards.",
            "count",
            f"sum(max by (shard) (headrace_table_rows{{{SHARD}}}))",
            drill=HEALTH,
        ),
        number(
            "Memory of tables",
            "Tables and ledgers of all shards.",
            "bytes",
            f"sum(max by (shard) (headrace_table_bytes{{{SHARD}}}))",
            drill=PIPELINE,
        ),
        number(
            "Memory of processes",
            "Resident memory of the largest worker or follower.",
            "bytes",
            f"max(process_resident_memory_bytes{{{JOB}}})",
            drill=PIPELINE,
        ),
        number(
            "Published",
            "Bytes of records written to the model topic.",
            "bytes/s",
            total(rate("headrace_snapshot_bytes_total")),
            drill=PIPELINE,
        ),
        number(
            "Evicted in a day",
            "Rows that had to go because the model is at its bounds.",
            "count",
            total(f"increase(headrace_evicted_rows_total{{{SHARD}}}[24h])"),
            drill=HEALTH,
        ),
        number(
            "Versions of headrace",
            "How many run at once. More than 1 outside of an upgrade is a process that was left behind.",
            "count",
            f"count(count by (version) (headrace_build_info{{{JOB}}}))",
            drill=PIPELINE,
        ),
    ),
)

SNAPSHOTS: Final = Row(
    title="Snapshots",
    panels=(
        lines(
            "Versions",
            "Version last committed of each shard. A flat line is a shard without events, or one that is stuck.",
            "count",
            (f"max by (shard) (headrace_snapshot_version{{{SHARD}}})", "shard {{shard}}"),
            drill=PIPELINE,
        ),
        lines(
            "Bytes published",
            "By kind of record. Deltas follow the rows that move; parts of bases come as deltas outweigh the base.",
            "bytes/s",
            (total(rate("headrace_snapshot_bytes_total"), "kind"), "{{kind}}"),
            drill=PIPELINE,
        ),
        lines(
            "Rows published",
            "By kind of record.",
            "rows/s",
            (total(rate("headrace_snapshot_rows_total"), "kind"), "{{kind}}"),
            drill=PIPELINE,
        ),
    ),
)

TABLES: Final = Row(
    title="Tables",
    panels=(
        lines(
            "Rows",
            "Rows of each shard's table. It grows with what is seen, up to model.max_rows and max_bytes.",
            "count",
            (f"max by (shard) (headrace_table_rows{{{SHARD}}})", "shard {{shard}}"),
            drill=HEALTH,
        ),
        lines(
            "Memory of tables",
            "Of each shard, with its ledgers. It doubles when a table is full.",
            "bytes",
            (f"max by (shard) (headrace_table_bytes{{{SHARD}}})", "shard {{shard}}"),
            drill=PIPELINE,
        ),
        lines(
            "Rows evicted",
            "Rows that had to go. Where many go that come back, the model is too small: watch the loss.",
            "rows/s",
            (total(rate("headrace_evicted_rows_total"), "shard"), "shard {{shard}}"),
            drill=HEALTH,
        ),
        lines(
            "Values admitted",
            "Values that were seen often enough to have a row of their own.",
            "rows/s",
            (total(rate("headrace_admitted_rows_total"), "shard"), "shard {{shard}}"),
            drill=HEALTH,
            width=12,
        ),
        lines(
            "Values held back",
            "Times that a value counted as rare. Much more than what is admitted: ids that never come back.",
            "per second",
            (total(rate("headrace_held_back_total"), "shard"), "shard {{shard}}"),
            drill=HEALTH,
            width=12,
        ),
    ),
)

PROCESSES: Final = Row(
    title="Processes",
    panels=(
        lines(
            "Resident memory",
            "Tables, what is under way, and the interpreter. Compare it with the limit of the container.",
            "bytes",
            (f"max by (instance) (process_resident_memory_bytes{{{JOB}}})", "{{instance}}"),
            drill=PIPELINE,
        ),
        lines(
            "Processor",
            "Cores in use. Learning takes one; decoding and publishing overlap with it.",
            "share",
            (f"sum by (instance) ({rate('process_cpu_seconds_total', JOB)})", "{{instance}}"),
            drill=PIPELINE,
        ),
        lines(
            "Open files",
            "As a share of what the process may open.",
            "share",
            (
                f"max by (instance) (process_open_fds{{{JOB}}}) / max by (instance) (process_max_fds{{{JOB}}})",
                "{{instance}}",
            ),
            drill=PIPELINE,
        ),
    ),
)

BOARD: Final = Board(
    uid=MEMORY,
    about="What is published to the model topic, and the rows and the memory of tables and processes.",
    rows=(GLANCE, SNAPSHOTS, TABLES, PROCESSES),
)
