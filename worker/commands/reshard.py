"""`headrace reshard`: the same model with another number of partitions."""

import os
from dataclasses import asdict
from pathlib import Path

import click

from worker.commands.options import config_option, json_option

EXAMPLES = """\b
Examples:
  kafka-topics --alter --topic interactions --partitions 6          (it had 4; stop the workers)
  headrace reshard --model-topic interactions.model.6
  headrace reshard --model-topic clicks.model --events-topic clicks (into a new topic of events)

\b
Then set `model.topic` (and `events.topic`) in headrace.toml, and start the workers.
"""


@click.command(epilog=EXAMPLES, short_help="Carry the model to another number of partitions.")
@config_option
@click.option("--model-topic", required=True, help="Where the model goes; made where it does not exist.")
@click.option("--events-topic", help="Where its events come from now.  [default: the same topic]")
@json_option
def reshard(config_path: Path | None, model_topic: str, events_topic: str | None, as_json: bool) -> None:
    """Carry the trained model to as many shards as its events have partitions now.

    Nothing is learned again: local rows move with their partition key, shared rows stay. The last committed versions
    are read, the old topic is not touched, and the new one shows all of the model or nothing. If it is interrupted,
    start it again.
    """
    import orjson

    from worker.commands.sending import progress_bar
    from worker.reshard import carry
    from worker.settings import load

    config = load(config_path, os.environ)
    with progress_bar(None, doing="carrying", what="rows") as progress:
        done = carry(config, model_topic, events_topic, progress)
    if as_json:
        click.echo(orjson.dumps(asdict(done)))
        return
    click.echo(
        f"{config.model.topic} ({done.shards_before} shards) was carried to {done.model_topic} ({done.shards} shards): "
        f"{done.rows} rows, {done.bytes} bytes, in {done.seconds:.1f} s\n"
        f'Set model.topic = "{done.model_topic}"'
        + (f' and events.topic = "{done.events_topic}"' if events_topic else "")
        + ", and start the workers"
    )
