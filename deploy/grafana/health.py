"""Model health: does it still predict well, and may it be served?"""

from typing import Final

from deploy.grafana.panels import HEALTH, JOB, MEMORY, PIPELINE, SHARD, Board, Row, lines, number, rate, total

_LOSS: Final = total(rate("headrace_progressive_loss_sum_total"), "shard")
_WEIGHT: Final = total(rate("headrace_progressive_weight_sum_total"), "shard")
_LABELS: Final = total(rate("headrace_progressive_label_sum_total"), "shard")
_SCORES: Final = total(rate("headrace_progressive_score_sum_total"), "shard")


def _slices(sums: str) -> str:
    return total(rate(f"headrace_slice_{sums}_sum_total"), "field", "value")


GLANCE: Final = Row(
    title="At a glance",
    panels=(
        number(
            "Loss",
            "Mean progressive loss of all shards: every event is predicted before it is learned. Compare it with "
            "yesterday, not with another model: it depends on the base rate.",
            "ratio",
            f"{total(rate('headrace_progressive_loss_sum_total'))}"
            f" / {total(rate('headrace_progressive_weight_sum_total'))}",
            drill=PIPELINE,
        ),
        number(
            "Normalised entropy",
            "Loss over the entropy of the base rate, of the last hour. 1 is as good as knowing only the base rate; "
            "lower is better. Made for the logistic loss.",
            "ratio",
            f"max(job_shard:headrace_normalized_entropy:ratio1h{{{SHARD}}})",
            drill=PIPELINE,
        ),
        number(
            "Calibration",
            "Sum of scores over sum of labels. 1 is calibrated; above it the model promises too much.",
            "ratio",
            f"{total(rate('headrace_progressive_score_sum_total'))}"
            f" / {total(rate('headrace_progressive_label_sum_total'))}",
            drill=PIPELINE,
        ),
        number(
            "Drift alarms of a day",
            "How often a detector alarmed in the last 24 hours. The false-alarm rate is configured: see the runbook.",
            "count",
            total(f"increase(headrace_drift_alarms_total{{{SHARD}}}[24h])"),
            drill=PIPELINE,
        ),
        number(
            "Shards not servable",
            "Shards whose newest version followers do not serve, because its quality is out of bounds.",
            "count",
            f"count(headrace_servable{{{SHARD}}} == 0) or 0 * count(headrace_servable{{{SHARD}}})",
            drill=MEMORY,
        ),
        number(
            "Shards that are frozen",
            "Shards that have stopped learning because their input looks poisoned.",
            "count",
            f"sum(max by (shard) (headrace_frozen{{{SHARD}}}))",
            drill=PIPELINE,
        ),
    ),
)

LOSS: Final = Row(
    title="Loss",
    panels=(
        lines(
            "Progressive loss",
            "Mean loss of each shard. A shard that is worse than the others sees other events, or learns on bad ones.",
            "ratio",
            (f"{_LOSS} / {_WEIGHT}", "shard {{shard}}"),
            drill=PIPELINE,
        ),
        lines(
            "Loss against its slow baseline",
            "Mean loss over the last window of events, and the slow baseline that it is compared with. A gap that "
            "stays means that the model has become worse at what it was good at.",
            "ratio",
            (f"headrace_window_loss{{{SHARD}}}", "shard {{shard}}"),
            (f"headrace_window_baseline_loss{{{SHARD}}}", "shard {{shard}} baseline"),
            drill=PIPELINE,
        ),
        lines(
            "Normalised entropy",
            "Loss over the entropy of the base rate: of the last hour, and of the last window of events. At 1 the "
            "model knows no more than the base rate. It does not move when only the base rate does, unlike the loss.",
            "ratio",
            (f"job_shard:headrace_normalized_entropy:ratio1h{{{SHARD}}}", "shard {{shard}} 1h"),
            (f"headrace_window_normalized_entropy{{{SHARD}}}", "shard {{shard}} window"),
            drill=PIPELINE,
        ),
        lines(
            "AUC",
            "Probability that an event with label 1 is scored above one with label 0, over the last window of events. "
            "0.5 is chance. It says how well the model ranks, and nothing about calibration. It is counted by bins of "
            "scores, and the exact one is no further from it than the bound.",
            "ratio",
            (f"headrace_window_auc{{{SHARD}}}", "shard {{shard}}"),
            (f"headrace_window_auc_error{{{SHARD}}}", "shard {{shard}} bound"),
            drill=PIPELINE,
        ),
        lines(
            "Root mean squared error",
            "Of the scores against the labels, for models of squared loss in the unit of the labels.",
            "ratio",
            (
                f"sqrt({total(rate('headrace_progressive_squared_error_sum_total'), 'shard')} / {_WEIGHT})",
                "shard {{shard}}",
            ),
            drill=PIPELINE,
        ),
        lines(
            "Events that were too much to learn",
            "Events scored and not learned, because a step would have overflowed. Normally none.",
            "events/s",
            (total(rate("headrace_unstable_total"), "shard"), "shard {{shard}}"),
            drill=PIPELINE,
        ),
    ),
)

CALIBRATION: Final = Row(
    title="Calibration",
    panels=(
        lines(
            "Calibration",
            "Sum of scores over sum of labels: now, over the last hour, and over the last window of events. 1 is "
            "calibrated.",
            "ratio",
            (f"{_SCORES} / {_LABELS}", "shard {{shard}}"),
            (f"job_shard:headrace_calibration:ratio1h{{{SHARD}}}", "shard {{shard}} 1h"),
            (f"headrace_window_calibration{{{SHARD}}}", "shard {{shard}} window"),
            drill=PIPELINE,
        ),
        lines(
            "Expected calibration error",
            "Mean distance between scores and labels within bins of like scores, over the last window of events. It "
            "finds what the ratio hides: scores that are too low here and too high there.",
            "ratio",
            (f"headrace_window_calibration_error{{{SHARD}}}", "shard {{shard}}"),
            drill=PIPELINE,
        ),
        lines(
            "Mean label and mean score",
            "The base rate, and what the model expects it to be. Labels that move alone are a change of the world, or "
            "of how labels are joined.",
            "ratio",
            (f"{_LABELS} / {_WEIGHT}", "shard {{shard}} labels"),
            (f"{_SCORES} / {_WEIGHT}", "shard {{shard}} scores"),
            drill=PIPELINE,
        ),
    ),
)

DRIFT: Final = Row(
    title="Drift",
    panels=(
        lines(
            "Drift statistic against its threshold",
            "Evidence for a drift, on a natural logarithmic scale. A detector alarms when it reaches its threshold, "
            "which follows from the configured false-alarm rate. It wanders below; a steady rise announces one.",
            "ratio",
            (f"headrace_drift_statistic{{{SHARD}}}", "shard {{shard}} {{detector}}"),
            (f"max by (detector) (headrace_drift_threshold{{{JOB}}})", "threshold {{detector}}"),
            drill=PIPELINE,
            width=12,
        ),
        lines(
            "Drift alarms",
            "How often each detector alarmed within an hour. residual, calibration and baseline say that the model is "
            "wrong; scores and labels that the stream is another one.",
            "count",
            (
                total(f"increase(headrace_drift_alarms_total{{{SHARD}}}[1h])", "shard", "detector"),
                "shard {{shard}} {{detector}}",
            ),
            drill=PIPELINE,
            width=12,
        ),
    ),
)

SLICES: Final = Row(
    title="Slices",
    panels=(
        lines(
            "Loss by slice",
            "Mean loss of the events of each configured value, in all shards. One slice that is worse than before is a "
            "broken feature, or a group whose behaviour changed.",
            "ratio",
            (f"{_slices('loss')} / {_slices('weight')}", "{{field}} = {{value}}"),
            drill=PIPELINE,
        ),
        lines(
            "Calibration by slice",
            "Sum of scores over sum of labels within each slice. Slices can be off while the whole is calibrated.",
            "ratio",
            (f"{_slices('score')} / {_slices('label')}", "{{field}} = {{value}}"),
            drill=PIPELINE,
        ),
        lines(
            "Weight by slice",
            "How much of the stream each slice is. One that vanishes is a producer that is gone.",
            "per second",
            (_slices("weight"), "{{field}} = {{value}}"),
            drill=PIPELINE,
        ),
    ),
)

RESPONSE: Final = Row(
    title="Response",
    panels=(
        lines(
            "Servable",
            "1 while followers may serve the newest version of a shard; 0 while its quality is out of bounds and they "
            "keep the last good one.",
            "count",
            (f"headrace_servable{{{SHARD}}}", "shard {{shard}}"),
            drill=MEMORY,
        ),
        lines(
            "Frozen",
            "1 while a shard does not learn, by the reason: its input was out of bounds.",
            "count",
            (f"headrace_frozen{{{SHARD}}}", "shard {{shard}} {{reason}}"),
            drill=PIPELINE,
        ),
        lines(
            "Loosened",
            "Whether, and how often, what a shard had learned was weakened after a drift, to learn anew faster.",
            "count",
            (f"headrace_loosened_total{{{SHARD}}}", "shard {{shard}}"),
            drill=PIPELINE,
        ),
        lines(
            "Versions held back",
            "Versions of a shard that followers know and do not serve, because they are not servable.",
            "count",
            (f"max by (shard) (headrace_follower_held_back{{{SHARD}}})", "shard {{shard}}"),
            drill=MEMORY,
        ),
    ),
)

BOARD: Final = Board(
    uid=HEALTH,
    about="Loss, normalised entropy, calibration, drift against its thresholds, slices, and what was done about it.",
    rows=(GLANCE, LOSS, CALIBRATION, DRIFT, SLICES, RESPONSE),
)
